"""Requests to an S3 server, and its responses: plain data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pos3.entries import Entry, storable_ns
from pos3.errors import StoreError
from pos3.etags import is_weak, token
from pos3.store.clock import seconds_of
from pos3.store.retry import UnreachableError
from pos3.store.s3.client import READ_TIMEOUT_SECONDS

_CAN_BE_SENT = re.compile(r"[!-~]([ -~]*[!-~])?")
# The limit for answers in memory, such as pages. A thousand keys take less than 4 MiB.
MOST_BYTES = 32 * 1024 * 1024
# The maximum number of digits of a size.
_LONGEST_SIZE = 18


class Sink(Protocol):
    """Receives the body of a successful answer, in the thread that drives libcurl."""

    def begin(self, response: Response) -> object:
        """Called before the first piece, with a response that has only the head."""
        ...

    def take(self, block: bytes) -> float | None:
        """Takes a piece, or returns for how many seconds to wait.

        Then the data is offered again, perhaps in other pieces.
        """
        ...


class Source(Protocol):
    """Reads the body of a request, in the thread that drives libcurl."""

    size_bytes: int

    def read(self, size_bytes: int) -> bytes:
        """The next bytes, at most ``size_bytes``."""
        ...

    def pause_seconds(self, size_bytes: int) -> float:
        """How long to wait before this number of bytes is read."""
        ...


class Request(NamedTuple):
    """One request. ``query`` and ``headers`` are in their final form.

    Args:
        method: GET, HEAD, PUT, POST or DELETE.
        body: the body, if it is in memory.
        source: reads the body, if it is not in memory.
        sink: receives the body of a successful answer in pieces. Without a sink, the body is in the response.
        limit_bytes: the maximum length of the answer. A longer one is refused.
        where: the purpose of the request, for errors; by default its URL.
        silence_seconds: how long the server may send nothing.
        takes_zipped: objects with Content-Encoding: gzip are wanted as they are stored, also if the server would unzip
            them.
        is_sent_once: the request uses a new connection. Otherwise libcurl may send it again if a kept connection
            breaks.
    """

    method: str
    key: str
    query: str = ""
    headers: tuple[str, ...] = ()
    body: bytes = b""
    source: Source | None = None
    sink: Sink | None = None
    limit_bytes: int = MOST_BYTES
    where: str = ""
    silence_seconds: int = READ_TIMEOUT_SECONDS
    is_sent_once: bool = False
    takes_zipped: bool = False


class Response(NamedTuple):
    """A successful answer.

    ``wait_seconds`` is the time between sending a request for the bucket and the beginning of its answer.
    """

    status: int
    head: bytes
    blocks: Sequence[bytes] = ()
    wait_seconds: float = 0.0

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    def header(self, name: str) -> str:
        """The value of a header, whose name is given in lower case; "" if there is none."""
        begin = self.head.lower().find(b"\n" + name.encode() + b":")
        if begin < 0:
            return ""
        line = self.head[begin + 1 :].partition(b"\n")[0]
        return line.partition(b":")[2].strip(b" \t\r").decode("utf-8", "replace")

    @property
    def etag(self) -> str:
        return token(self.header("etag"))

    @property
    def is_weak(self) -> bool:
        """Whether the ETag is weak. Then it proves nothing, and is not used in conditions."""
        return is_weak(self.header("etag"))

    @property
    def etag_proves_nothing(self) -> bool:
        """Whether the ETag is no MD5, even if it looks like one: it is weak, or the object is encrypted."""
        return self.is_weak or self.is_encrypted

    @property
    def is_encrypted(self) -> bool:
        """Whether KMS or a key of the customer encrypts the object."""
        by_kms = self.header("x-amz-server-side-encryption").startswith("aws:")
        return by_kms or bool(self.header("x-amz-server-side-encryption-customer-algorithm"))

    @property
    def modified_ns(self) -> int:
        """The object's LastModified in nanoseconds since the epoch; 0 if the answer has none."""
        return storable_ns(int(seconds_of(self.header("last-modified"))) * 1_000_000_000)

    def entry(self, path: str, where: str) -> Entry:
        """The entry for the object of a HEAD request.

        Raises:
            UnreachableError: the answer has no length, so it is not from the store.
        """
        length = self.header("content-length")
        if not (length.isdecimal() and len(length) <= _LONGEST_SIZE):
            raise UnreachableError(f"{where}: the answer to HEAD has no length, so it is not of an object")
        storage_class = self.header("x-amz-storage-class")
        return Entry(path, int(length), self.modified_ns, self.etag, storage_class=storage_class)


class TooLongError(StoreError):
    """The answer is longer than expected."""


def can_be_sent(text: str) -> bool:
    """Whether the text can be in a header."""
    return _CAN_BE_SENT.fullmatch(text) is not None
