"""Laws of a server's clock, as the dates of its answers tell it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pos3.store.clock import ServerClock, seconds_of


@dataclass(frozen=True)
class Answer:
    """Seconds before its request is sent, until the server dates it, and until it has arrived."""

    pause: float
    way_there: float
    way_back: float


# Sums of these are exact.
times = st.integers(0, 100 * 1024).map(lambda number: number / 1024)
leads = st.integers(10**9, 10**12).map(lambda number: number / 1024)
answers = st.lists(st.builds(Answer, times, times, times), min_size=1, max_size=6)


def watch(clock: ServerClock, ahead_seconds: float, now: float, seen: list[Answer]) -> float:
    """The time when all answers have come from a server whose clock is ahead of this one."""
    for answer in seen:
        sent_at = now + answer.pause
        dated_at = sent_at + answer.way_there
        now = dated_at + answer.way_back
        clock.saw(math.floor(dated_at + ahead_seconds), sent_at, now)
    return now


@given(answers, leads)
def test_a_clock_that_goes_right_is_never_suspected(seen: list[Answer], ahead_seconds: float) -> None:
    clock = ServerClock()
    watch(clock, ahead_seconds, 1000.0, seen)
    assert clock.set_back_seconds == 0


@given(answers, answers, times.map(lambda seconds: 1 + 50 * seconds), leads)
def test_what_is_told_of_a_clock_that_goes_back_is_never_too_little(
    before: list[Answer], after: list[Answer], back_seconds: float, ahead_seconds: float
) -> None:
    clock = ServerClock()
    now = watch(clock, ahead_seconds, 1000.0, before)
    watch(clock, ahead_seconds - back_seconds, now, after)
    # Whole seconds, and the time that the best answers take, leave that much uncertain.
    uncertain_seconds = 2 + min(answer.way_back for answer in before) + min(answer.way_there for answer in after)
    assert clock.set_back_seconds >= back_seconds or back_seconds < uncertain_seconds


def test_answers_without_a_date_tell_nothing() -> None:
    clock = ServerClock()
    clock.saw(seconds_of("Thu, 01 Jan 2026 00:00:00 GMT"), 1.0, 1.0)
    for date in ("", "yesterday"):
        clock.saw(seconds_of(date), 2.0, 2.0)
    assert clock.set_back_seconds == 0
