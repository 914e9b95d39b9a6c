"""What can be learned from an ETag about the content of an object.

A plain ETag is the MD5 of the body, except with SSE-KMS or SSE-C. A multipart ETag ("<md5>-<parts>") is the MD5 of the
MD5s of the parts (AWS, "Checking object integrity"). If a computed ETag equals it, the content is equal. If they
differ, the content may still be equal, since the part size or the encryption may differ. Any other ETag is only a token
that tells one version of an object from another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

_PLAIN = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,8})")
_MIB = 1024 * 1024

# The part sizes of common upload tools: pos3 and boto3, s3cmd and s5cmd, rclone, the AWS console, goofys.
_COMMON_PART_SIZES = tuple(size * _MIB for size in (8, 16, 5, 10, 15, 20, 25, 32, 50, 64, 100, 128, 256, 512))

_MULTIPART_BYTES = 8 * _MIB
_MAX_PARTS = 10_000


def part_size(size_bytes: int) -> int:
    """The part size in bytes that pos3 uploads with: 8 MiB, or more if there would be more than 10,000 parts."""
    smallest = -(-size_bytes // _MAX_PARTS)
    return max(_MULTIPART_BYTES, -(-smallest // _MIB) * _MIB)


def is_weak(header_value: str) -> bool:
    """Whether an ETag, as a server sends it, is weak: two different bodies may have the same one (RFC 9110)."""
    return header_value.startswith('W/"')


def token(header_value: str) -> str:
    """An ETag, as a server sends it, without its quotes and without "W/".

    Some gateways send a weak ETag with an object whose listing has the strong one. Both give the same token.
    """
    return header_value[3:].removesuffix('"') if is_weak(header_value) else header_value.strip('"')


def is_plain(etag: str) -> bool:
    """Whether the ETag is exactly an MD5."""
    return _PLAIN.fullmatch(etag) is not None


def is_digest(etag: str) -> bool:
    """Whether the ETag is exactly an MD5 or a multipart ETag. No other ETag can show that content differs."""
    return is_plain(etag) or _MULTIPART.fullmatch(etag) is not None


def contradicts(etag: str, digest: str) -> bool:
    """Whether the ETag shows that its content is not that of ``digest``.

    It does if they differ and have the same form: both plain, or both multipart with the same number of parts.
    """
    return is_digest(etag) and etag != digest and etag[32:] == digest[32:]


def part_size_candidates(etag: str, size_bytes: int, first: Sequence[int] = ()) -> list[int]:
    """Part sizes in bytes that give the number of parts in ``etag``; none if it is not a multipart ETag."""
    multipart = _MULTIPART.fullmatch(etag.lower())
    if not multipart:
        return []
    parts = int(multipart[1])
    return [size for size in dict.fromkeys((*first, *_COMMON_PART_SIZES)) if parts == -(-size_bytes // size)]


def matches_content(etag: str, size_bytes: int, blocks: Iterable[bytes], first: Sequence[int] = ()) -> bool:
    """Whether ``etag`` proves that the object has this content.

    Args:
        size_bytes: the length of the content.
        blocks: the content in order. The length of each block divides 1 MiB, so that no block crosses a part's end.
        first: part sizes to try before the common ones.
    """
    match = ContentMatch(etag, size_bytes, first)
    if match.is_possible:
        match.take(blocks)
    return match.is_proven()


class ContentMatch:
    """Does the same as :func:`matches_content`, for content that arrives piece by piece."""

    def __init__(self, etag: str, size_bytes: int, first: Sequence[int] = ()):
        self._etag = etag.lower()
        # For a plain ETag, there are no part size candidates.
        self._whole = hashlib.md5(usedforsecurity=False) if is_plain(self._etag) else None
        self._sums = [PartSums(size) for size in part_size_candidates(etag, size_bytes, first)]

    @property
    def is_possible(self) -> bool:
        """Whether any content could be proven equal. If not, the caller need not read it."""
        return self._whole is not None or bool(self._sums)

    def take(self, blocks: Iterable[bytes]) -> int:
        """Adds the next blocks to the digests, and returns their number."""
        taken = 0
        for block in blocks:
            taken += 1
            if self._whole is not None:
                self._whole.update(block)
            for part_sum in self._sums:
                part_sum.update(block)
        return taken

    def is_proven(self) -> bool:
        if self._whole is not None:
            return self._whole.hexdigest() == self._etag
        return any(part_sum.etag() == self._etag for part_sum in self._sums)


class PartSums:
    """Computes the multipart ETag of content that is given in blocks. No block may cross a part's end."""

    def __init__(self, part_size_bytes: int):
        self._part_size_bytes = part_size_bytes
        self._digests: list[bytes] = []
        self._current = hashlib.md5(usedforsecurity=False)
        self._filled = 0

    def update(self, block: bytes) -> None:
        self._current.update(block)
        self._filled += len(block)
        if self._filled >= self._part_size_bytes:
            self._close_part()

    def _close_part(self) -> None:
        self._digests.append(self._current.digest())
        self._current = hashlib.md5(usedforsecurity=False)
        self._filled = 0

    def etag(self) -> str:
        if self._filled:
            self._close_part()
        return joined_etag(self._digests)


def joined_etag(part_digests: Iterable[bytes]) -> str:
    """The multipart ETag of an object whose parts have these MD5s."""
    digests = list(part_digests)
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(digests)}"
