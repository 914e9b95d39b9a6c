"""A listing is cut into ranges of about the same size: laws that hold for any listing."""

from __future__ import annotations

import tracemalloc
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pos3.entries import PathRange
from pos3.parts import Block, cut_by_count, cut_by_size

MIB = 1 << 20
SIZES = st.one_of(st.integers(0, 20), st.integers(0, 1000), st.sampled_from([0, 1, 10**6, 10**12]))


def listing(sizes: list[int]) -> list[tuple[str, int, int]]:
    return [(f"{number:06}", size, 1) for number, size in enumerate(sizes)]


def ranges_of(blocks: list[Block]) -> list[PathRange]:
    untils = [block.until for block in blocks[:-1]]
    return [PathRange(after, until) for after, until in zip(["", *untils], [*untils, ""], strict=True)]


def least_possible(sizes: list[int], count: int) -> int:
    """The size of the largest of ``count`` ranges in the best of all divisions, found by trying every capacity."""

    def fits(capacity: int) -> bool:
        needed, filled = 1, 0
        for size in sizes:
            if filled + size > capacity:
                needed, filled = needed + 1, 0
            filled += size
        return needed <= count

    candidates = sorted({sum(sizes[i:j]) for i in range(len(sizes)) for j in range(i + 1, len(sizes) + 1)})
    first = bisect_left(candidates, max(sizes))
    return next(capacity for capacity in candidates[first:] if fits(capacity))


@given(st.lists(SIZES, max_size=300), st.integers(1, 40))
@example([0, 0, 0], 2)
@example([], 3)
@example([5, 0, 0, 0], 2)
@example([1000, 1], 3)
def test_each_object_is_in_exactly_one_range_and_the_numbers_are_right(sizes: list[int], count: int) -> None:
    blocks = cut_by_count(listing(sizes), count)
    assert len(blocks) == count
    for block, within in zip(blocks, ranges_of(blocks), strict=True):
        inside = [size for path, size, _ in listing(sizes) if path in within]
        assert (block.size_bytes, block.files) == (sum(inside), len(inside))
    assert sum(block.files for block in blocks) == len(sizes)
    assert sum(block.files > 0 for block in blocks) == min(count, len(sizes))


@given(st.lists(st.text(min_size=1), max_size=30), st.lists(st.text(min_size=1), max_size=30), st.integers(1, 12))
def test_a_path_that_comes_later_belongs_to_exactly_one_range(old: list[str], new: list[str], count: int) -> None:
    blocks = cut_by_count([(path, 1, 1) for path in sorted(set(old))], count)
    for path in [*old, *new]:
        assert sum(path in within for within in ranges_of(blocks)) == 1


@given(st.lists(SIZES, min_size=1, max_size=60), st.integers(1, 8))
def test_the_largest_range_is_as_small_as_it_can_be(sizes: list[int], count: int) -> None:
    blocks = cut_by_count(listing(sizes), count)
    assert max(block.size_bytes for block in blocks) == least_possible(sizes, count)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1200, 5000), st.integers(1, 20), st.sampled_from([1, 5, 30]))
def test_no_range_has_more_than_one_and_a_half_times_the_mean_unless_an_object_has_more_than_half_of_it(
    seed: int, files: int, count: int, skew: int
) -> None:
    """These are more objects than there may be blocks. With much skew, few of them have nearly all bytes."""
    dice = Random(seed)
    sizes = [int(dice.random() ** skew * 10**6) for _ in range(files)]
    mean = sum(sizes) / count
    assert max(block.size_bytes for block in cut_by_count(listing(sizes), count)) <= mean + max(*sizes, mean / 2)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([10] * 16, [4, 4, 4, 4], id="equal"),
        pytest.param([1000, *[1] * 9], [1, 3, 3, 3], id="one-huge-first"),
        pytest.param([*[1] * 9, 1000], [7, 1, 1, 1], id="one-huge-last"),
        pytest.param([0] * 40, [10, 10, 10, 10], id="no-bytes"),
        pytest.param([7, 7], [1, 1, 0, 0], id="fewer-objects-than-ranges"),
        pytest.param([], [0, 0, 0, 0], id="nothing"),
    ],
)
def test_files_are_shared_out(sizes: list[int], expected: list[int]) -> None:
    assert [block.files for block in cut_by_count(listing(sizes), 4)] == expected


@given(st.lists(SIZES, max_size=200), st.integers(1, 10**6))
def test_ranges_of_a_size_have_at_most_that_size_but_for_single_objects(sizes: list[int], max_bytes: int) -> None:
    blocks = cut_by_size(listing(sizes), max_bytes)
    for block, within in zip(blocks, ranges_of(blocks), strict=True):
        inside = [size for path, size, _ in listing(sizes) if path in within]
        assert (block.size_bytes, block.files) == (sum(inside), len(inside))
        assert block.size_bytes <= max_bytes or sum(size > 0 for size in inside) == 1
    for one, other in pairwise(blocks):
        assert one.size_bytes + other.size_bytes > max_bytes or not other.size_bytes


def test_memory_does_not_grow_with_the_listing() -> None:
    def long_listing(count: int) -> Iterator[tuple[str, int, int]]:
        return ((f"a/long/way/down/{number:012}.parquet", number % 5000, 1) for number in range(count))

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        try:
            cut_by_count(long_listing(count), 16)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(60_000) < 2 * peak_bytes(6_000) < MIB
