"""What a store must do: the contract that every backend keeps and one test suite checks.

Keys are whole keys within the bucket. Every method may be called from several threads at once. Errors are those of
:mod:`pos3.errors`, with the cause and the key named and without secrets.

Downloads and uploads are coroutines, which are awaited in what :meth:`Store.run` runs. Everything else blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from pos3.entries import EVERY_PATH, Entry, PathRange
from pos3.errors import StoreError

T = TypeVar("T")
# No endpoint has a blank in it.
_AS_OF = " as of "
Moved = Callable[[int], object]
"""Progress: called with a number of bytes that have moved; with a negative one when they are taken back."""
Landmarks = Callable[[str, int], str]
"""Called with a path and a number of steps: the path so many known paths further on, or "" if there are fewer."""


def nothing_known(_after: str, _steps: int) -> str:
    """The landmarks of what has never been listed."""
    return ""


def unseen(_size_bytes: int) -> None:
    """The progress that nobody follows."""


TellChecksum = Callable[[str], object]
"""Called with the checksum of a whole object, such as "CRC64NVME rosUhgp5mIg=", for :func:`pos3.store.has_checksum`."""


def untold(_checksum: str) -> None:
    """For checksums that nobody keeps."""


class CancelToken(Protocol):
    """Says whether a transfer is to end. An event of :mod:`threading` is one."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


NEVER: CancelToken = threading.Event()
"""Cancels nothing. Nobody sets it."""


class Rate(Protocol):
    """Limits bytes to a total rate. Safe to use from several threads."""

    def wait_seconds(self, size_bytes: int) -> float:
        """How long to wait before so many more bytes may move. They count as moved from then on."""
        ...


class Unlimited:
    """The rate that lets everything through at once."""

    def wait_seconds(self, size_bytes: int) -> float:
        return 0.0


UNLIMITED = Unlimited()


class Counted:
    """What one transfer has told of its progress and keeps, so that a failure can take it back."""

    def __init__(self, moved: Moved):
        self.told = moved
        self._kept_bytes = 0

    def keep(self, size_bytes: int) -> None:
        """So many bytes have been told already."""
        self._kept_bytes += size_bytes

    def take_back(self) -> None:
        kept, self._kept_bytes = self._kept_bytes, 0
        if kept:
            self.told(-kept)


class RangeNotes(Protocol):
    """Remembers which ranges of one version of an object have arrived in a file, also when the process is killed."""

    @property
    def keeps_failed(self) -> bool:
        """Whether a download that has failed leaves its file to the next one."""
        ...

    def begin(self, etag: str, size_bytes: int, algorithm: str) -> Mapping[tuple[int, int], bytes]:
        """What was noted of exactly this version; what comes next is noted of it, too.

        Returns:
            the checksum of each range, by where it begins and ends. They tell what has arrived, and not that a power
            cut has left it on disk. Where it is empty, the file does not exist.
        Raises:
            TransferCancelledError: the download was given up; the file is no longer its own.
        """
        ...

    def note(self, start: int, end: int, digest: bytes) -> None:
        """A range is in the file."""
        ...

    def forget(self) -> None:
        """What the file holds is of no use: it is removed."""
        ...


class NothingNoted:
    """The notes of a download that begins anew each time."""

    keeps_failed = False

    def begin(self, etag: str, size_bytes: int, algorithm: str) -> Mapping[tuple[int, int], bytes]:
        return {}

    def note(self, start: int, end: int, digest: bytes) -> None: ...

    def forget(self) -> None: ...


NOTHING_NOTED = NothingNoted()


class KeyRefusedError(StoreError):
    """The store holds no object of such a key."""


class UnsortedListingError(StoreError):
    """A store turned out not to list in key order; asking again gives a sorted listing from memory."""


