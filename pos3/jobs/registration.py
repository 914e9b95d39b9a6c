"""What a caller asked for, checked before anything is changed."""

from __future__ import annotations

import math
import mimetypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pos3.errors import ConflictError, InvalidArgumentError, InvalidURLError, UnsafeKeysError
from pos3.filters import Filter, as_patterns, check_relative, entry_matcher, matcher
from pos3.local import (
    ENCODING_HINT,
    NO_HOME,
    are_nested,
    expanded,
    is_file_name,
    lies_in_state,
    state_directory_around,
    state_directory_of,
)
from pos3.plan import IN_STATE, Compare, parse_max_delete, segment_problem
from pos3.profiles import Profile
from pos3.url import Location, has_scheme, is_url, shown


@dataclass(frozen=True)
class Registration:
    """One call of ``download``, ``upload`` or ``sync``. Equal registrations are the same work.

    ``download_delete`` and ``upload_delete`` say whether that direction removes what the source lacks. ``marker`` names
    the object that marks a complete set. ``upload_exclude`` takes the place of what the filter excludes where something
    is pushed, unless it is None. ``drops_lost`` says that the last push removes local files of the cache whose objects
    the store has lost. ``fresh`` says that ``local``, a path of the cache, is emptied first. ``local_is_directory``
    says that ``local`` was given with a slash at its end, and ``is_restored`` that no caller has named the URL.
    """

    kind: Literal["download", "upload", "sync"]
    location: Location
    profile: Profile | None
    local: str
    filter: Filter
    compare: Compare
    max_delete: int | str | None
    download_delete: bool = False
    upload_delete: bool = False
    interval_seconds: float | None = None
    sync_on_error: bool = False
    upload_last: tuple[str, ...] = ()
    overwrite: tuple[str, ...] = ()
    upload_exclude: tuple[str, ...] | None = None
    follow_symlinks: bool = True
    marker: str = ""
    fresh: bool = False
    local_is_directory: bool = field(default=False, compare=False)
    is_restored: bool = field(default=False, compare=False)
    drops_lost: bool = field(default=False, compare=False)

    @property
    def pushes(self) -> bool:
        return self.kind != "download"

    @property
    def delete_argument(self) -> str:
        """What the caller knows the deletes of a download as."""
        return "delete_local" if self.kind == "sync" else "delete"

    @property
    def push_filter(self) -> Filter:
        """What takes part in a push."""
        if self.upload_exclude is None:
            return self.filter
        return Filter(self.filter.include, self.upload_exclude)

    def __str__(self) -> str:
        arrow = {"download": "->", "upload": "<-", "sync": "<->"}[self.kind]
        # Not every log takes a path that is not valid UTF-8.
        local = self.local.encode("utf-8", "backslashreplace").decode()
        return f"{self.location} {arrow} {local}"


def checked(registration: Registration) -> Registration:
    """``registration``, if all its values can work.

    Raises:
        InvalidArgumentError: naming the value.
    """
    matcher(registration.filter.include, "include")
    matcher(registration.filter.exclude, "exclude")
    matcher(registration.upload_last, "upload_last")
    entry_matcher(registration.overwrite, "overwrite")
    matcher(registration.upload_exclude or (), "upload_exclude")
    parse_max_delete(registration.max_delete, 0)
    if registration.compare not in get_args(Compare):
        raise InvalidArgumentError(
            f"compare={registration.compare!r}: expected 'auto', 'size' or 'checksum'", argument="compare"
        )
    return registration


def check_patterns(registration: Registration, *spellings: str) -> None:
    """
    Args:
        spellings: other absolute paths of the local side.

    Raises:
        InvalidArgumentError: a pattern is an absolute path of this machine, or one of ``overwrite`` names a directory.
    """
    for pattern in registration.overwrite:
        if pattern.endswith("/"):
            raise InvalidArgumentError(
                f"overwrite={pattern!r} names a directory, and only files can be chosen: {pattern + '**'!r} chooses "
                "all files in it",
                argument="overwrite",
            )
    roots = (registration.local, *spellings)
    for name, patterns in (
        ("include", registration.filter.include),
        ("exclude", registration.filter.exclude),
        ("upload_exclude", registration.upload_exclude or ()),
        ("upload_last", registration.upload_last),
        ("overwrite", registration.overwrite),
    ):
        check_relative(patterns, name, roots)


def check_outside_state(registration: Registration, cache_root: str) -> None:
    """
    Args:
        cache_root: of a cache whose state directory need not be there yet.

    Raises:
        UnsafeKeysError: the local path leads into a state directory of pos3, or a push would make keys that do.
    """
    location, local = registration.location, registration.local
    if registration.pushes and lies_in_state(f"{location.key}/"):
        raise UnsafeKeysError(str(location), [f"{location.key!r}: {IN_STATE}"], advice="Push to another key.")
    if around := state_directory_around(local, state_directory_of(cache_root)):
        problem = f"{local!r}: lies in {around}, in which pos3 keeps its own state"
        raise UnsafeKeysError(str(registration), [problem], advice="Name another place with local=...")


