"""What an ETag says about content, as far as it says anything.

A plain ETag is the MD5 of the body, except under SSE-KMS or SSE-C; a multipart one ("<md5>-<parts>") is the MD5 of
the parts' MD5s (AWS, "Checking object integrity"). Equality with a computed one proves equal content; a
difference proves nothing by itself, and none at all if the ETag is not exactly such a digest. Any other ETag is a token
that tells one version from another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

_PLAIN = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,8})")
_MIB = 1024 * 1024

# The part sizes of the tools people upload with: ours, boto3, s3cmd and s5cmd, rclone, console, goofys.
_COMMON_PART_SIZES = tuple(size * _MIB for size in (8, 16, 5, 10, 15, 20, 25, 32, 50, 64, 100, 128, 256, 512))

_MULTIPART_BYTES = 8 * _MIB
_MOST_PARTS = 10_000


def part_size(size_bytes: int) -> int:
    """The part size in bytes that pos3 uploads with: 8 MiB, or as many more MiB as keep within 10,000 parts."""
    smallest = -(-size_bytes // _MOST_PARTS)
    return max(_MULTIPART_BYTES, -(-smallest // _MIB) * _MIB)


def is_weak(shown: str) -> bool:
    """Whether an ETag, as a server shows it, is one that need not differ where bytes do (RFC 9110)."""
    return shown.startswith('W/"')


def token(shown: str) -> str:
    """An ETag, as a server shows it, without its quotes: what tells one version from another.

    A gateway may make weak in answers what listings show as strong, so both are the same token.
    """
    return shown[3:].removesuffix('"') if is_weak(shown) else shown.strip('"')


def is_plain(etag: str) -> bool:
    """Whether the ETag is exactly an MD5."""
    return _PLAIN.fullmatch(etag) is not None


def is_digest(etag: str) -> bool:
    """Whether the ETag is exactly an MD5, or exactly that of parts; no other one shows that content differs."""
    return is_plain(etag) or _MULTIPART.fullmatch(etag) is not None


def contradicts(etag: str, digest: str) -> bool:
    """Whether both are digests of the same form, of one body or of as many parts, and differ."""
    return is_digest(etag) and etag != digest and etag[32:] == digest[32:]


def part_size_candidates(etag: str, size_bytes: int, first: Sequence[int] = ()) -> list[int]:
    """Part sizes in bytes that would give as many parts as ``etag`` names; empty for other kinds of ETag."""
    multipart = _MULTIPART.fullmatch(etag.lower())
    if not multipart:
        return []
    parts = int(multipart[1])
    return [size for size in dict.fromkeys((*first, *_COMMON_PART_SIZES)) if parts == -(-size_bytes // size)]


def matches_content(etag: str, size_bytes: int, blocks: Iterable[bytes], first: Sequence[int] = ()) -> bool:
    """Whether the content is proven equal to what ``etag`` stands for.

    Args:
        size_bytes: the length of the content.
        blocks: the content in order, in blocks whose length divides 1 MiB, so that no block crosses a part's end.
        first: part sizes to try before the common ones.
    """
    match = ContentMatch(etag, size_bytes, first)
    if match.is_possible:
        match.take(blocks)
    return match.is_proven()


class ContentMatch:
    """The same for content that is given piece by piece."""

    def __init__(self, etag: str, size_bytes: int, first: Sequence[int] = ()):
        self._etag = etag.lower()
        # A plain ETag is no sum of parts, so its candidates are none.
        self._whole = hashlib.md5(usedforsecurity=False) if is_plain(self._etag) else None
        self._sums = [PartSums(size) for size in part_size_candidates(etag, size_bytes, first)]

    @property
    def is_possible(self) -> bool:
        """Whether any content could be proven equal; if not, none has to be read."""
        return self._whole is not None or bool(self._sums)

    def take(self, blocks: Iterable[bytes]) -> int:
        """Takes the next blocks, and returns how many these were."""
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
    """The multipart ETag of content that is given in blocks, none of which may cross a part's end."""

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
    """The multipart ETag of parts with these MD5s."""
    digests = list(part_digests)
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(digests)}"