def directly_below(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries directly below the listed root, and in place of the others the directories that they lie in, once."""
    last = ""
    for entry in entries:
        name, slash, _ = entry.path.partition("/")
        if not slash:
            yield entry
        elif name != last:
            last = name
            yield Entry(f"{name}/")


def twice_if_unsorted(ask: Callable[[], T]) -> T:
    """What ``ask`` returns, called once more if a store has found out meanwhile that it must sort by itself."""
    try:
        return ask()
    except UnsortedListingError:
        return ask()


@dataclass(frozen=True)
class Survey:
    """What lay at a key when it was asked for.

    ``server_time`` is the store's own clock, in whole seconds since the epoch. ``recent`` holds (path, etag) of objects
    that were written so shortly before that their times alone could not place them before ``server_time``. Without
    ``is_told``, the credentials may not ask, and nothing is known.
    """

    is_object: bool
    is_prefix: bool
    server_time: float
    recent: frozenset[tuple[str, str]] = field(default=frozenset())
    is_told: bool = True


class Version(NamedTuple):
    """One version of an object, or the mark that it was deleted. ``modified_ns`` is in nanoseconds since the epoch."""

    key: str
    version_id: str
    modified_ns: int
    is_latest: bool
    is_delete: bool
    size_bytes: int = 0
    etag: str = ""
    storage_class: str = ""

    def entry(self, path: str) -> Entry:
        """The version as an entry of a listing."""
        return Entry(path, self.size_bytes, self.modified_ns, self.etag, 0, "", self.storage_class, self.version_id)


def past_endpoint(endpoint: str, moment: str) -> str:
    """What tells the past of an endpoint from others, and from what it holds now."""
    return f"{endpoint}{_AS_OF}{moment}"


def present_endpoint(endpoint: str) -> str:
    """The endpoint of whose past, or present, an endpoint is."""
    return endpoint.partition(_AS_OF)[0]


@dataclass(frozen=True)
class Route:
    """How a store is reached; no part of it is secret. What a kind of store does not have is "".

    ``credentials`` is where they come from, such as "env" or "shared-credentials-file".
    """

    endpoint: str
    addressing: str = ""
    region: str = ""
    profile: str = ""
    credentials: str = ""
    aws_profile: str = ""
    proxy: str = ""

    def __str__(self) -> str:
        named = (
            ("endpoint", self.endpoint),
            ("", self.addressing and f"{self.addressing} addressing"),
            ("region", self.region),
            ("profile", self.profile and repr(self.profile)),
            ("", self.credentials and self._shown_credentials()),
            ("AWS profile", self.aws_profile and repr(self.aws_profile)),
            ("proxy", self.proxy),
        )
        return ", ".join(f"{name} {value}".lstrip() for name, value in named if value)

    def _shown_credentials(self) -> str:
        return self.credentials if self.credentials == UNSIGNED else f"credentials from {self.credentials!r}"


UNSIGNED = "unsigned"
"""In the place of credentials: requests are not signed."""


class Store(Protocol):
    """One bucket, or the like, reached with one profile."""

    @property
    def endpoint(self) -> str:
        """What tells the endpoint from others: see :func:`pos3.store.endpoint_of`."""
        ...

    def route(self) -> Route:
        """How it is reached.

        Raises:
            CredentialsError, EndpointError, ProfileError
        """
        ...

    @property
    def resumable_from_bytes(self) -> int:
        """Downloads of objects from this size on are worth to be gone on with, and can be."""
        ...

    @property
    def clock_set_back_seconds(self) -> float:
        """By how much the store's clock has been seen to go back at the most; what is new may be dated that early."""
        ...

    def survey(self, key: str) -> Survey:
        """What lies at ``key``, by at most a few pages of one listing; proves that bucket and access are right.

        Raises:
            BucketNotFoundError, AccessDeniedError, CredentialsError, EndpointError
        """
        ...

    def entries(
        self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known, within: PathRange = EVERY_PATH
    ) -> Iterator[Entry]:
        """All objects at or below ``key``, in code-point order of their paths relative to it.

        If an object has exactly this key and ``is_prefix`` is false, that object alone, with path "". Either every
        object is yielded or an error is raised; a listing is never silently partial.

        Args:
            landmarks: where the listing may be divided, to be asked for in several places at once; need not be right.
            within: only these paths; a store that lists in order is asked for no others, but for what a page holds.
        Raises:
            UnsortedListingError: the store does not list in order; call again.
        """
        ...

    def children(self, key: str, beginning: str = "", most_pages: int | None = None) -> Iterator[Entry]:
        """One level below ``key``: objects, and directories as paths ending in "/", in code-point order.

        Args:
            beginning: only those whose names begin with it are asked for.
            most_pages: a store that lists in pages may leave out what is on later ones; None for all pages.
        """
        ...

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T:
        """The result of a coroutine that awaits this store's, in a loop that the calling thread drives until then.

        At most ``workers`` of this store's requests are under way at the same time; with None, as many as pay.
        """
        ...

    async def most_in_flight(self, above: int) -> int:
        """How many of its requests may be under way at the same time, as soon as these are more than ``above``."""
        ...

    async def download(
        self,
        key: str,
        expected: Entry,
        target: str,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        notes: RangeNotes = NOTHING_NOTED,
        tell_checksum: TellChecksum = untold,
        rate: Rate = UNLIMITED,
    ) -> Entry:
        """Writes one version of the object into the new file ``target``, whole and verified.

        Args:
            expected: the object as it was listed; a newer version may be delivered instead.
            moved: told of the bytes that have come; what a failure leaves nothing of is taken back.
            cancelled: asked between the pieces of a body.
            notes: of what is in ``target`` already, for objects from ``resumable_from_bytes`` on. What a failure leaves
                there is up to whoever keeps them.
            tell_checksum: told the checksum that has proven what arrived, if one of the whole object has.
            rate: says how long to wait before more bytes are taken.
        Returns:
            size, etag and LastModified of the version that was delivered.
        Raises:
            TransferCancelledError: ``cancelled`` was set; ``target`` does not exist.
            RemoteNotFoundError, IntegrityError, ObjectChangedError and the errors of ``survey``.
        """
        ...

    def as_of(self, moment: str) -> Store:
        """The same bucket as it was at a moment. It can only be read, and has an endpoint of its own.

        Args:
            moment: an ISO 8601 time with an offset, which lies in the past.
        Raises:
            InvalidArgumentError: the store keeps no versions. That a bucket keeps none is an error of its listings.
        """
        ...

    def versions(self, prefix: str) -> Iterator[Version]:
        """All versions of the keys that begin with ``prefix``, in code-point order of the keys.

        Raises:
            InvalidArgumentError: the store keeps no versions.
            StoreError: the bucket keeps none.
        """
        ...

    def headers_of(self, extra_args: Mapping[str, Any]) -> tuple[str, ...]:
        """What ``upload`` is given so that its object carries what boto3's arguments of this name say.

        Raises:
            InvalidArgumentError: the store cannot do one of them.
        """
        ...

    async def upload(
        self,
        key: str,
        source: str,
        size_bytes: int,
        moved: Moved = unseen,
        cancelled: CancelToken = NEVER,
        rate: Rate = UNLIMITED,
        headers: tuple[str, ...] = (),
        tell_checksum: TellChecksum = untold,
    ) -> str:
        """Stores the first ``size_bytes`` of the file ``source`` as one object, all of it or nothing.

        If the file has become shorter, what is left of it. A multipart upload that fails is aborted.

        Args:
            moved, cancelled: as for ``download``.
            rate: says how long to wait before more bytes are sent.
            headers: what the object will carry, made by ``headers_of``.
            tell_checksum: told the checksum of the whole object, if it was sent with one.
        Returns:
            the ETag under which a listing will show the object.
        Raises:
            TransferCancelledError: ``cancelled`` was set.
        """
        ...

    def delete(self, keys: Sequence[str], cancelled: CancelToken = NEVER) -> list[tuple[str, Exception]]:
        """Deletes objects; one that is gone already counts as deleted.

        Once ``cancelled`` is set, nothing more is asked for, and what was asked for is waited for briefly.

        Returns:
            what is not known to be deleted, with the cause: TransferCancelledError for what was stopped.
        """
        ...

    def put_marker(self, key: str) -> str | None:
        """Creates the empty object ``key``, ending in "/".

        Returns:
            the ETag under which a listing will show it; None if the store cannot hold one, and then nothing stays.

        Raises:
            KeyRefusedError: it holds others, but none of this key.
        """
        ...

    def hang_up(self) -> None:
        """Ends the connections on which nothing is under way. The store can be used afterwards, with new ones."""
        ...

    def abort_unfinished(self, *, stopped: bool) -> None:
        """Takes back what failed uploads have begun and left there, as far as that is done within seconds.

        What fails for the moment is kept for the next call.

        Args:
            stopped: also what uploads have begun that were under way, since they were stopped.
        """
        ...