def check_interval(interval: Any) -> float | None:
    """Seconds between background pushes, or None for a push at exit only."""
    if interval is None:
        return None
    if isinstance(interval, bool) or not isinstance(interval, (int, float)):
        raise InvalidArgumentError(
            f"interval={interval!r}: expected seconds as a number, or None to push at exit only", argument="interval"
        )
    if not 0 < interval < math.inf:
        raise InvalidArgumentError(
            f"interval={interval!r}: must be above 0 seconds; None pushes at exit only", argument="interval"
        )
    return float(min(interval, sys.float_info.max))


def check_timeout(timeout: Any) -> None:
    """Seconds, or None for as long as it takes."""
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout
    ):
        raise InvalidArgumentError(f"timeout={timeout!r}: expected seconds as a number, or None", argument="timeout")


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name}={value!r}: expected True or False", argument=name)
    return value


def check_local(local: str | os.PathLike[str] | None) -> None:
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
            f"local={shown(text)} is a URL; the URL comes first, and then the local path", argument="local"
        )
    if not text or "\x00" in text:
        raise InvalidArgumentError(f"local={text!r}: expected a path, or None for the cache", argument="local")
    try:
        is_url(local)
    except InvalidURLError as error:
        raise InvalidURLError(f"local={error}", argument="local") from None


def names_a_directory(local: str | os.PathLike[str] | None) -> bool:
    """Whether a local path is written as one of a directory."""
    return local is not None and os.fspath(local).endswith(os.sep)


def build_filter(include: Any, exclude: Any) -> Filter:
    return Filter(as_patterns(include, "include"), as_patterns(exclude, "exclude"))


def local_root(
    location: Location, local: str | os.PathLike[str] | None, cache_root: str, profile: Profile | None
) -> str:
    """The absolute path, links resolved, that mirrors ``location``.

    Raises:
        InvalidArgumentError: ``local`` can be no path.
        InvalidURLError: the key cannot be a path below the cache root, and no ``local`` is given.
        UnsafeKeysError: it has the name of a state directory as a part.
    """
    check_local(local)
    if local is not None:
        text = os.fspath(local)
        if not is_file_name(text):
            raise InvalidArgumentError(f"local={text!r} is no path for this process, {ENCODING_HINT}", argument="local")
        return os.path.realpath(expanded(text, "local"))
    if cache_root == NO_HOME:
        raise InvalidArgumentError(
            f"{location}: there is no cache, as no home directory is known (HOME is not set, and the user has no "
            "entry in the password database); set HOME, or give cache_root=... or local=..."
        )
    if lies_in_state(f"{location.key}/"):
        raise UnsafeKeysError(str(location), [f"{location.key!r}: {IN_STATE}"], advice="Give another place: local=...")
    if location.key and (problem := segment_problem(location.key)):
        raise InvalidURLError(f"{location}: the key has {problem} and so has no cache path; give local=...")
    name = profile.local_name if profile is not None else "_"
    if location.scheme != "s3":
        name = f"{location.scheme}+{name}"
    root = os.path.join(os.path.realpath(expanded(cache_root)), name, location.bucket, location.key)
    if len(os.fsencode(root)) >= os.pathconf("/", "PC_PATH_MAX"):
        raise InvalidURLError(f"{location}: the key is too long a path below {cache_root}; give local=...")
    return root.rstrip("/")


# Without the system's own tables, so that a URL means the same on every machine.
_KNOWN_TYPES = mimetypes.MimeTypes(filenames=())
_MORE_EXTENSIONS = frozenset(
    (
        *("arrow", "avro", "bag", "ckpt", "db", "dill", "feather", "gguf", "h5", "hdf5", "joblib", "jsonl", "keras"),
        *("lmdb", "log", "mcap", "ndjson", "npy", "npz", "onnx", "orc", "parquet", "pb", "pickle", "pkl", "pt", "pth"),
        *("safetensors", "sqlite", "tfrecord", "tflite", "toml", "yaml", "yml", "zst"),
    )
)


def names_a_file(location: Location) -> bool:
    """Whether the URL looks like one file: ``s3://b/model.pt`` does, ``s3://b/run.v1`` and ``s3://b/x/`` do not."""
    if location.is_prefix:
        return False
    name = location.key.rpartition("/")[2]
    extension = name.rpartition(".")[2].lower() if "." in name[1:] else ""
    return extension in _MORE_EXTENSIONS or _KNOWN_TYPES.guess_type(name, strict=False) != (None, None)


