"""The thread of background pushes: nothing ends it before its mirror does."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.cli.stopping import StopSignals
from pos3.mirrors.schedule import Schedule
from tests.faults.base import eventually
from tests.support import S3Site
from tests.support.clock import Clock

HUGE = [sys.maxsize, 1e300, 10**400, threading.TIMEOUT_MAX * 2]


@pytest.mark.parametrize("interval", HUGE, ids=["maxsize", "1e300", "10**400", "beyond-the-system"])
def test_a_huge_interval_keeps_no_other_registration_from_being_pushed(
    s3: S3Site, tmp_path: Path, interval: float
) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        never = pos3.upload(s3.url("never"), interval=interval)
        (never / "file").write_bytes(b"1")
        # The thread waits for the first one by now, or has died of it.
        often = pos3.upload(s3.url("often"), interval=0.05)
        for number in range(2):
            (often / str(number)).write_bytes(b"2")
            eventually(lambda number=number: f"often/{number}" in s3.keys())
        assert not s3.keys("never/")
    assert s3.objects("never/") == {"file": b"1"}


@pytest.mark.parametrize(
    "error", [ValueError, RecursionError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit]
)
def test_a_call_that_raises_anything_ends_neither_itself_nor_the_others(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    schedule, calls, others = Schedule(), threading.Semaphore(0), threading.Semaphore(0)

    def fail() -> None:
        calls.release()
        raise error("why")

    schedule.every(0.001, fail)
    schedule.every(0.001, others.release)
    for _ in range(3):
        assert calls.acquire(timeout=20)
        assert others.acquire(timeout=20)
    assert schedule.stop()
    assert error.__name__ in caplog.text


class Failing:
    """An observer that does what none should."""

    def registered(self, kind: str, url: str) -> None:
        pass

    def transferred(self, kind: str, url: str, report: pos3.Report) -> None:
        raise RecursionError("an observer")


class FailingHandler(logging.Handler):
    def handle(self, record: logging.LogRecord) -> Any:
        raise RuntimeError("a log")


@pytest.fixture
def failing_log() -> Any:
    handler = FailingHandler()
    logging.getLogger("pos3").addHandler(handler)
    yield
    logging.getLogger("pos3").removeHandler(handler)


def test_an_observer_that_raises_fails_no_push(s3: S3Site, tmp_path: Path) -> None:
    options = pos3.MirrorOptions(tmp_path / "cache", show_progress=False)
    mirror = pos3.Mirror(options, observer=Failing()).open()
    out = mirror.upload(s3.url("out"), interval=0.05)
    for number in range(2):
        (out / str(number)).write_bytes(b"1")
        eventually(lambda number=number: f"out/{number}" in s3.keys())
    (out / "2").write_bytes(b"1")
    mirror.close()
    assert s3.objects("out/") == {"0": b"1", "1": b"1", "2": b"1"}


def test_a_log_that_raises_ends_no_background_push(s3: S3Site, tmp_path: Path, failing_log: None) -> None:
    options = pos3.MirrorOptions(tmp_path / "cache", show_progress=False)
    mirror = pos3.Mirror(options, observer=Failing()).open()
    out = mirror.upload(s3.url("out"), interval=0.05)
    for number in range(2):
        (out / str(number)).write_bytes(b"1")
        eventually(lambda number=number: f"out/{number}" in s3.keys())
    mirror.close(push=False)


def test_huge_times_to_wait_are_waited_for(rclone_site: S3Site, tmp_path: Path) -> None:
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False, shutdown_timeout=1e300)).open()
    out = mirror.upload(rclone_site.url("out"), interval=None, sync_on_error=True)
    (out / "file").write_bytes(b"1")
    assert mirror.flush(timeout=1e300).uploaded_files == 1
    (out / "file").write_bytes(b"12")
    with StopSignals() as signals:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert signals.wait(1e300)
    mirror.close(KeyboardInterrupt())
    assert rclone_site.objects("out/") == {"file": b"12"}


class Pushes:
    """Counts calls, and lets a test wait for the next one."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._called = threading.Condition()

    def note(self, now: float) -> None:
        with self._called:
            self.times.append(now)
            self._called.notify_all()

    def wait_for(self, count: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: len(self.times) >= count, 5), self.times


class WatchedClock(Clock):
    """A clock that tells how often the thread of the pushes has asked for the time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)

    def __call__(self) -> float:
        now = super().__call__()
        if threading.current_thread().name == "pos3-push":
            self.asked.release()
        return now

    def forget(self) -> None:
        while self.asked.acquire(blocking=False):
            pass

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.asked.acquire(timeout=5)


def test_calls_come_one_interval_after_registration_and_after_each_end() -> None:
    clock, pushes = WatchedClock(), Pushes()
    schedule = Schedule(clock)

    def push() -> None:
        began = clock.now
        clock.now += 3
        clock.forget()
        pushes.note(began)

    def wake() -> None:
        schedule.every(10**6, lambda: None)

    schedule.every(10, push)
    try:
        clock.now = 9.9
        wake()
        clock.now = 10
        wake()
        pushes.wait_for(1)
        # The time must not move before the thread has taken the time of the next call, and waits for it.
        clock.wait_for(2)
        for moment in (22.9, 23):
            clock.now = moment
            wake()
        pushes.wait_for(2)
        clock.wait_for(2)
        clock.now = 36
        wake()
        pushes.wait_for(3)
    finally:
        assert schedule.stop(5)
    assert pushes.times == [10, 23, 36]


def test_registrations_keep_their_own_intervals() -> None:
    fast, slow = Pushes(), Pushes()
    schedule = Schedule()
    schedule.every(0.05, lambda: fast.note(0))
    schedule.every(0.2, lambda: slow.note(0))
    slow.wait_for(2)
    schedule.stop(5)
    assert len(fast.times) > len(slow.times)


def test_no_call_begins_after_a_stop() -> None:
    pushes = Pushes()
    schedule = Schedule()
    schedule.every(0.02, lambda: pushes.note(0))
    pushes.wait_for(1)
    assert schedule.stop(5)
    count = len(pushes.times)
    schedule.every(0.01, lambda: pushes.note(0))
    threading.Event().wait(0.1)
    assert len(pushes.times) == count


def test_a_stop_waits_for_the_call_that_runs_but_no_longer_than_it_may() -> None:
    begun, release = threading.Event(), threading.Event()
    schedule = Schedule()

    def push() -> None:
        begun.set()
        release.wait(5)

    schedule.every(0.01, push)
    assert begun.wait(5)
    assert not schedule.stop(0.05)
    release.set()
    assert schedule.stop(5)
