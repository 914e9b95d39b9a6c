"""The rate of a transfer: no more bytes than it allows, and none saved up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pos3.transfer.rate import ByteRate
from tests.support.clock import Clock


@given(rate=st.integers(1, 10**6), sizes=st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_no_more_bytes_pass_than_the_rate_allows(rate: int, sizes: list[int]) -> None:
    clock = Clock()
    limit = ByteRate(rate, clock)
    passed = 0
    for size in sizes:
        clock.sleep(limit.wait_seconds(size))
        passed += size
        assert passed <= clock.now * rate * (1 + 1e-9) + 1e-6
    assert clock.now * rate <= passed * (1 + 1e-9) + 1e-6


@given(rate=st.integers(1, 1000), idle=st.integers(1, 10_000))
def test_an_idle_rate_saves_nothing_up(rate: int, idle: int) -> None:
    clock = Clock()
    limit = ByteRate(rate, clock)
    clock.sleep(limit.wait_seconds(rate))
    clock.now += idle
    assert limit.wait_seconds(10 * rate) == pytest.approx(10)
