"""How pushes are shared by those who wait for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pos3.orchestration.storing.shared_pushes import SharedPushes
from tests.orchestration.conftest import eventually


class Pushes:
    """Pushes that go on until they are let go, and how many of them ran at once."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.most = 0
        self.go = threading.Semaphore(0)
        self.errors: list[BaseException] = []

    def __call__(self) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.go.acquire()
        self.running -= 1
        if self.errors:
            raise self.errors.pop(0)


def take(shared_pushes: SharedPushes) -> None:
    ticket = shared_pushes.join()
    try:
        if ticket.is_leader:
            ticket.carry_out()
    finally:
        if ticket.is_leader:
            ticket.abandon()
    ticket.wait()


@pytest.mark.parametrize("error", [None, ValueError("mine"), KeyboardInterrupt()], ids=["ends", "fails", "interrupted"])
def test_at_most_one_runs_and_one_waits(error: BaseException | None) -> None:
    pushes = Pushes()
    shared_pushes = SharedPushes(pushes, lambda: 0)
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(take, shared_pushes)
        eventually(lambda: pushes.running == 1)
        # These have written something that the first may have passed by.
        others = [pool.submit(take, shared_pushes) for _ in range(20)]
        eventually(lambda: shared_pushes._next.waiting == 20)
        pushes.go.release()
        first.result()
        eventually(lambda: pushes.running == 1)
        assert not any(other.done() for other in others)
        if error is not None:
            pushes.errors.append(error)
        # After an interrupt, those who come to the next push when it has begun wait for one more.
        pushes.go.release(2 if error is None else 30)
        raised = [type(other.exception()) for other in others]
    assert pushes.most == 1
    # What fails fails for all; what is interrupted is carried out by another.
    assert sum(kind is type(error) for kind in raised) == (1 if isinstance(error, KeyboardInterrupt) else 20)
    if not isinstance(error, KeyboardInterrupt):
        assert pushes.begun == 2


def test_a_push_waits_for_task_runs_under_way_until_none_comes_any_more() -> None:
    pushes = Pushes()
    pushes.go.release(10)
    shared_pushes = SharedPushes(pushes, lambda: 100)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: take(shared_pushes), range(10)))
    assert pushes.begun == 1
