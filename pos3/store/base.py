"""The contract of a store. Every backend keeps it, and one test suite checks it.

Keys are whole keys within the bucket. Several threads may call any method at the same time. Errors are those of
:mod:`pos3.errors`. They name the cause and the key, and contain no secrets.

Downloads and uploads are coroutines, which are awaited inside of :meth:`Store.run`. All other methods block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from pos3.entries import EVERY_PATH, Entry, PathRange
from pos3.errors import StoreError

T = TypeVar("T")
# The name of an endpoint contains no blank.
_AS_OF = " as of "
Moved = Callable[[int], object]
"""Progress: called with a number of bytes that have moved; with a negative one when they are taken back."""
Landmarks = Callable[[str, int], str]
"""Called with a path and a number of steps: the path so many known paths further on, or "" if there are fewer."""


def nothing_known(_after: str, _steps: int) -> str:
    """Landmarks for a listing of which no earlier one is known."""
    return ""


def unseen(_size_bytes: int) -> None:
    """A progress function that does nothing."""


TellChecksum = Callable[[str], object]
"""Called with the checksum of a whole object, such as "CRC64NVME rosUhgp5mIg=", for :func:`pos3.store.has_checksum`."""


def untold(_checksum: str) -> None:
    """A function for checksums that does nothing."""


class CancelToken(Protocol):
    """Says whether a transfer must end. :class:`threading.Event` is one."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


NEVER: CancelToken = threading.Event()
"""Cancels nothing. Nobody sets it."""


class Rate(Protocol):
    """Limits bytes to a total rate. Safe to use from several threads."""

    def wait_seconds(self, size_bytes: int) -> float:
        """How long to wait before this number of bytes may be moved. They count as moved from then on."""
        ...


class Unlimited:
    """A rate without a limit."""

    def wait_seconds(self, size_bytes: int) -> float:
        return 0.0


UNLIMITED = Unlimited()


class Counted:
    """The bytes that one transfer has reported as progress.

    If the transfer fails, :meth:`take_back` subtracts them again.
    """

    def __init__(self, moved: Moved):
        self.told = moved
        self._kept_bytes = 0

    def keep(self, size_bytes: int) -> None:
        """Adds bytes that were reported already."""
        self._kept_bytes += size_bytes

    def take_back(self) -> None:
        kept, self._kept_bytes = self._kept_bytes, 0
        if kept:
            self.told(-kept)


class RangeNotes(Protocol):
    """Records which ranges of one version of an object are in a file. The record survives a kill of the process."""

    @property
    def keeps_failed(self) -> bool:
        """Whether the file of a failed download stays for the next download."""
        ...

    def begin(self, etag: str, size_bytes: int, algorithm: str) -> Mapping[tuple[int, int], bytes]:
        """Returns what was recorded for exactly this version. Later calls of :meth:`note` are for this version, too.

        Returns:
            the checksum of each range, by its start and end. A range was received, but after a power cut it may be
            missing on the disk. Ranges may begin at the same place and end at different ones. If the result is empty,
            the file does not exist.
        Raises:
            TransferCancelledError: the download was given up, and another download may own the file.
        """
        ...

    def note(self, start: int, end: int, digest: bytes) -> None:
        """Records that a range is in the file."""
        ...

    def forget(self) -> None:
        """Removes the file, because its content cannot be used."""
        ...


class NothingNoted:
    """Records nothing, so each download starts from the beginning."""

    keeps_failed = False

    def begin(self, etag: str, size_bytes: int, algorithm: str) -> Mapping[tuple[int, int], bytes]:
        return {}

    def note(self, start: int, end: int, digest: bytes) -> None: ...

    def forget(self) -> None: ...


NOTHING_NOTED = NothingNoted()


class KeyRefusedError(StoreError):
    """The store cannot hold an object with this key."""


class UnsortedListingError(StoreError):
    """The store does not list in key order. The next call of the same listing sorts the keys in memory."""


