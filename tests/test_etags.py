"""What an ETag proves of a content: plain ones and those of multipart uploads."""

from __future__ import annotations

import hashlib
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pos3.etags import ContentMatch, is_plain, matches_content, part_size, part_size_candidates
from tests.support.trees import pseudo_random

MIB = 1024 * 1024


def reference_etag(data: bytes, part_bytes: int) -> str:
    digests = [hashlib.md5(data[at : at + part_bytes]).digest() for at in range(0, len(data), part_bytes)]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def in_blocks(data: bytes, block_bytes: int) -> list[bytes]:
    return [data[at : at + block_bytes] for at in range(0, len(data), block_bytes)]


@given(data=st.binary(min_size=1, max_size=64), block=st.sampled_from([1, 2, 4]), factor=st.integers(1, 5))
def test_a_multipart_etag_is_computed_as_s3_does(data: bytes, block: int, factor: int) -> None:
    part = block * factor
    etag = reference_etag(data, part)
    assert matches_content(etag, len(data), in_blocks(data, block), [part])
    changed = bytes([data[0] ^ 1]) + data[1:]
    assert not matches_content(etag, len(data), in_blocks(changed, block), [part])


@given(data=st.binary(min_size=1, max_size=64), pieces=st.integers(1, 5), is_in_parts=st.booleans())
def test_content_may_come_piece_by_piece(data: bytes, pieces: int, is_in_parts: bool) -> None:
    match = ContentMatch(reference_etag(data, 4) if is_in_parts else hashlib.md5(data).hexdigest(), len(data), [4])
    blocks = iter(in_blocks(data, 2))
    taken = 0
    while count := match.take(islice(blocks, pieces)):
        taken += count
    assert taken == len(in_blocks(data, 2))
    assert match.is_proven()


@pytest.mark.parametrize("part_mib", [5, 8, 16], ids=lambda size: f"{size}MiB")
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_part_sizes_of_common_tools_are_recognised(part_mib: int, extra: int) -> None:
    data = pseudo_random(2 * part_mib * MIB + extra)
    assert matches_content(reference_etag(data, part_mib * MIB), len(data), in_blocks(data, MIB))


@given(data=st.binary(max_size=40))
def test_a_plain_etag_is_the_md5_of_the_content(data: bytes) -> None:
    etag = hashlib.md5(data).hexdigest()
    assert is_plain(etag)
    assert matches_content(etag, len(data), in_blocks(data, 4))
    assert not matches_content(etag, len(data) + 1, in_blocks(data + b"x", 4))


@pytest.mark.parametrize(
    "etag", ["", "d41d8cd98f00b204e9800998ecf8427e-1", "0x8DC", "W/abc", "D41D8CD98F00B204E9800998ECF8427E-x"]
)
def test_an_etag_of_another_kind_proves_nothing_and_is_no_plain_one(etag: str) -> None:
    assert not is_plain(etag)
    assert not matches_content(etag, 3, [b"abc"])


@given(size=st.integers(0, 5 * 1024**4))
@settings(max_examples=200)
def test_our_part_size_keeps_every_upload_within_the_limits_of_s3(size: int) -> None:
    part = part_size(size)
    assert -(-size // part) <= 10_000
    assert part >= 8 * MIB
    assert part % MIB == 0


@given(size=st.integers(1, 10**12), part=st.sampled_from([5, 8, 16, 64]))
def test_candidates_include_the_part_size_that_was_used(size: int, part: int) -> None:
    parts = -(-size // (part * MIB))
    assert part * MIB in part_size_candidates(f"{'0' * 32}-{parts}", size)
