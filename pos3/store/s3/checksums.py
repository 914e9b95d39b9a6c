"""Checksums that S3 keeps with its objects. With the package awscrt, CRCs are as fast as the hardware.

S3 stores a checksum for every object since the end of 2024, and returns it on request. Names and encodings are those of
AWS's documentation, "Checking object integrity".
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pos3.local import blocks
from pos3.store.s3.requests import Response

ASK_FOR_CHECKSUM = "x-amz-checksum-mode: ENABLED"
_ANY = b"\nx-amz-checksum-"
_TYPE = "x-amz-checksum-type"
_LONGEST_COUNT = 5
_OF_WHOLE_OBJECT = ("", "FULL_OBJECT")


class Running(Protocol):
    """A checksum that is computed in steps."""

    def update(self, block: bytes) -> object: ...

    def digest(self) -> bytes: ...

    def copy(self) -> Running:
        """Another one, which goes on from the same point."""
        ...


@dataclass(frozen=True)
class Algorithm:
    """One kind of checksum.

    ``begin`` makes a running one. ``join`` computes the checksum of two consecutive pieces, from their checksums and
    the length of the second one; None if the algorithm cannot do this.
    """

    name: str
    begin: Callable[[], Running]
    join: Callable[[bytes, bytes, int], bytes] | None = None

    @property
    def header(self) -> str:
        """The name of its header, in lower case."""
        return f"x-amz-checksum-{self.name.lower()}"

    def header_of(self, digest: bytes) -> str:
        return f"{self.header}: {encoded(digest)}"

    def headers_of_body(self, digest: bytes) -> tuple[str, ...]:
        """The headers with which a body is sent, so that the store checks and keeps the checksum.

        Older stores need the first one.
        """
        return f"x-amz-sdk-checksum-algorithm: {self.name}", self.header_of(digest)

    def joined(self, pieces: Iterable[tuple[bytes, int]]) -> bytes:
        """The checksum of consecutive pieces, each given with its checksum and its length. There is at least one."""
        assert self.join is not None
        total, *rest = pieces
        digest = total[0]
        for piece, size_bytes in rest:
            digest = self.join(digest, piece, size_bytes)
        return digest


class _Crc:
    __slots__ = ("_size_bytes", "_step", "_value")

    def __init__(self, step: Callable[[bytes, int], int], size_bytes: int):
        self._step = step
        self._size_bytes = size_bytes
        self._value = 0

    def update(self, block: bytes) -> None:
        self._value = self._step(block, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")

    def copy(self) -> _Crc:
        copied = _Crc(self._step, self._size_bytes)
        copied._value = self._value
        return copied


def _crc(name: str, size_bytes: int, step: Callable[[bytes, int], int], combine: Any = None) -> Algorithm:
    def join(first: bytes, second: bytes, second_bytes: int) -> bytes:
        value = combine(int.from_bytes(first, "big"), int.from_bytes(second, "big"), second_bytes)
        return int(value).to_bytes(size_bytes, "big")

    return Algorithm(name, lambda: _Crc(step, size_bytes), join if combine is not None else None)


@functools.cache
def algorithms() -> dict[str, Algorithm]:
    """The algorithms that can be computed here, by their headers, the fastest first."""
    found: list[Algorithm] = []
    combine_crc32 = None
    try:
        from awscrt import checksums

        # Older versions of awscrt cannot combine checksums.
        found.append(_crc("CRC64NVME", 8, checksums.crc64nvme, getattr(checksums, "combine_crc64nvme", None)))
        found.append(_crc("CRC32C", 4, checksums.crc32c, getattr(checksums, "combine_crc32c", None)))
        combine_crc32 = getattr(checksums, "combine_crc32", None)
    except (ImportError, AttributeError):
        pass
    found.append(_crc("CRC32", 4, zlib.crc32, combine_crc32))
    found.append(Algorithm("SHA1", lambda: hashlib.sha1(usedforsecurity=False)))
    found.append(Algorithm("SHA256", hashlib.sha256))
    return {algorithm.header: algorithm for algorithm in found}


@functools.cache
def crc32() -> Algorithm:
    """CRC32, which boto3 uses, and which every bucket of AWS accepts."""
    return algorithms()["x-amz-checksum-crc32"]


def fastest() -> Algorithm:
    """The fastest algorithm that can be computed here."""
    return next(iter(algorithms().values()))


def algorithm_of_uploads() -> Algorithm:
    """The algorithm for uploads: the fastest one whose pieces can be joined, or else the one of boto3."""
    joinable = (algorithm for algorithm in algorithms().values() if algorithm.join is not None)
    return next(joinable, crc32())


MD5 = Algorithm("MD5", lambda: hashlib.md5(usedforsecurity=False))
"""What a plain ETag is of. No header tells it."""


@dataclass(frozen=True)
class Told:
    """The checksum of an object from the store: of the whole object, or of the checksums of its ``parts``."""

    algorithm: Algorithm
    value: str
    parts: int = 0

    def is_of(self, digest: bytes) -> bool:
        return encoded(digest) == self.value

    def __str__(self) -> str:
        """The form in which the checksum of a whole object is recorded."""
        return f"{self.algorithm.name} {self.value}"


def encoded(digest: bytes) -> str:
    """The digest in the form of a header."""
    return b64encode(digest).decode()


def told_by(response: Response) -> Told | None:
    """The checksum of an object in an answer, by the fastest algorithm; None if there is none that can be used here."""
    if _ANY not in response.head.lower():
        return None
    for name, algorithm in algorithms().items():
        value, _, parts = response.header(name).partition("-")
        if value and parts.isdecimal() and len(parts) <= _LONGEST_COUNT:
            return Told(algorithm, value, int(parts))
        if value and not parts and response.header(_TYPE) in _OF_WHOLE_OBJECT:
            return Told(algorithm, value)
    return None


def told_of_whole(response: Response) -> Told | None:
    """The checksum of the whole object in an answer, or None."""
    told = told_by(response)
    return told if told is not None and not told.parts else None


def file_has(path: str, checksum: str) -> bool | None:
    """See :func:`pos3.store.has_checksum`."""
    name, _, value = checksum.partition(" ")
    algorithm = algorithms().get(f"x-amz-checksum-{name.lower()}")
    if algorithm is None:
        return None
    running = algorithm.begin()
    for block in blocks(path):
        running.update(block)
    return encoded(running.digest()) == value