def difference(first: Registration, second: Registration) -> str:
    """Which arguments of two calls differ, and how."""
    before, now = _arguments(replace(first, kind=second.kind)), _arguments(second)
    differing = [name for name in now if before.get(name) != now[name]]
    return "; ".join(
        f"{name}={before.get(name)!r} in the first call, {name}={now[name]!r} in this one" for name in differing
    )


def _arguments(registration: Registration) -> dict[str, object]:
    """The arguments of the call, by the names that its caller knows."""
    arguments: dict[str, object] = {
        "local": registration.local,
        "include": list(registration.filter.include) or None,
        "exclude": list(registration.filter.exclude) or None,
        "compare": registration.compare,
        "max_delete": registration.max_delete,
    }
    if registration.kind == "sync":
        hidden = registration.upload_exclude
        arguments |= {"delete_local": registration.download_delete, "delete_remote": registration.upload_delete}
        arguments["upload_exclude"] = None if hidden is None else list(hidden)
    else:
        arguments["delete"] = registration.download_delete or registration.upload_delete
    if registration.kind == "download":
        return arguments | {"require_marker": registration.marker or None}
    return arguments | {
        "interval": registration.interval_seconds,
        "sync_on_error": registration.sync_on_error,
        "upload_last": list(registration.upload_last) or None,
        "overwrite": list(registration.overwrite) or None,
        "follow_symlinks": registration.follow_symlinks,
    }


def merged(first: Registration, second: Registration) -> Registration | None:
    """One registration for upload that does the work of two of the same place; None if they ask for different pushes.

    The shorter interval and the safer flag hold.
    """
    intervals = [one.interval_seconds for one in (first, second) if one.interval_seconds is not None]
    made = replace(
        first,
        kind="sync" if "sync" in (first.kind, second.kind) else first.kind,
        interval_seconds=min(intervals, default=None),
        sync_on_error=first.sync_on_error or second.sync_on_error,
        download_delete=first.download_delete or second.download_delete,
        drops_lost=first.drops_lost and second.drops_lost,
    )
    other = replace(
        second,
        kind=made.kind,
        interval_seconds=made.interval_seconds,
        sync_on_error=made.sync_on_error,
        download_delete=made.download_delete,
        # What is emptied already may be pushed by others, but nobody empties what is being written.
        fresh=made.fresh or second.fresh,
    )
    return made if made == other else None


def is_same_place(first: Registration, second: Registration) -> bool:
    """Whether both tie the same local path to the same place."""
    return (first.location, first.profile, first.local) == (second.location, second.profile, second.local)


def check_conflicts(new: Registration, existing: Iterable[Registration]) -> None:
    """
    Raises:
        ConflictError: something could be lost, or it is ambiguous what should be where.
    """
    for other in existing:
        if _mix(new.profile, other.profile):
            raise ConflictError(
                f"{new} and {other}: their profiles share a local_name but not an endpoint, so their files would mix; "
                "give one of them another local_name"
            )
        if new.pushes and other.pushes:
            _check_two_pushes(new, other)
        elif not new.pushes and not other.pushes:
            _check_two_downloads(new, other)


def _check_two_pushes(new: Registration, other: Registration) -> None:
    if is_same_place(new, other):
        return
    if new.profile == other.profile and new.location == other.location:
        raise ConflictError(
            f"{new} and {other}: two local paths would be pushed to one place, and each would replace the other; "
            "push them to two places"
        )
    nested = new.profile == other.profile and new.location.overlaps(other.location)
    if nested and (new.upload_delete or other.upload_delete):
        raise ConflictError(
            f"{new} overlaps with {other}, which is registered already, and the one that deletes would delete objects "
            "of the other; push one of them with delete=False, or to another place"
        )
    if new.kind == other.kind == "sync" and are_nested(new.local, other.local) and not nested:
        raise ConflictError(
            f"{new} and {other}: the local paths overlap, so each place would get what is in the other; change one "
            "local"
        )


def _check_two_downloads(new: Registration, other: Registration) -> None:
    if not are_nested(new.local, other.local) or is_coherent(new, other):
        return
    if new.download_delete or other.download_delete:
        raise ConflictError(
            f"{new} and {other}: the local paths overlap, so each would delete what the other brings; change one "
            "local, or pass delete=False to both"
        )


def _mix(first: Profile | None, second: Profile | None) -> bool:
    if first is None or second is None:
        return False
    return first.local_name == second.local_name and first.place != second.place


def is_coherent(new: Registration, other: Registration) -> bool:
    """Whether both registrations tie every file in their common part to the same object."""
    if new.profile != other.profile or not new.location.overlaps(other.location):
        return False
    outer, inner = sorted((new, other), key=lambda registration: len(registration.local))
    below = inner.location.key[len(outer.location.key) :].strip("/")
    return inner.local == os.path.join(outer.local, below).rstrip("/")
