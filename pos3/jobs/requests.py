"""The requests: one frozen value for each verb, with the arguments of a call, checked when it is made.

A request names the arguments as callers do, so that errors can quote them. The command line makes the same requests,
plans are made from the same requests, and the journal writes them down. So a new option of a verb is a field here, and
all packages below pass it on.

If a verb has no such argument, a property of :class:`Request` gives the value: nothing is deleted, nothing is pushed.
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Self, get_args

from pos3.entries import EVERY_PATH, PathRange
from pos3.errors import InvalidArgumentError, InvalidURLError
from pos3.filters import Filter, as_patterns, entry_matcher, matcher
from pos3.jobs.manifest import check_marker
from pos3.jobs.observer import Kind
from pos3.options import StrPath
from pos3.parts import Part, part_or_address
from pos3.plan import Compare, parse_max_delete
from pos3.profiles import Profile
from pos3.url import has_scheme, is_url, quoted

ExtraArgs = Mapping[str, Any] | tuple[tuple[str, Any], ...] | None
Patterns = str | list[str] | tuple[str, ...] | None
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")
_CUSTOMERS_KEY = "SSECustomer"


def check_flag(name: str, value: Any) -> bool:
    """Returns ``value`` if it is True or False.

    Raises:
        InvalidArgumentError: it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name}={value!r}: expected True or False", argument=name)
    return value


def check_interval(name: str, interval: Any) -> float | None:
    """Returns the seconds between background pushes, or None to push only at the end.

    Raises:
        InvalidArgumentError: ``interval`` is neither None nor a number above 0.
    """
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
    """Returns if ``timeout`` is a number of seconds, or None to wait without a limit.

    Raises:
        InvalidArgumentError: it is neither.
    """
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout
    ):
        raise InvalidArgumentError(f"timeout={timeout!r}: expected seconds as a number, or None", argument="timeout")


