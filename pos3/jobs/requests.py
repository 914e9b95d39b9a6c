"""What a call asks for: one value for each verb, checked when it is made.

A request has the arguments of its verb under the names that callers use, so that errors can quote them. The command
line makes the same requests, plans are made of the same requests, and the journal writes them down. So a new option of
a verb is a field here, and everything below passes it on.

What a verb has no argument for has a property in :class:`Request` that says so: nothing is deleted, nothing is pushed.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from pos3.errors import InvalidArgumentError, InvalidURLError
from pos3.filters import Filter, as_patterns, entry_matcher, matcher
from pos3.jobs.manifest import check_marker
from pos3.options import StrPath
from pos3.plan import Compare, parse_max_delete
from pos3.profiles import Profile
from pos3.url import has_scheme, is_url, quoted

Kind = Literal["download", "upload", "sync"]
Patterns = str | list[str] | tuple[str, ...] | None


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name}={value!r}: expected True or False", argument=name)
    return value


def check_interval(name: str, interval: Any) -> float | None:
    """Seconds between background pushes, or None for a push at exit only."""
    if interval is None:
        return None
    if isinstance(interval, bool) or not isinstance(interval, (int, float)):
        raise InvalidArgumentError(
            f"{name}={interval!r}: expected seconds as a number, or None to push at exit only", argument=name
        )
    if not 0 < interval < math.inf:
        raise InvalidArgumentError(
            f"{name}={interval!r}: must be above 0 seconds; None pushes at exit only", argument=name
        )
    return float(min(interval, sys.float_info.max))


def check_timeout(timeout: Any) -> None:
    """Seconds, or None for as long as it takes."""
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout
    ):
        raise InvalidArgumentError(f"timeout={timeout!r}: expected seconds as a number, or None", argument="timeout")


def check_local(local: StrPath | None) -> None:
    """
    Raises:
        InvalidArgumentError: no local side can be so. A URL is most likely the other argument.
    """
    if local is None:
        return
    text = os.fspath(local) if isinstance(local, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise InvalidArgumentError(
            f"local={local!r}: expected a path as a string or path object, or None for the cache", argument="local"
        )
    if has_scheme(text):
        raise InvalidArgumentError(
            f"local={quoted(text)} is a URL; the URL comes first, and then the local path", argument="local"
        )
    if not text or "\x00" in text:
        raise InvalidArgumentError(f"local={text!r}: expected a path, or None for the cache", argument="local")
    try:
        is_url(local)
    except InvalidURLError as error:
        raise InvalidURLError(f"local={error}", argument="local") from None


def _local(_name: str, local: Any) -> Any:
    check_local(local)
    return local


def _patterns(name: str, patterns: Any) -> tuple[str, ...]:
    checked = as_patterns(patterns, name)
    matcher(checked, name)
    return checked


def _optional_patterns(name: str, patterns: Any) -> tuple[str, ...] | None:
    return None if patterns is None else _patterns(name, patterns)


def _file_patterns(name: str, patterns: Any) -> tuple[str, ...]:
    """Patterns that choose files and never directories."""
    checked = as_patterns(patterns, name)
    entry_matcher(checked, name)
    for pattern in checked:
        if pattern.endswith("/"):
            raise InvalidArgumentError(
                f"{name}={pattern!r} names a directory, and only files can be chosen: {pattern + '**'!r} chooses "
                "all files in it",
                argument=name,
            )
    return checked


def _compare(name: str, compare: Any) -> Any:
    if compare not in get_args(Compare):
        raise InvalidArgumentError(f"{name}={compare!r}: expected 'auto', 'size' or 'checksum'", argument=name)
    return compare


def _max_delete(_name: str, max_delete: Any) -> Any:
    parse_max_delete(max_delete, 0)
    return max_delete


def _marker(_name: str, marker: Any) -> str:
    return check_marker(marker)


def _optional_marker(name: str, marker: Any) -> str | None:
    return None if marker is None else _marker(name, marker)


def _argument(default: Any, check: Callable[[str, Any], Any], *, counts: bool = True) -> Any:
    """
    Args:
        check: takes the argument's name and value, and returns the value that the request keeps.
        counts: whether requests that differ in it ask for different work.
    """
    return field(default=default, compare=counts, metadata={"check": check})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every verb is asked for. Requests are equal if they ask for the same work at the same place.

    Raises:
        InvalidArgumentError: naming the argument that cannot work.
    """

    remote: StrPath = field(compare=False)
    local: StrPath | None = _argument(None, _local, counts=False)
    profile: str | Profile | None = field(default=None, compare=False)
    include: Patterns = _argument(None, _patterns)
    exclude: Patterns = _argument(None, _patterns)
    compare: Compare = _argument("auto", _compare)
    max_delete: int | str | None = _argument(None, _max_delete)

    def __post_init__(self) -> None:
        for item in fields(self):
            if check := item.metadata.get("check"):
                object.__setattr__(self, item.name, check(item.name, getattr(self, item.name)))

    @property
    def kind(self) -> Kind:
        return "download"

    @property
    def filter(self) -> Filter:
        """What takes part."""
        return Filter(as_patterns(self.include, "include"), as_patterns(self.exclude, "exclude"))

    @property
    def push_filter(self) -> Filter:
        """What takes part in a push."""
        return self.filter

    @property
    def deletes_local(self) -> bool:
        """Whether a download removes local files that the store does not have."""
        return False

    @property
    def deletes_remote(self) -> bool:
        """Whether the last push removes objects that have no local file."""
        return False

    @property
    def drops_lost(self) -> bool:
        """Whether the last push removes local files of the cache whose objects the store has lost."""
        return False

    @property
    def delete_argument(self) -> str:
        """What the caller knows the deletes of a download as."""
        return "delete"

    @property
    def marker(self) -> str:
        """The name of the object that marks a complete set, or ""."""
        return ""

    @property
    def interval(self) -> float | None:
        return None

    @property
    def sync_on_error(self) -> bool:
        return False

    @property
    def upload_last(self) -> Patterns:
        return None

    @property
    def overwrite(self) -> Patterns:
        return None

    @property
    def upload_exclude(self) -> Patterns:
        return None

    @property
    def follow_symlinks(self) -> bool:
        return True

    @property
    def skip_archived(self) -> bool:
        """Whether a download leaves alone what must be restored from an archive before it can be read."""
        return False

    @property
    def fresh(self) -> bool:
        """Whether the local path is emptied first."""
        return False

    def patterns(self) -> dict[str, tuple[str, ...]]:
        """All arguments that hold globs."""
        return {name: as_patterns(getattr(self, name), name) for name in _PATTERNS}

    def arguments(self) -> dict[str, object]:
        """The arguments that say what work is asked for, as their caller would write them."""
        return {item.name: _as_written(item.name, getattr(self, item.name)) for item in fields(self) if item.compare}

    def as_record(self) -> dict[str, Any]:
        """JSON-ready values of what a later process needs to push what this one has left; no deletes are among them."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.compare and item.name not in _NEVER_RECOVERED
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], remote: str, local: str) -> Self:
        """The reverse of :meth:`as_record`. What comes out deletes nothing.

        Values that the record does not have are the defaults: records of earlier versions have fewer.

        Raises:
            InvalidArgumentError: naming the value that cannot work.
        """
        known = {item.name: item.metadata["check"] for item in fields(cls) if item.compare}
        values: dict[str, Any] = {
            name: record[name] for name in known if name not in _NEVER_RECOVERED and name in record
        }
        values |= {
            name: _as_then(name, values[name], known[name]) for name in _PATTERNS if values.get(name) is not None
        }
        values |= dict.fromkeys(known.keys() & _DELETES, False)
        return cls(remote=remote, local=local, **values)


def _as_written(name: str, value: object) -> object:
    if not isinstance(value, tuple):
        return value
    # No patterns are None to a caller, but for ``upload_exclude``, where these are two things.
    return list(value) if value or name == "upload_exclude" else None


def _as_then(name: str, patterns: Sequence[Any], check: Callable[[str, Any], Any]) -> list[Any]:
    """Patterns of earlier versions, which took any text: what ``check`` refuses now has matched nothing then."""

    def as_then(pattern: Any) -> Any:
        try:
            check(name, pattern)
        except InvalidArgumentError:
            # No path holds that character.
            return "\0" if isinstance(pattern, str) else pattern
        return pattern

    return [as_then(pattern) for pattern in patterns]


_PATTERNS = ("include", "exclude", "upload_exclude", "upload_last", "overwrite")
_DELETES = frozenset(("delete", "delete_local", "delete_remote"))
_NEVER_RECOVERED = (*_DELETES, "max_delete", "fresh")


@dataclass(frozen=True, kw_only=True)
class DownloadRequest(Request):
    """The arguments of :meth:`pos3.Mirror.download`."""

    delete: bool = _argument(True, check_flag)
    missing_ok: bool = _argument(False, check_flag, counts=False)
    adopt: bool = _argument(False, check_flag, counts=False)
    require_marker: str | None = _argument(None, _optional_marker)
    skip_archived: bool = _argument(False, check_flag)

    @property
    def deletes_local(self) -> bool:
        return self.delete

    @property
    def marker(self) -> str:
        return self.require_marker or ""


@dataclass(frozen=True, kw_only=True)
class UploadRequest(Request):
    """The arguments of :meth:`pos3.Mirror.upload`."""

    interval: float | None = _argument(300, check_interval)
    delete: bool = _argument(True, check_flag)
    sync_on_error: bool = _argument(False, check_flag)
    overwrite: Patterns = _argument(None, _file_patterns)
    upload_last: Patterns = _argument(None, _patterns)
    follow_symlinks: bool = _argument(True, check_flag)
    fresh: bool = _argument(False, check_flag)

    @property
    def kind(self) -> Kind:
        return "upload"

    @property
    def deletes_remote(self) -> bool:
        return self.delete

    @property
    def drops_lost(self) -> bool:
        return self.delete


@dataclass(frozen=True, kw_only=True)
class SyncRequest(Request):
    """The arguments of :meth:`pos3.Mirror.sync`."""

    interval: float | None = _argument(300, check_interval)
    delete_local: bool = _argument(True, check_flag)
    delete_remote: bool = _argument(True, check_flag)
    sync_on_error: bool = _argument(False, check_flag)
    overwrite: Patterns = _argument(None, _file_patterns)
    upload_exclude: Patterns = _argument(None, _optional_patterns)
    upload_last: Patterns = _argument(None, _patterns)
    follow_symlinks: bool = _argument(True, check_flag)
    adopt: bool = _argument(False, check_flag, counts=False)
    fresh: bool = _argument(False, check_flag)

    @property
    def kind(self) -> Kind:
        return "sync"

    @property
    def push_filter(self) -> Filter:
        if self.upload_exclude is None:
            return self.filter
        return Filter(as_patterns(self.include, "include"), as_patterns(self.upload_exclude, "upload_exclude"))

    @property
    def deletes_local(self) -> bool:
        return self.delete_local

    @property
    def deletes_remote(self) -> bool:
        return self.delete_remote

    @property
    def drops_lost(self) -> bool:
        return self.delete_local and self.delete_remote

    @property
    def delete_argument(self) -> str:
        return "delete_local"

    def as_download(self) -> DownloadRequest:
        """Its first half alone."""
        shared = {item.name for item in fields(Request)}
        values = {name: getattr(self, name) for name in shared}
        return DownloadRequest(**values, delete=self.delete_local, adopt=self.adopt)


@dataclass(frozen=True, kw_only=True)
class BisyncRequest(Request):
    """The arguments of :meth:`pos3.Mirror.bisync`."""

    delete_local: bool = _argument(False, check_flag)
    delete_remote: bool = _argument(False, check_flag)
    upload_last: Patterns = _argument(None, _patterns)

    @property
    def kind(self) -> Kind:
        return "sync"

    @property
    def deletes_local(self) -> bool:
        return self.delete_local

    @property
    def deletes_remote(self) -> bool:
        return self.delete_remote

    @property
    def drops_lost(self) -> bool:
        return self.delete_local and self.delete_remote

    @property
    def delete_argument(self) -> str:
        return "delete_local"


@dataclass(frozen=True, kw_only=True)
class PublishRequest(Request):
    """The arguments of :meth:`pos3.Mirror.publish`."""

    marker: str = _argument("_SUCCESS", _marker)
    delete: bool = _argument(True, check_flag)
    follow_symlinks: bool = _argument(True, check_flag)

    @property
    def kind(self) -> Kind:
        return "upload"

    @property
    def deletes_remote(self) -> bool:
        return self.delete


REQUESTS: tuple[type[Request], ...] = (DownloadRequest, UploadRequest, SyncRequest, BisyncRequest, PublishRequest)


def difference(first: Request, second: Request) -> str:
    """Which arguments of two calls for one place differ, and how."""
    before, now = _as_kind_of(second, first).arguments(), second.arguments()
    return "; ".join(
        f"{name}={before.get(name)!r} in the first call, {name}={value!r} in this one"
        for name, value in now.items()
        if before.get(name) != value
    )


def _as_kind_of(other: Request, request: Request) -> Request:
    """An upload as a sync, where the other request is one; else the request itself."""
    if not (isinstance(request, UploadRequest) and isinstance(other, SyncRequest)):
        return request
    shared = {item.name for item in fields(SyncRequest)} & {item.name for item in fields(UploadRequest)}
    values = {name: getattr(request, name) for name in shared}
    # Nothing was downloaded for it that could have been deleted.
    return SyncRequest(**values, delete_local=other.delete_local, delete_remote=request.delete)


def merged(first: Request, second: Request) -> Request | None:
    """One request for upload that asks for the work of two at the same place; None if they ask for different pushes.

    The shorter interval and the safer flags hold.
    """
    first, second = _as_kind_of(second, first), _as_kind_of(first, second)
    if not isinstance(first, UploadRequest | SyncRequest) or not isinstance(second, UploadRequest | SyncRequest):
        return None
    intervals = [one.interval for one in (first, second) if one.interval is not None]
    same: dict[str, Any] = {
        "interval": min(intervals, default=None),
        "sync_on_error": first.sync_on_error or second.sync_on_error,
    }
    if isinstance(first, SyncRequest) and isinstance(second, SyncRequest):
        same["delete_local"] = first.delete_local and second.delete_local
    made = replace(first, **same)
    # What is emptied already may be pushed by others, but nobody empties what is being written.
    return made if made == replace(second, **same, fresh=made.fresh or second.fresh) else None
