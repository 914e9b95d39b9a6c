"""Sizes as people read and write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pos3.reports import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("500M", 500_000_000),
        ("10GB", 10_000_000_000),
        ("1.5 GiB", 1_610_612_736),
        (" 2kb ", 2000),
        ("3KiB", 3072),
        ("1TB", 10**12),
        (12, 12),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "ten", "1XB", "1 2", "nan", "inf", "1e999"])
def test_what_is_no_size_is_a_value_error_that_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)


@given(size=st.integers(0, 10**16))
def test_a_size_for_people_is_within_a_twentieth_of_the_truth(size: int) -> None:
    shown = parse_bytes(format_bytes(size))
    assert abs(shown - size) <= max(size / 19, 1)
