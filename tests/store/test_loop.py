"""What a loop makes of the steps of transfers: calls beside it, and parts that are done together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pos3.errors import RemoteNotFoundError
from pos3.store.beside import Aside
from pos3.store.retry import BusyError
from pos3.store.s3.loop import Together
from pos3.store.s3.requests import Request
from pos3.store.s3.store import S3Store
from pos3.store.steps import Steps, carried_out
from tests.faults.base import run_python
from tests.support import Latency, Proxy, S3Site, contents, write_tree
from tests.support.trees import pseudo_random


@pytest.fixture
def store(rclone_site: S3Site) -> S3Store:
    return S3Store(rclone_site.bucket, None, 4)


def aside(call: Callable[[], Any], held_bytes: int = 0) -> Steps[Any]:
    return (yield Aside(call, held_bytes))


def together(*begins: Callable[[], Steps[Any]]) -> Steps[Any]:
    return (yield Together(begins))


def threads_beside() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pos3-beside")]


def test_a_call_beside_the_loop_is_made_in_another_thread_which_is_gone_afterwards(store: S3Store) -> None:
    name = carried_out(store, partial(aside, lambda: threading.current_thread().name))
    assert name.startswith("pos3-beside")
    assert not threads_beside()


def test_a_call_is_made_all_the_same_where_no_thread_can_be_had(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    name = carried_out(store, partial(aside, lambda: threading.current_thread().name))
    assert name == threading.current_thread().name


AT_EXIT = """
import atexit, sys, pos3
def push():
    with pos3.mirror(sys.argv[1], show_progress=False):
        pos3.upload(sys.argv[2], sys.argv[3], interval=None)
        (pos3.download(sys.argv[2] + "-back") / "seen").write_bytes(b"1")
atexit.register(push)
"""


def test_long_bodies_are_moved_while_the_interpreter_exits(rclone_site: S3Site, tmp_path: Path) -> None:
    files = {"large": pseudo_random(17 << 20), "medium": pseudo_random(1 << 20)}
    rclone_site.put_all({f"out-back/{name}": data for name, data in files.items()})
    out = write_tree(tmp_path / "out", files)
    program = run_python(AT_EXIT, tmp_path / "cache", rclone_site.url("out"), out)
    output, _ = program.communicate(timeout=60)
    assert output == ""
    assert rclone_site.objects("out/") == files
    [seen] = (tmp_path / "cache").rglob("seen")
    assert contents(seen.parent) == files | {"seen": b"1"}


def test_a_call_beside_the_loop_that_fails_fails_the_transfer_with_its_error(store: S3Store) -> None:
    with pytest.raises(ZeroDivisionError):
        carried_out(store, partial(aside, lambda: 1 // 0))


def test_a_call_beside_the_loop_whose_failure_may_pass_is_made_again(store: S3Store) -> None:
    answers: list[Any] = [BusyError("once"), "twice"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    assert carried_out(store, partial(aside, call)) == "twice"


def test_parts_are_handed_over_in_their_order_and_not_in_that_of_their_ends(store: S3Store) -> None:
    def slept(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    waits = [0.1, 0.0, 0.05, 0.01]
    begins = [partial(aside, partial(slept, seconds)) for seconds in waits]
    assert carried_out(store, partial(together, *begins)) == waits


def test_calls_that_hold_more_than_the_limit_alone_come_to_their_end(store: S3Store) -> None:
    begins = [partial(aside, partial(int, 7), 1 << 30) for _ in range(20)]
    assert carried_out(store, partial(together, *begins)) == [7] * 20


def test_a_part_that_fails_waits_for_the_calls_of_the_others_before_the_transfer_closes_what_they_use(
    store: S3Store,
) -> None:
    begun, events = threading.Event(), []

    def slow() -> None:
        begun.set()
        time.sleep(0.3)
        events.append("written")

    def fails() -> None:
        begun.wait(10)
        raise ValueError("broken")

    def transfer() -> Steps[None]:
        try:
            yield Together([partial(aside, slow), partial(aside, fails)])
        finally:
            events.append("closed")

    with pytest.raises(ValueError, match="broken"):
        carried_out(store, transfer)
    assert events == ["written", "closed"]
    assert not threads_beside()


def test_a_loop_that_is_stopped_waits_for_calls_beside_it_before_files_are_closed(store: S3Store) -> None:
    begun, cancelled, events = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        time.sleep(0.3)
        events.append("written")

    def transfer() -> Steps[None]:
        try:
            yield Together([partial(aside, slow), partial(aside, slow), partial(aside, slow)])
        finally:
            events.append("closed")

    def cancel() -> None:
        begun.wait(10)
        cancelled.set()

    stopper = threading.Thread(target=cancel)
    stopper.start()
    assert list(store.lanes(4)[0](iter([("it", transfer)]), cancelled)) == []
    stopper.join()
    assert events[-1] == "closed"
    assert set(events[:-1]) == {"written"}
    assert not threads_beside()


def test_parts_that_fail_at_the_same_moment_are_one_failure_of_their_transfer(
    rclone_site: S3Site, proxied: Callable[..., Proxy]
) -> None:
    proxied(rclone_site, Latency(seconds=0.15))
    store = S3Store(rclone_site.bucket, None, 4)

    def missing() -> Steps[Any]:
        return (yield Request("HEAD", "nothing"))

    def busy() -> Steps[None]:
        yield Aside(partial(time.sleep, 0.05))
        # The loop does not look until all answers have come.
        time.sleep(0.4)

    jobs = iter([("it", partial(together, busy, missing, missing, missing))])
    [(item, result, error)] = store.lanes(8)[0](jobs, threading.Event())
    assert (item, result) == ("it", None)
    assert isinstance(error, RemoteNotFoundError)
