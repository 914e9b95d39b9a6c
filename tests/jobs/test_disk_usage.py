"""What lies below each directory, added up in one pass over a sorted listing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pos3.entries import Entry
from pos3.jobs import DirectoryUsage, usage_by_directory

NAMES = st.lists(st.text("ab-0", min_size=1, max_size=2), min_size=1, max_size=5).map("/".join)


def added_up(sizes: dict[str, int], depth: int | None) -> dict[str, tuple[int, int]]:
    expected: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for path, size in sizes.items():
        directories = path.split("/")[:-1]
        for level in range(len(directories) + 1):
            if depth is None or level <= depth:
                name = "/".join(directories[:level])
                files, size_bytes = expected[name]
                expected[name] = files + 1, size_bytes + size
    return dict(expected) or {"": (0, 0)}


@given(sizes=st.dictionaries(NAMES, st.integers(0, 1000), max_size=12), depth=st.one_of(st.none(), st.integers(0, 4)))
def test_each_directory_counts_all_that_lies_below_it(sizes: dict[str, int], depth: int | None) -> None:
    entries = [Entry(path, size) for path, size in sorted(sizes.items())]
    found = list(usage_by_directory(entries, depth))
    assert {usage.path: (usage.files, usage.size_bytes) for usage in found} == added_up(sizes, depth)
    places = {usage.path: at for at, usage in enumerate(found)}
    assert len(places) == len(found)
    for path, at in places.items():
        parent = path.rpartition("/")[0]
        assert not path or places[parent] > at


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([], [DirectoryUsage("", 0, 0)], id="nothing"),
        pytest.param([Entry("", 7)], [DirectoryUsage("", 1, 7)], id="a single file"),
        pytest.param([Entry("a/")], [DirectoryUsage("a", 0, 0), DirectoryUsage("", 0, 0)], id="an empty directory"),
        pytest.param([Entry("a", 3, unusable="a FIFO")], [DirectoryUsage("", 0, 0)], id="no file"),
    ],
)
def test_only_files_count(entries: list[Any], expected: list[DirectoryUsage]) -> None:
    assert list(usage_by_directory(entries)) == expected


def test_a_listing_is_taken_as_it_comes_and_directories_are_told_as_soon_as_they_end() -> None:
    taken = 0

    def entries() -> Any:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield Entry(f"{number:04}/x", 1)

    first = next(usage_by_directory(entries()))
    assert (first, taken) == (DirectoryUsage("0000", 1, 1), 2)
