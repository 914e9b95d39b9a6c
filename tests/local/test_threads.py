"""Calls that are waited for so long and no longer."""

from __future__ import annotations

import contextvars
import threading

import pytest

from pos3.local import call_within

answer = contextvars.ContextVar("answer", default=0)


def test_a_call_that_ends_in_time_is_made_in_the_context_of_whoever_asks() -> None:
    seen: list[tuple[int, str]] = []
    answer.set(42)
    assert call_within(60.0, lambda: seen.append((answer.get(), threading.current_thread().name)), "pos3-test")
    assert seen == [(42, "pos3-test")]


@pytest.mark.parametrize("seconds", [0.01, 0.0, -1.0])
def test_a_call_that_takes_longer_goes_on(seconds: float) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def call() -> None:
        go_on.wait()
        ended.set()

    assert not call_within(seconds, call, "pos3-test")
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(10)


def test_where_no_thread_can_be_started_the_call_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made: list[object] = []
    assert call_within(60.0, lambda: made.append(threading.current_thread()), "pos3-test")
    assert call_within(60.0, lambda: made.append("call"), "pos3-test", instead=lambda: made.append("instead"))
    assert not call_within(0.0, lambda: None, "pos3-test")
    assert made == [threading.current_thread(), "instead"]