def check_local(local: StrPath | None) -> None:
    """Returns if ``local`` can be a local path, or is None.

    Raises:
        InvalidArgumentError: it cannot; for example, it is a URL that belongs into the other argument.
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
    """Patterns that match files and never directories."""
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


def _extra_args(name: str, arguments: Any) -> tuple[tuple[str, Any], ...]:
    """Pairs of names and values, in order; those of a mapping in it as well. They can be compared, and kept in JSON.

    No error shows a value, and no request holds a key of a customer: errors, logs and the journal show requests.
    """
    if arguments is None:
        return ()
    pairs = arguments.items() if isinstance(arguments, Mapping) else arguments
    try:
        checked = [(_text(key), value) for key, value in pairs]
        for key, _ in checked:
            if key.startswith(_CUSTOMERS_KEY):
                raise InvalidArgumentError(
                    f"{name}: {key!r} is not supported, since downloads need the key as well; use ServerSideEncryption",
                    argument=name,
                )
        return tuple(sorted((key, _fixed(name, value)) for key, value in checked))
    except InvalidArgumentError:
        raise
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"{name}: expected a dict such as {{'CacheControl': 'max-age=60'}}, with boto3's names, and texts or "
            "dicts of texts as values",
            argument=name,
        ) from None


def _as_dict(pairs: Any) -> dict[str, Any]:
    return {name: _as_dict(value) if isinstance(value, tuple) else value for name, value in pairs}


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError
    return name


def _fixed(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, (str, int, bool)) else _extra_args(name, value)


def _marker(_name: str, marker: Any) -> str:
    return check_marker(marker)


def _optional_marker(name: str, marker: Any) -> str | None:
    return None if marker is None else _marker(name, marker)


def _fingerprint(name: str, fingerprint: Any) -> str | None:
    if fingerprint is None:
        return None
    if not isinstance(fingerprint, str) or _FINGERPRINT.fullmatch(fingerprint) is None:
        raise InvalidArgumentError(
            f"{name}={fingerprint!r}: expected the 64 hexadecimal digits that pos3.fingerprint() has returned",
            argument=name,
        )
    return fingerprint.lower()


def check_as_of(name: str, moment: Any) -> str | None:
    """Returns a time in the past as ISO 8601 text in UTC, or None for now.

    Raises:
        InvalidArgumentError: it is no time, has no offset, or lies in the future.
    """
    if moment is None:
        return None
    try:
        parsed = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        if not isinstance(parsed, datetime):
            raise ValueError
    except ValueError:
        raise InvalidArgumentError(
            f"{name}={moment!r}: expected an aware datetime, or ISO 8601 text such as '2026-11-01T12:00Z'",
            argument=name,
        ) from None
    if parsed.utcoffset() is None:
        raise InvalidArgumentError(
            f"{name}={moment!r}: it has no offset, so the time is not known; write '2026-11-01T12:00Z', or "
            "'2026-11-01T12:00+01:00', or give a datetime with a tzinfo",
            argument=name,
        )
    try:
        in_utc = parsed.astimezone(UTC)
    except OverflowError:
        raise InvalidArgumentError(f"{name}={moment!r}: too far away", argument=name) from None
    if in_utc > datetime.now(UTC):
        raise InvalidArgumentError(f"{name}={moment!r}: it lies in the future", argument=name)
    return in_utc.isoformat().replace("+00:00", "Z")


def _argument(default: Any, check: Callable[[str, Any], Any], *, counts: bool = True) -> Any:
    """The field of one argument.

    Args:
        check: a function of the argument's name and value that returns the value for the request, or raises.
        counts: whether requests with different values of this argument are different.
    """
    return field(default=default, compare=counts, metadata={"check": check})


def patterns_of(part: Part, include: Patterns, exclude: Patterns) -> tuple[Patterns, Patterns]:
    """The patterns of a part, or else those of the call.

    Raises:
        InvalidArgumentError: both have some, and they are not the same.
    """
    if not (part.include or part.exclude):
        return include, exclude
    for name, given, own in (("include", include, part.include), ("exclude", exclude, part.exclude)):
        if given and as_patterns(given, name) != own:
            raise InvalidArgumentError(
                f"{name}={given!r}: the part has patterns of its own, with which it was made; leave {name} out",
                argument=name,
            )
    return part.include, part.exclude


_SYNC_READS = "a sync reads what is there; credentials that may only write can upload, without deletes"


@functools.cache
def _checks(kind: type[Request]) -> tuple[tuple[str, Callable[[str, Any], Any]], ...]:
    return tuple((item.name, item.metadata["check"]) for item in fields(kind) if "check" in item.metadata)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments that every verb has. Requests are equal if they ask for the same work at the same place.

    Raises:
        InvalidArgumentError: an argument is wrong; the error names it.
    """

    remote: StrPath | Part = field(compare=False)
    local: StrPath | None = _argument(None, _local, counts=False)
    profile: str | Profile | None = field(default=None, compare=False)
    include: Patterns = _argument(None, _patterns)
    exclude: Patterns = _argument(None, _patterns)
    compare: Compare = _argument("auto", _compare)
    max_delete: int | str | None = _argument(None, _max_delete)

    def __post_init__(self) -> None:
        # mypy takes the hash of an instance for that of its class.
        for name, check in _checks(type(self)):  # type: ignore[arg-type]
            object.__setattr__(self, name, check(name, getattr(self, name)))

    @property
    def kind(self) -> Kind:
        return "download"

    @property
    def address(self) -> StrPath:
        """The URL of the place, or a local path."""
        # Only downloads take parts. The text of one is refused wherever a URL is needed.
        return str(self.remote) if isinstance(self.remote, Part) else self.remote

    @property
    def within(self) -> PathRange:
        """The paths that take part, whatever ``include`` and ``exclude`` say."""
        return EVERY_PATH

    @property
    def filter(self) -> Filter:
        """Which paths take part."""
        return Filter(as_patterns(self.include, "include"), as_patterns(self.exclude, "exclude"))

    @property
    def push_filter(self) -> Filter:
        """Which paths take part in a push."""
        return self.filter

    @property
    def deletes_local(self) -> bool:
        """Whether a download deletes local files that have no object."""
        return False

    @property
    def deletes_remote(self) -> bool:
        """Whether the last push deletes objects that have no local file."""
        return False

    @property
    def drops_lost(self) -> bool:
        """Whether the last push deletes local files of the cache whose objects the store has lost."""
        return False

    @property
    def why_it_reads(self) -> str:
        """Why credentials that may only write objects are not enough, and what to do; "" if they are."""
        return ""

    @property
    def delete_argument(self) -> str:
        """The name of the argument that allows a download to delete."""
        return "delete"

    @property
    def marker(self) -> str:
        """The name of the marker of a complete set, or "" for any set."""
        return ""

    @property
    def interval(self) -> float | None:
        return None

    @property
    def watch(self) -> bool:
        """Whether files are pushed as soon as they have been written."""
        return False

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
    def extra_args(self) -> ExtraArgs:
        """What objects that are pushed carry, beside their content, under boto3's names."""
        return None

    @property
    def extra_arguments(self) -> dict[str, Any]:
        """``extra_args`` as boto3 takes them."""
        return _as_dict(self.extra_args or ())

    @property
    def skip_archived(self) -> bool:
        """Whether a download leaves objects alone that must be restored from an archive before they can be read."""
        return False

    @property
    def as_of(self) -> str | None:
        """The time, in ISO 8601 and UTC, whose state a download brings; None for that of now."""
        return None

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint that the objects of a download must have; None for any."""
        return None

    @property
    def fresh(self) -> bool:
        """Whether the local path is emptied before the registration begins."""
        return False

    def patterns(self) -> dict[str, tuple[str, ...]]:
        """All arguments that hold globs."""
        return {name: as_patterns(getattr(self, name), name) for name in _PATTERNS}

    def arguments(self) -> dict[str, object]:
        """The arguments that decide what work is done, as their caller would write them."""
        return {item.name: _as_written(item.name, getattr(self, item.name)) for item in fields(self) if item.compare}

    def as_json(self) -> dict[str, Any]:
        """The arguments that another process needs to push the files of this request, as values for JSON.

        Arguments that allow deletes are left out.
        """
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.compare and item.name not in _NEVER_STORED
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], remote: str, local: str) -> Self:
        """The request with these values, which come from :meth:`as_json`. It allows no deletes.

        Missing values become the defaults, because earlier versions have stored fewer.

        Raises:
            InvalidArgumentError: a value is wrong; the error names it.
        """
        checks = {item.name: item.metadata["check"] for item in fields(cls) if item.compare}
        values: dict[str, Any] = {name: stored[name] for name in checks if name not in _NEVER_STORED and name in stored}
        values |= {
            name: _valid_patterns(name, values[name], checks[name])
            for name in _PATTERNS
            if values.get(name) is not None
        }
        values |= dict.fromkeys(checks.keys() & _DELETES, False)
        return cls(remote=remote, local=local, **values)


def _as_written(name: str, value: object) -> object:
    if not isinstance(value, tuple):
        return value
    if name == "extra_args":
        return _as_dict(value) or None
    # Callers write None for "no patterns". Only ``upload_exclude`` has different meanings for None and [].
    return list(value) if value or name == "upload_exclude" else None


def _valid_patterns(name: str, patterns: Sequence[Any], check: Callable[[str, Any], Any]) -> list[Any]:
    """The patterns, of which those that ``check`` refuses are replaced by one that matches nothing.

    Earlier versions took any text, and the patterns that are refused now matched nothing.
    """

    def valid(pattern: Any) -> Any:
        try:
            check(name, pattern)
        except InvalidArgumentError:
            # No path contains this character.
            return "\0" if isinstance(pattern, str) else pattern
        return pattern

    return [valid(pattern) for pattern in patterns]


_PATTERNS = ("include", "exclude", "upload_exclude", "upload_last", "overwrite")
_DELETES = frozenset(("delete", "delete_local", "delete_remote"))
_NEVER_STORED = (*_DELETES, "max_delete", "fresh")


@dataclass(frozen=True, kw_only=True)
class DownloadRequest(Request):
    """The arguments of :meth:`pos3.Mirror.download`."""

    delete: bool = _argument(True, check_flag)
    missing_ok: bool = _argument(False, check_flag, counts=False)
    adopt: bool = _argument(False, check_flag, counts=False)
    require_marker: str | None = _argument(None, _optional_marker)
    skip_archived: bool = _argument(False, check_flag)
    fingerprint: str | None = _argument(None, _fingerprint)
    as_of: Any = _argument(None, check_as_of)

    def __post_init__(self) -> None:
        object.__setattr__(self, "remote", part_or_address(self.remote))
        if isinstance(self.remote, Part):
            self._take_patterns_of(self.remote)
        super().__post_init__()

    def _take_patterns_of(self, part: Part) -> None:
        if self.require_marker is not None:
            raise InvalidArgumentError(
                "require_marker is for whole sets, and this is a part of one; download the whole URL",
                argument="require_marker",
            )
        include, exclude = patterns_of(part, self.include, self.exclude)
        object.__setattr__(self, "include", include)
        object.__setattr__(self, "exclude", exclude)

    @property
    def address(self) -> StrPath:
        return self.remote.url if isinstance(self.remote, Part) else self.remote

    @property
    def within(self) -> PathRange:
        return self.remote.within if isinstance(self.remote, Part) else EVERY_PATH

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
    watch: bool = _argument(False, check_flag)
    delete: bool = _argument(True, check_flag)
    sync_on_error: bool = _argument(False, check_flag)
    overwrite: Patterns = _argument(None, _file_patterns)
    upload_last: Patterns = _argument(None, _patterns)
    follow_symlinks: bool = _argument(True, check_flag)
    extra_args: ExtraArgs = _argument(None, _extra_args)
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

    @property
    def why_it_reads(self) -> str:
        if not self.delete:
            return ""
        return "delete=True lists what is there; credentials that may only write can upload with delete=False"


@dataclass(frozen=True, kw_only=True)
class SyncRequest(Request):
    """The arguments of :meth:`pos3.Mirror.sync`."""

    interval: float | None = _argument(300, check_interval)
    watch: bool = _argument(False, check_flag)
    delete_local: bool = _argument(True, check_flag)
    delete_remote: bool = _argument(True, check_flag)
    sync_on_error: bool = _argument(False, check_flag)
    overwrite: Patterns = _argument(None, _file_patterns)
    upload_exclude: Patterns = _argument(None, _optional_patterns)
    upload_last: Patterns = _argument(None, _patterns)
    follow_symlinks: bool = _argument(True, check_flag)
    extra_args: ExtraArgs = _argument(None, _extra_args)
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

    @property
    def why_it_reads(self) -> str:
        return _SYNC_READS

    def as_download(self) -> DownloadRequest:
        """The request for the download with which a sync begins."""
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

    @property
    def why_it_reads(self) -> str:
        return _SYNC_READS


@dataclass(frozen=True, kw_only=True)
class PublishRequest(Request):
    """The arguments of :meth:`pos3.Mirror.publish`."""

    marker: str = _argument("_SUCCESS", _marker)
    delete: bool = _argument(True, check_flag)
    follow_symlinks: bool = _argument(True, check_flag)
    extra_args: ExtraArgs = _argument(None, _extra_args)

    @property
    def kind(self) -> Kind:
        return "upload"

    @property
    def deletes_remote(self) -> bool:
        return self.delete

    @property
    def why_it_reads(self) -> str:
        told = "publish() reads what is there; credentials that may only write can upload, without deletes"
        return f"{told}, and with upload_last={self.marker!r}"


REQUESTS: tuple[type[Request], ...] = (DownloadRequest, UploadRequest, SyncRequest, BisyncRequest, PublishRequest)


def difference(first: Request, second: Request) -> str:
    """The arguments in which two calls for the same place differ, with both values, as a text for an error."""
    before, now = _as_kind_of(second, first).arguments(), second.arguments()
    return "; ".join(
        f"{name}={before.get(name)!r} in the first call, {name}={value!r} in this one"
        for name, value in now.items()
        if before.get(name) != value
    )


def _as_kind_of(other: Request, request: Request) -> Request:
    """The request as a sync if it is an upload and ``other`` is a sync; otherwise the request itself."""
    if not (isinstance(request, UploadRequest) and isinstance(other, SyncRequest)):
        return request
    shared = {item.name for item in fields(SyncRequest)} & {item.name for item in fields(UploadRequest)}
    values = {name: getattr(request, name) for name in shared}
    # An upload has no download, so any value of delete_local is right.
    return SyncRequest(**values, delete_local=other.delete_local, delete_remote=request.delete)


def merged(first: Request, second: Request) -> Request | None:
    """One request that replaces two requests for upload of the same place, or None if their pushes differ.

    It has the shorter interval and the safer flags, and watches if one of them does.
    """
    first, second = _as_kind_of(second, first), _as_kind_of(first, second)
    if not isinstance(first, UploadRequest | SyncRequest) or not isinstance(second, UploadRequest | SyncRequest):
        return None
    intervals = [one.interval for one in (first, second) if one.interval is not None]
    common: dict[str, Any] = {
        "interval": min(intervals, default=None),
        "watch": first.watch or second.watch,
        "sync_on_error": first.sync_on_error or second.sync_on_error,
    }
    if isinstance(first, SyncRequest) and isinstance(second, SyncRequest):
        common["delete_local"] = first.delete_local and second.delete_local
    both = replace(first, **common)
    # The second call may come without fresh=True although the first one has emptied the path. The reverse is refused,
    # because the path is being written.
    return both if both == replace(second, **common, fresh=both.fresh or second.fresh) else None