def directly_below(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries directly below the listed root. Deeper entries are replaced by their directories, each once."""
    last = ""
    for entry in entries:
        name, slash, _ = entry.path.partition("/")
        if not slash:
            yield entry
        elif name != last:
            last = name
            yield Entry(f"{name}/")


def twice_if_unsorted(ask: Callable[[], T]) -> T:
    """The result of ``ask``.

    It is called a second time if the store has just noticed that it must sort listings itself.
    """
    try:
        return ask()
    except UnsortedListingError:
        return ask()


@dataclass(frozen=True)
class Survey:
    """What was at a key at the time of one request.

    ``server_time`` is the clock of the store, in whole seconds since the epoch. ``recent`` has (path, etag) of objects
    that were written shortly before: their times alone do not show that they are older than ``server_time``. If
    ``is_told`` is false, the credentials do not allow the request, and nothing is known.
    """

    is_object: bool
    is_prefix: bool
    server_time: float
    recent: frozenset[tuple[str, str]] = field(default=frozenset())
    is_told: bool = True


class Version(NamedTuple):
    """One version of an object, or a delete marker. ``modified_ns`` is in nanoseconds since the epoch."""

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
    """A name for an endpoint at an earlier moment. It differs from that of other moments and of the present."""
    return f"{endpoint}{_AS_OF}{moment}"


def present_endpoint(endpoint: str) -> str:
    """The endpoint without the moment that :func:`past_endpoint` adds."""
    return endpoint.partition(_AS_OF)[0]


@dataclass(frozen=True)
class Route:
    """How a store is reached. No field is secret. A field that this kind of store does not have is "".

    ``credentials`` is the source of the credentials, such as "env" or "shared-credentials-file".
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
    """One bucket, or its equivalent for another URL scheme, reached with one profile."""

    @property
    def endpoint(self) -> str:
        """The name of the endpoint: see :func:`pos3.store.endpoint_of`."""
        ...

    def route(self) -> Route:
        """How it is reached.

        Raises:
            CredentialsError, EndpointError, ProfileError
        """
        ...

    @property
    def resumable_from_bytes(self) -> int:
        """The smallest size of an object whose interrupted download can be continued."""
        ...

    @property
    def clock_set_back_seconds(self) -> float:
        """The largest step back of the store's clock that was noticed.

        New objects may have dates that are too early by this much.
        """
        ...

    def survey(self, key: str) -> Survey:
        """What is at ``key``, from one listing of a few pages at most. It also checks the bucket and the credentials.

        Raises:
            BucketNotFoundError, AccessDeniedError, CredentialsError, EndpointError
        """
        ...

    def entries(
        self, key: str, *, is_prefix: bool, landmarks: Landmarks = nothing_known, within: PathRange = EVERY_PATH
    ) -> Iterator[Entry]:
        """All objects at or below ``key``, in code-point order of their paths relative to it.

        If an object has exactly this key and ``is_prefix`` is false, only that object is yielded, with path "". Either
        every object is yielded or an error is raised. A listing is never partial without an error.

        Args:
            landmarks: known paths at which the listing may be divided, to request several pages at once. They may be
                outdated.
            within: only these paths are yielded. A store that lists in order requests only the pages that contain them.
        Raises:
            UnsortedListingError: the store does not list in order; call again.
        """
        ...

    def children(self, key: str, beginning: str = "", most_pages: int | None = None) -> Iterator[Entry]:
        """One level below ``key``: objects, and directories as paths ending in "/", in code-point order.

        Args:
            beginning: only names that begin with this text are requested.
            most_pages: the maximum number of pages. Entries on later pages may be missing; None for all pages.
        """
        ...

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T:
        """The result of a coroutine that uses the coroutines of this store.

        The calling thread drives the loop until the end.

        At most ``workers`` requests of this store run at the same time. With None, the store finds the fastest number.
        """
        ...

    async def most_in_flight(self, before: int) -> int:
        """The maximum number of requests at the same time. It returns when this number is not ``before``."""
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
        """Writes one version of the object into the new file ``target``, complete and verified.

        Args:
            expected: the object as it was listed. A newer version may be downloaded instead.
            moved: called with the number of bytes that arrived. If a failure discards bytes, it is called with their
                negative.
            cancelled: checked between the pieces of a body.
            notes: records what is already in ``target``, for objects of at least ``resumable_from_bytes``. After a
                failure, its owner decides about the file.
            tell_checksum: called with the checksum that has verified the download, if it is one of the whole object.
            rate: says how long to wait before more bytes are read.
        Returns:
            size, etag and LastModified of the version that was downloaded.
        Raises:
            TransferCancelledError: ``cancelled`` was set; ``target`` does not exist.
            RemoteNotFoundError, IntegrityError, ObjectChangedError and the errors of ``survey``.
        """
        ...

    def as_of(self, moment: str) -> Store:
        """The same bucket at an earlier moment. It can only be read, and it has its own endpoint name.

        Args:
            moment: an ISO 8601 time with an offset, in the past.
        Raises:
            InvalidArgumentError: this kind of store has no versions. If only the bucket has none, its listings raise an
                error.
        """
        ...

    def versions(self, prefix: str) -> Iterator[Version]:
        """All versions of the keys that begin with ``prefix``, in code-point order of the keys.

        Raises:
            InvalidArgumentError: this kind of store has no versions.
            StoreError: the bucket keeps no versions.
        """
        ...

    def headers_of(self, extra_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The headers for ``upload`` that do the same as these ``ExtraArgs`` of boto3.

        Raises:
            InvalidArgumentError: the store does not support one of them.
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
        """Stores the first ``size_bytes`` of the file ``source`` as one object: completely, or not at all.

        If the file has become shorter, its whole content is stored. A multipart upload that fails is aborted.

        Args:
            moved, cancelled: as for ``download``.
            rate: says how long to wait before more bytes are sent.
            headers: headers of the object, made by ``headers_of``.
            tell_checksum: called with the checksum of the whole object, if it was sent with one.
        Returns:
            the ETag that a listing will show for the object.
        Raises:
            TransferCancelledError: ``cancelled`` was set.
        """
        ...

    def delete(self, keys: Sequence[str], cancelled: CancelToken = NEVER) -> list[tuple[str, Exception]]:
        """Deletes objects. An object that does not exist counts as deleted.

        When ``cancelled`` is set, no further request is sent. Requests that were sent get a short time to finish.

        Returns:
            the keys that may not be deleted, each with the cause. For keys that were not tried, it is
            TransferCancelledError.
        """
        ...

    def put_marker(self, key: str) -> str | None:
        """Creates the directory object ``key``, which is empty and ends in "/".

        Returns:
            the ETag that a listing will show for it; None if the store cannot hold such objects, and then nothing is
            left.

        Raises:
            KeyRefusedError: the store holds other directory objects, but not one with this key.
        """
        ...

    def hang_up(self) -> None:
        """Closes idle connections. The store can still be used, with new ones."""
        ...

    def abort_unfinished(self, *, stopped: bool) -> None:
        """Aborts multipart uploads that failed, as far as this is possible within seconds.

        An abort that fails temporarily is tried again in the next call.

        Args:
            stopped: whether the running uploads were stopped, so theirs are aborted as well.
        """
        ...
