"""A request whose places are known: where it leads, and which local path it is about."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from pos3.errors import ConflictError, InvalidArgumentError, InvalidURLError, UnsafeKeysError
from pos3.filters import Filter, check_relative
from pos3.jobs.requests import Kind, Request, check_local
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
from pos3.plan import IN_STATE, segment_problem
from pos3.profiles import Profile
from pos3.url import Location


@dataclass(frozen=True)
class Registration:
    """One call of ``download``, ``upload`` or ``sync``. Equal registrations are the same work.

    ``is_restored`` says that no caller has named the URL.
    """

    request: Request
    location: Location
    profile: Profile | None
    local: str
    is_restored: bool = field(default=False, compare=False)

    @property
    def kind(self) -> Kind:
        return self.request.kind

    @property
    def pushes(self) -> bool:
        return self.kind != "download"

    @property
    def filter(self) -> Filter:
        """What takes part."""
        return self.request.filter

    @property
    def local_is_directory(self) -> bool:
        """Whether the caller has written the local path as one of a directory."""
        return self.request.local is not None and os.fspath(self.request.local).endswith(os.sep)

    def __str__(self) -> str:
        arrow = {"download": "->", "upload": "<-", "sync": "<->"}[self.kind]
        # Not every log takes a path that is not valid UTF-8.
        local = self.local.encode("utf-8", "backslashreplace").decode()
        return f"{self.location} {arrow} {local}"


def check_patterns(registration: Registration, *spellings: str) -> None:
    """
    Args:
        spellings: other absolute paths of the local side.

    Raises:
        InvalidArgumentError: a pattern is an absolute path of this machine.
    """
    for name, patterns in registration.request.patterns().items():
        check_relative(patterns, name, (registration.local, *spellings))


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
    if nested and (new.request.deletes_remote or other.request.deletes_remote):
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
    if new.request.deletes_local or other.request.deletes_local:
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
