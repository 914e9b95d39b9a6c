"""What a caller asked for, checked before anything is changed."""

from __future__ import annotations

import math
import mimetypes
import os
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from pos3.errors import ConflictError, InvalidArgumentError, InvalidURLError
from pos3.filters import Filter, as_patterns, matcher
from pos3.keys import segment_problem
from pos3.plan import Compare, parse_max_delete
from pos3.profiles import Profile
from pos3.url import Location, has_scheme, shown


@dataclass(frozen=True)
class Registration:
    """One call of ``download``, ``upload`` or ``sync``. Equal registrations are the same work.

    ``download_delete`` and ``upload_delete`` say whether that direction removes what the source lacks. One that
    ``gives_way`` ends where a later one would conflict with it. ``marker`` names the object that marks a complete set.
    ``local_is_directory`` says that ``local`` was given as a directory, with a slash at its end.
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
    follow_symlinks: bool = True
    gives_way: bool = False
    marker: str = ""
    local_is_directory: bool = field(default=False, compare=False)

    @property
    def pushes(self) -> bool:
        return self.kind != "download"

    def __str__(self) -> str:
        arrow = {"download": "->", "upload": "<-", "sync": "<->"}[self.kind]
        return f"{self.location} {arrow} {self.local}"


def checked(registration: Registration) -> Registration:
    """``registration``, if all its values can work.

    Raises:
        InvalidArgumentError: naming the value.
    """
    matcher(registration.filter.include, "include")
    matcher(registration.filter.exclude, "exclude")
    matcher(registration.upload_last, "upload_last")
    matcher(registration.overwrite, "overwrite")
    parse_max_delete(registration.max_delete, 0)
    if registration.compare not in get_args(Compare):
        raise InvalidArgumentError(f"compare={registration.compare!r}: expected 'auto', 'size' or 'checksum'")
    return registration


def check_interval(interval: Any) -> float | None:
    """Seconds between background pushes, or None for a push at exit only."""
    if interval is None:
        return None
    if isinstance(interval, bool) or not isinstance(interval, (int, float)):
        raise InvalidArgumentError(f"interval={interval!r}: expected seconds as a number, or None to push at exit only")
    if not 0 < interval < math.inf:
        raise InvalidArgumentError(f"interval={interval!r}: must be above 0 seconds; None pushes at exit only")
    return float(interval)


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name}={value!r}: expected True or False")
    return value


def check_local(local: str | os.PathLike[str] | None) -> None:
    """
    Raises:
        InvalidArgumentError: no local side can be so. A URL is most likely the other argument.
    """
    if local is None:
        return
    text = os.fspath(local)
    if has_scheme(text):
        raise InvalidArgumentError(f"local={shown(text)} is a URL; the URL comes first, and then the local path")
    if not text or "\x00" in text:
        raise InvalidArgumentError(f"local={text!r}: expected a path, or None for the cache")


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
    """
    check_local(local)
    if local is not None:
        return os.path.realpath(os.path.expanduser(os.fspath(local)))
    if location.key and (problem := segment_problem(location.key)):
        raise InvalidURLError(f"{location}: the key has {problem} and so has no cache path; give local=...")
    name = profile.local_name if profile is not None else "_"
    if location.scheme != "s3":
        name = f"{location.scheme}+{name}"
    root = os.path.join(os.path.realpath(os.path.expanduser(cache_root)), name, location.bucket, location.key)
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
    """Which parameters of two registrations differ, and how."""
    names = (item.name for item in fields(Registration) if item.compare)
    return ", ".join(
        f"{name} is {getattr(first, name)!r} there and {getattr(second, name)!r} here"
        for name in names
        if getattr(first, name) != getattr(second, name)
    )


def check_conflicts(new: Registration, existing: list[Registration]) -> None:
    """
    Raises:
        ConflictError: the new registration would write what another one reads or writes.
    """
    for other in existing:
        same_place = new.profile == other.profile and new.location.overlaps(other.location)
        if _mix(new.profile, other.profile):
            raise ConflictError(
                f"{new} and {other}: their profiles share a local_name but not an endpoint, so their files would mix; "
                "give one of them another local_name"
            )
        if same_place and (new.pushes or other.pushes):
            raise ConflictError(f"{new} overlaps with {other}, which is registered already; use one sync() for both")
        reads_only = not new.pushes and not other.pushes
        if _nested(new.local, other.local) and not (reads_only and _is_coherent(new, other)):
            raise ConflictError(
                f"{new} and {other}: the local paths overlap, so each would overwrite the other; change one local"
            )


def _mix(first: Profile | None, second: Profile | None) -> bool:
    if first is None or second is None:
        return False
    return first.local_name == second.local_name and first.place != second.place


def _nested(first: str, second: str) -> bool:
    return f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")


def _is_coherent(new: Registration, other: Registration) -> bool:
    """Whether both registrations give every file in their common part the same object."""
    if new.profile != other.profile or not new.location.overlaps(other.location):
        return False
    outer, inner = sorted((new, other), key=lambda registration: len(registration.local))
    return inner.local == os.path.join(outer.local, inner.location.key[len(outer.location.key) :].strip("/")).rstrip(
        "/"
    )
