"""What is asked of an S3 server, and what it answers: plain data."""

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
# Of answers that are held in memory, such as pages. A thousand keys are less than 4 MiB.
MOST_BYTES = 32 * 1024 * 1024
# Of the digits of a number of bytes.
_LONGEST_SIZE = 18


class Sink(Protocol):
    """Takes the body of a good answer, in the thread that drives libcurl."""

    def begin(self, response: Response) -> object:
        """Called before the first piece, with the head alone."""
        ...

    def take(self, block: bytes) -> float | None:
        """Takes a piece, or says for how many seconds to wait: then it is offered again, perhaps divided otherwise."""
        ...


class Source(Protocol):
    """Gives the body of a request, in the thread that drives libcurl."""

    size_bytes: int

    def read(self, size_bytes: int) -> bytes:
        """At most so many of the next bytes."""
        ...

    def pause_seconds(self, size_bytes: int) -> float:
        """How long to wait before so many more bytes are read."""
        ...


class Request(NamedTuple):
    """One request for an object. ``query`` and ``headers`` are ready to be sent.

    Args:
        method: GET, HEAD, PUT, POST or DELETE.
        body: what is sent, if it is in memory.
        source: where what is sent comes from, if it is not in memory.
        sink: takes the body of a good answer in pieces; without one, the body is in the response.
        limit_bytes: a longer answer is refused, before its body comes or when so much of it has come.
        where: what the request is for, in errors; its URL unless given.
        silence_seconds: how long the server may say nothing.
        takes_zipped: what is stored with Content-Encoding: gzip is to come as it is, from whoever would unzip it.
        is_sent_once: libcurl would send a request again by itself, if a connection that it keeps breaks off at once.
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
    """A good answer.

    ``wait_seconds`` is how long one of the bucket itself let itself be waited for, once the request could be sent.
    """

    status: int
    head: bytes
    blocks: Sequence[bytes] = ()
    wait_seconds: float = 0.0

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    def header(self, name: str) -> str:
        """The value of a header, whose name is in lower case; "" without it."""
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
        """Whether the ETag proves nothing, and is no condition of a request."""
        return is_weak(self.header("etag"))

    @property
    def etag_proves_nothing(self) -> bool:
        """Whether the ETag is no MD5, whatever it looks like: it is weak, or the object is encrypted."""
        return self.is_weak or self.is_encrypted

    @property
    def is_encrypted(self) -> bool:
        """Whether KMS or a customer's key encrypts the object."""
        by_kms = self.header("x-amz-server-side-encryption").startswith("aws:")
        return by_kms or bool(self.header("x-amz-server-side-encryption-customer-algorithm"))

    @property
    def modified_ns(self) -> int:
        """The object's LastModified in nanoseconds since the epoch; 0 if the store does not tell."""
        return storable_ns(int(seconds_of(self.header("last-modified"))) * 1_000_000_000)

    def entry(self, path: str, where: str) -> Entry:
        """The object that a HEAD was answered for.

        Raises:
            UnreachableError: the answer tells no length, so it is of something else.
        """
        length = self.header("content-length")
        if not (length.isdecimal() and len(length) <= _LONGEST_SIZE):
            raise UnreachableError(f"{where}: the answer to HEAD has no length, so it is not of an object")
        storage_class = self.header("x-amz-storage-class")
        return Entry(path, int(length), self.modified_ns, self.etag, storage_class=storage_class)


class TooLongError(StoreError):
    """The answer is longer than was asked for."""


def can_be_sent(text: str) -> bool:
    """Whether the text can stand in a header."""
    return _CAN_BE_SENT.fullmatch(text) is not None
