"""PURE. Cuts a listing into ranges with about the same number of bytes, in one pass and with little memory.

How many bytes there are is known only at the end of the listing. So neighbours are gathered in blocks while it is read.
When there are many blocks, small neighbours are merged. At the end, each range is made of whole blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

# A block of several objects has at most so small a share of the mean of a range.
_BLOCKS_PER_RANGE = 8
_FEWEST_BLOCKS = 1024
# The border of ranges where no path is known that could be one.
_SOME_PATH = "\U0010ffff"

Sized = tuple[str, int, int]
"""The path of something listed, its bytes, and how many files it is: 0 for a directory."""


class Block(NamedTuple):
    """Neighbours in a listing: the last path of them, their bytes, and how many files they are."""

    until: str
    size_bytes: int
    files: int


def cut_by_count(listed: Iterable[Sized], count: int) -> list[Block]:
    """``count`` ranges of a listing, of which the largest one is about as small as it can be.

    If no object has more than half of the mean of the ranges, no range has more than one and a half times the mean. If
    there are fewer objects than ranges, the last ranges are empty. If no object has a byte, the numbers of files are
    balanced.
    """
    blocks = _gathered(listed, count)
    has_bytes = any(block.size_bytes for block in blocks)
    ends = _balanced_ends([block.size_bytes if has_bytes else block.files for block in blocks], count)
    last_path = (blocks[-1].until if blocks else "") or _SOME_PATH
    return [_joined(blocks[start:end], last_path) for start, end in pairwise([0, *ends])]


def cut_by_size(listed: Iterable[Sized], max_bytes: int) -> list[Block]:
    """As few ranges of a listing as have at most ``max_bytes`` each, but for single objects that have more."""
    ranges: list[Block] = []
    until, range_bytes, range_files = "", 0, 0
    for path, size_bytes, files in listed:
        if range_files and range_bytes + size_bytes > max_bytes:
            ranges.append(Block(until, range_bytes, range_files))
            range_bytes = range_files = 0
        until, range_bytes, range_files = path, range_bytes + size_bytes, range_files + files
    return [*ranges, Block(until or _SOME_PATH, range_bytes, range_files)]


def _gathered(listed: Iterable[Sized], count: int) -> list[Block]:
    """A listing as blocks, of which there are not more for a longer listing."""
    most_blocks = max(_FEWEST_BLOCKS, 8 * _BLOCKS_PER_RANGE * count)
    limit_bytes, limit_files = 0, 1
    blocks: list[Block] = []
    until, block_bytes, block_files = "", 0, 0
    for path, size_bytes, files in listed:
        if block_files and (block_bytes + size_bytes > limit_bytes or block_files + files > limit_files):
            blocks.append(Block(until, block_bytes, block_files))
            block_bytes = block_files = 0
            if len(blocks) >= most_blocks:
                limit_bytes = sum(block.size_bytes for block in blocks) // (_BLOCKS_PER_RANGE * count)
                limit_files = max(1, sum(block.files for block in blocks) // (_BLOCKS_PER_RANGE * count))
                blocks = _compact(blocks, limit_bytes, limit_files)
        until, block_bytes, block_files = path, block_bytes + size_bytes, block_files + files
    if until or block_files:
        blocks.append(Block(until, block_bytes, block_files))
    return blocks


def _compact(blocks: Sequence[Block], limit_bytes: int, limit_files: int) -> list[Block]:
    """The blocks, with neighbours merged up to both limits. Any two neighbours that are left exceed one of them."""
    compact = [blocks[0]]
    for block in blocks[1:]:
        both = _joined((compact[-1], block), block.until)
        if both.size_bytes <= limit_bytes and both.files <= limit_files:
            compact[-1] = both
        else:
            compact.append(block)
    return compact


def _joined(blocks: Sequence[Block], last_path: str) -> Block:
    """Neighbours as one block. Without any, it is empty and ends with the listing."""
    until = (blocks[-1].until if blocks else "") or last_path
    return Block(until, sum(block.size_bytes for block in blocks), sum(block.files for block in blocks))


def _balanced_ends(weights: Sequence[int], count: int) -> list[int]:
    """The number of weights up to the end of each of ``count`` ranges.

    The heaviest range is as light as it can be. Within that, each one is about as heavy as those that follow it. Where
    there are fewer weights than ranges, the last ranges are empty.
    """
    sums = [0, *accumulate(weights)]
    capacity = _smallest_capacity(sums, max(weights, default=0), count)
    # At each number of ranges that are left: how many weights must be gone at the least, so that the rest fits.
    fewest_gone = [len(weights)]
    for _ in range(count - 1):
        fewest_gone.append(bisect_left(sums, sums[fewest_gone[-1]] - capacity))
    ends: list[int] = []
    start = 0
    for left in range(count, 0, -1):
        target = sums[start] + (sums[-1] - sums[start]) / left
        end = bisect_left(sums, target, start)
        if target - sums[end - 1] < sums[end] - target:
            end -= 1
        latest = bisect_right(sums, sums[start] + capacity) - 1
        end = min(end, len(weights) - left + 1)
        start = min(max(end, start + 1, fewest_gone[left - 1]), latest)
        ends.append(start)
    return ends


def _smallest_capacity(sums: Sequence[int], heaviest: int, count: int) -> int:
    """The least weight that the heaviest of ``count`` ranges can have."""
    low, high = max(heaviest, -(-sums[-1] // count)), sums[-1]
    while low < high:
        middle = (low + high) // 2
        if _fits(sums, middle, count):
            high = middle
        else:
            low = middle + 1
    return low


def _fits(sums: Sequence[int], capacity: int, count: int) -> bool:
    end = 0
    for _ in range(count):
        end = bisect_right(sums, sums[end] + capacity) - 1
    return end == len(sums) - 1
