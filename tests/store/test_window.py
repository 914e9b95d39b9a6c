"""How many requests may be in flight, simulated against stores that are near, far away, slow, and that refuse."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pos3.store.s3.window import MOST, NO_THRESHOLD, Window

# What this side does for each object, one after the other.
CLIENT_SECONDS = 0.000_12


@dataclass
class Simulated:
    """A store: how long an answer takes, how many it carries out a second, and from how many a second on it refuses."""

    latency_seconds: float
    most_a_second: float = math.inf
    refuses_above: float = math.inf
    _free_at: float = 0.0
    _tokens: float = 10.0
    _filled_at: float = 0.0

    def answer(self, sent_at: float) -> tuple[float, bool]:
        """When the answer comes, and whether it is a good one."""
        arrived_at = sent_at + self.latency_seconds / 2
        if self.refuses_above < math.inf:
            earned = (arrived_at - self._filled_at) * self.refuses_above
            self._tokens, self._filled_at = min(10.0, self._tokens + earned), arrived_at
            if self._tokens < 1:
                return sent_at + self.latency_seconds, False
            self._tokens -= 1
        self._free_at = max(self._free_at, arrived_at) + 1 / self.most_a_second
        return self._free_at + self.latency_seconds / 2, True


@dataclass
class Run:
    """What became of some requests: each limit with its moment, and the moments of all that was sent and refused."""

    seconds: float = 0.0
    limits: list[tuple[float, int]] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    most_in_flight: int = 0

    @property
    def last(self) -> int:
        return self.limits[-1][1]

    @property
    def highest(self) -> int:
        return max(limit for _, limit in self.limits)

    def between(self, begin: float, end: float) -> list[int]:
        return [limit for at, limit in self.limits if begin <= at < end]


Make = Callable[[Callable[[], float]], Window]


def window_for(store: Simulated, *, threshold: float = NO_THRESHOLD, most: int = MOST) -> Make:
    return lambda clock: Window(store.latency_seconds, threshold, lambda _: most, clock)


def simulated(store: Simulated, count: int, make: Make | None = None, jitter: float = 0.0) -> Run:
    """Asks for so many objects, each of them until it comes, with as many requests in flight as may be."""
    now, dice, run = 0.0, Random(1), Run()
    window = (make or window_for(store))(lambda: now)
    run.limits.append((now, window.limit))
    waiting, left = deque([0] * count), count
    # Answers and retries: the moment, a number that keeps the order, how often it was refused, the epoch, what comes.
    events: list[tuple[float, int, int, int, str]] = []
    in_flight = number = 0
    while left:
        while waiting and in_flight < window.limit:
            in_flight += 1
            run.most_in_flight = max(run.most_in_flight, in_flight)
            run.sent.append(now)
            comes_at, is_good = store.answer(now)
            comes_at += dice.uniform(0, jitter) * store.latency_seconds
            number += 1
            heapq.heappush(events, (comes_at, number, waiting.popleft(), window.epoch, "good" if is_good else "bad"))
        at, _, refusals, epoch, what = heapq.heappop(events)
        now = max(now, at) + CLIENT_SECONDS
        if what == "again":
            waiting.append(refusals)
            continue
        if what == "good":
            window.answered(epoch, in_flight)
            left -= 1
        else:
            run.refused.append(now)
            window.overloaded(epoch)
            number += 1
            pause_seconds = dice.uniform(0, min(5, 0.2 * 2**refusals))
            heapq.heappush(events, (now + pause_seconds, number, refusals + 1, 0, "again"))
        in_flight -= 1
        if window.limit != run.limits[-1][1]:
            run.limits.append((now, window.limit))
    run.seconds = now
    return run


# Stores that are far away


def test_a_thousand_small_objects_100_ms_away_take_one_round_trip_more_than_with_256_from_the_beginning() -> None:
    run = simulated(Simulated(0.1), 1000)
    assert run.limits[0][1] == 32
    assert run.seconds <= 5 * 0.1 + 1000 * CLIENT_SECONDS + 0.01


def test_a_store_20_ms_away_is_soon_asked_for_256_at_once() -> None:
    run = simulated(Simulated(0.02), 5000)
    assert [limit for _, limit in run.limits[:4]] == [32, 64, 128, 256]
    assert run.seconds <= 5000 * CLIENT_SECONDS + 0.12


@pytest.mark.parametrize("latency_ms", [20, 100])
def test_what_is_in_flight_does_not_begin_all_at_once(latency_ms: int) -> None:
    latency = latency_ms / 1000
    run = simulated(Simulated(latency), 1000)
    assert sum(at < latency for at in run.sent) == 32
    # No more than what a store 15 ms away would be asked for in that time.
    assert sum(at < 2 * latency for at in run.sent) <= 32 + 32 + max(64, latency * 32 / 0.015)


# Stores that are near, where this side is what takes the time


@pytest.mark.parametrize("latency_ms", [0.2, 1])
def test_a_near_store_is_asked_for_little_at_once_and_no_longer_than_with_ten(latency_ms: float) -> None:
    store = Simulated(latency_ms / 1000)
    run, ten = simulated(store, 20_000), simulated(store, 20_000, lambda _: fixed(10))
    assert run.limits[0][1] == 10
    assert run.highest <= 40
    assert run.last <= 16
    assert run.seconds <= ten.seconds * 1.01


def test_once_more_do_not_pay_their_number_does_not_go_up_and_down() -> None:
    run = simulated(Simulated(0.001), 100_000)
    settled = run.between(1.0, run.seconds)
    assert settled == sorted(settled)
    assert run.last <= 20


@pytest.mark.parametrize("jitter", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("most_a_second", [200, 1000])
@pytest.mark.parametrize("latency_ms", [1, 20, 100])
def test_a_store_that_can_do_so_many_a_second_does_not_get_many_more_than_that_needs(
    latency_ms: int, most_a_second: int, jitter: float
) -> None:
    latency = latency_ms / 1000
    run = simulated(Simulated(latency, most_a_second), 10_000, jitter=jitter)
    needed = most_a_second * latency * (1 + jitter / 2)
    assert run.last <= max(64, 4 * needed)
    assert run.seconds <= 1.2 * 10_000 / most_a_second + 3 * latency


# Stores that refuse


@pytest.mark.parametrize("latency_ms", [20, 100])
def test_a_store_that_refuses_what_is_above_100_a_second_is_asked_for_about_that(latency_ms: int) -> None:
    run = simulated(Simulated(latency_ms / 1000, refuses_above=100), 3000)
    needed = 100 * latency_ms / 1000
    assert max(run.between(3, math.inf)) <= 3 * needed
    assert run.seconds <= 1.35 * 3000 / 100
    assert len(run.refused) <= 600


def test_a_near_store_that_refuses_what_is_above_100_a_second_is_asked_for_one_or_two_at_once() -> None:
    store = Simulated(0.001, refuses_above=100)
    run, ten = simulated(store, 3000), simulated(store, 3000, lambda _: fixed(10))
    assert max(run.between(1, math.inf)) <= 2
    assert run.seconds <= 1.05 * ten.seconds


def test_what_was_too_much_is_approached_slowly_and_left_at_once() -> None:
    run = simulated(Simulated(0.1, refuses_above=100), 3000)
    steps = [after - before for (_, before), (_, after) in pairwise(run.limits)]
    assert max(steps) == 1
    assert all(after == max(1, before // 2) for (_, before), (_, after) in pairwise(run.limits) if after < before)


def test_what_was_too_much_is_remembered_for_the_next_time() -> None:
    store = Simulated(0.05)
    run = simulated(store, 20_000, window_for(store, threshold=60))
    limits = [limit for _, limit in run.limits]
    assert limits[:4] == [32, 60, 61, 62]
    assert simulated(store, 100, window_for(store, threshold=4)).limits[0] == (0.0, 4)


def test_a_store_that_drops_connections_is_still_asked_for_as_many_as_in_the_beginning() -> None:
    window = Window(0.1, NO_THRESHOLD, lambda _: MOST, lambda: 0.0)
    window.limit = 100
    limits = []
    for _ in range(4):
        window.broken(window.epoch)
        limits.append(window.limit)
    assert limits == [50, 32, 32, 32]
    window.overloaded(window.epoch)
    window.broken(window.epoch)
    assert window.limit == 16


def test_others_that_ask_the_same_store_make_it_begin_with_ten() -> None:
    window = Window(0.1, NO_THRESHOLD, lambda _: MOST, lambda: 0.0, is_alone=False)
    assert window.limit == 10


def test_where_fewer_are_asked_for_than_may_be_nothing_changes() -> None:
    now = 0.0
    window = Window(0.1, NO_THRESHOLD, lambda _: MOST, lambda: now)
    for _ in range(1000):
        now += 0.1
        window.answered(window.epoch, 5)
    assert window.limit == 32


# Laws


@given(
    st.sampled_from([0.0, 0.001, 0.02, 0.1]),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 0.2), st.sampled_from("aaaaaaob"), st.integers(0, 999))),
)
def test_there_are_at_least_one_and_never_more_than_allowed_and_each_halving_is_of_what_was_sent_after_the_last(
    wait_seconds: float, most: int, steps: list[tuple[int, float, str, int]]
) -> None:
    now = 0.0
    window = Window(wait_seconds, NO_THRESHOLD, lambda _: most, lambda: now)
    in_flight: list[tuple[int, float]] = []
    lowered_at = -1.0
    for begun, seconds, outcome, which in steps:
        for _ in range(begun):
            if len(in_flight) < window.limit:
                in_flight.append((window.epoch, now))
        if not in_flight:
            continue
        now += seconds
        before = window.limit
        epoch, sent_at = in_flight[which % len(in_flight)]
        end = {"a": lambda e: window.answered(e, len(in_flight)), "o": window.overloaded, "b": window.broken}
        end[outcome](epoch)
        in_flight.pop(which % len(in_flight))
        assert 1 <= window.limit <= most
        if window.limit < before:
            assert window.limit >= before // 2
            if outcome != "a":
                assert sent_at >= lowered_at
                assert epoch == window.epoch - 1
            lowered_at = now


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0005, 0.2), st.floats(50, 5000), st.floats(0, 2))
def test_it_converges_to_what_the_store_can_do(latency_seconds: float, most_a_second: float, jitter: float) -> None:
    count = int(min(8_000, 20 * most_a_second))
    run = simulated(Simulated(latency_seconds, most_a_second), count, jitter=jitter)
    response_seconds = latency_seconds * (1 + jitter / 2)
    possible = min(most_a_second, 1 / CLIENT_SECONDS, MOST / response_seconds)
    assert run.seconds <= 1.4 * count / possible + 12 * response_seconds
    assert run.last <= max(128, 5 * possible * response_seconds)


def fixed(limit: int) -> Window:
    window = Window(0.0, NO_THRESHOLD, lambda _: limit, lambda: 0.0)
    window.limit = limit
    return window
