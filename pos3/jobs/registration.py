"""A registration: a request together with its location, profile and local path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from pos3.entries import EVERY_PATH, PathRange
from pos3.errors import InvalidArgumentError, InvalidURLError, UnsafeKeysError
from pos3.filters import Filter, check_relative
from pos3.jobs.observer import Kind
from pos3.jobs.requests import Request, check_local
from pos3.local import (
    ENCODING_HINT,
    NO_HOME,
    expanded,
    is_file_name,
    lies_in_state,
    state_directory_around,
    state_directory_of,
)
from pos3.plan import IN_STATE, segment_problem
from pos3.profiles import Profile
from pos3.url import Location, media_types


@dataclass(frozen=True)
class Registration:
    """One call of a verb such as ``download``, with its places. Equal registrations ask for the same work.

    ``is_restored`` says that the URL comes from a reference and not from the caller. ``within`` are the paths that take
    part.
    """

    request: Request
    location: Location
    profile: Profile | None
    local: str
    is_restored: bool = field(default=False, compare=False)
    within: PathRange = EVERY_PATH

    @property
    def kind(self) -> Kind:
        return self.request.kind

    @property
    def pushes(self) -> bool:
        return self.kind != "download"

    @property
    def filter(self) -> Filter:
        """Which paths take part."""
        return self.request.filter

    @property
    def drops_lost(self) -> bool:
        """Whether a full push leaves out local files of the cache whose objects the store has lost.

        An upload that comes from a reference deletes nothing in the store, but what its machine has of earlier runs is
        none of its writer's.
        """
        return self.request.drops_lost or (self.pushes and self.is_restored)

    @property
    def local_is_directory(self) -> bool:
        """Whether the caller has written the local path with a slash at its end."""
        return self.request.local is not None and os.fspath(self.request.local).endswith(os.sep)

    def __str__(self) -> str:
        arrow = {"download": "->", "upload": "<-", "sync": "<->"}[self.kind]
        # Some logs cannot hold a path that is not valid UTF-8.
        local = self.local.encode("utf-8", "backslashreplace").decode()
        part = "" if self.within.is_everything else f" ({self.within})"
        return f"{self.location}{part} {arrow} {local}"


def check_patterns(registration: Registration, *spellings: str) -> None:
    """Returns if no pattern of the request is an absolute path of this machine.

    Args:
        spellings: other absolute paths of the local side, such as one through links.

    Raises:
        InvalidArgumentError: a pattern is an absolute path, see :func:`pos3.filters.check_relative`.
    """
    for name, patterns in registration.request.patterns().items():
        check_relative(patterns, name, (registration.local, *spellings))


def check_outside_state(registration: Registration, cache_root: str) -> None:
    """Returns if the registration keeps out of the state directories of pos3.

    Args:
        cache_root: the root of a cache, whose state directory need not exist yet.

    Raises:
        UnsafeKeysError: the local path lies in a state directory, or a push would make keys that do.
    """
    location, local = registration.location, registration.local
    if registration.pushes and lies_in_state(f"{location.key}/"):
        raise UnsafeKeysError(str(location), [f"{location.key!r}: {IN_STATE}"], advice="Push to another key.")
    if around := state_directory_around(local, state_directory_of(cache_root)):
        problem = f"{local!r}: lies in {around}, in which pos3 keeps its own state"
        raise UnsafeKeysError(str(registration), [problem], advice="Name another place with local=...")


def local_root(
    location: Location,
    local: str | os.PathLike[str] | None,
    cache_root: str,
    profile: Profile | None,
    as_of: str | None = None,
) -> str:
    """The absolute path that mirrors ``location``, with links resolved. Without ``local``, it lies in the cache.

    Args:
        as_of: the time of an earlier state, which the cache keeps apart from that of now.

    Raises:
        InvalidArgumentError: ``local`` cannot be a path.
        InvalidURLError: no ``local`` is given, and the key cannot be a path below the cache root.
        UnsafeKeysError: no ``local`` is given, and a part of the key is the name of a state directory.
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
    if as_of is not None:
        # No name of a profile has such a sign.
        name = f"{name}@{re.sub('[:-]', '', as_of)}"
    root = os.path.join(os.path.realpath(expanded(cache_root)), name, location.bucket_directory, location.key)
    if len(os.fsencode(root)) >= os.pathconf("/", "PC_PATH_MAX"):
        raise InvalidURLError(f"{location}: the key is too long a path below {cache_root}; give local=...")
    return root.rstrip("/")


_MORE_EXTENSIONS = frozenset(
    (
        *("arrow", "avro", "bag", "ckpt", "db", "dill", "feather", "gguf", "h5", "hdf5", "joblib", "jsonl", "keras"),
        *("lmdb", "log", "mcap", "ndjson", "npy", "npz", "onnx", "orc", "parquet", "pb", "pickle", "pkl", "pt", "pth"),
        *("safetensors", "sqlite", "tfrecord", "tflite", "toml", "yaml", "yml", "zst"),
    )
)


def looks_like_file(location: Location) -> bool:
    """Whether the URL looks like that of one file, as ``s3://b/model.pt`` does.

    ``s3://b/run.v1`` and ``s3://b/x/`` do not.
    """
    if location.is_prefix:
        return False
    name = location.key.rpartition("/")[2]
    extension = name.rpartition(".")[2].lower() if "." in name[1:] else ""
    return extension in _MORE_EXTENSIONS or media_types().guess_type(name, strict=False) != (None, None)


def is_same_place(first: Registration, second: Registration) -> bool:
    """Whether both registrations have the same location, profile and local path."""
    return (first.location, first.profile, first.local) == (second.location, second.profile, second.local)
