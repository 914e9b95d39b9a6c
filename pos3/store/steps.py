"""Work on objects as steps, so that one thread carries out many at once.

A transfer of one object is a generator. What it yields is for the lane that carries it out: an S3 transfer yields
requests and is resumed with their responses, while the same thread has others in flight; a transfer that only blocks
yields nothing. What a lane hands over is (item, result, error), in the order in which items are finished.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pos3.errors import TransferCancelledError
from pos3.store.retry import Patience

T = TypeVar("T")
R = TypeVar("R")

NEVER = threading.Event()
"""The signal to stop of what nobody stops. Nobody sets it."""
Steps = Generator[Any, Any, R]
Begin = Callable[[], Steps[R]]
"""Begins the steps of one item from the start; called again when they are repeated."""
Job = tuple[T, Begin[R]]
Done = tuple[T, R | None, Exception | None]


class Lane(Protocol):
    """Carries out jobs in the thread that iterates, each as often as it takes while its failure may pass.

    Ends early, with the rest undone and nothing left open, when ``cancelled`` is set.
    """

    def __call__(self, jobs: Iterator[Job[T, R]], cancelled: threading.Event, /) -> Iterator[Done[T, R]]: ...


def one_by_one(jobs: Iterator[Job[T, R]], cancelled: threading.Event) -> Iterator[Done[T, R]]:
    """The lane of steps that block: one job after the other."""
    for item, begin in jobs:
        patience = Patience()
        while not cancelled.is_set():
            try:
                yield item, finished(begin()), None
            except Exception as error:  # noqa: BLE001 - handed over
                pause_seconds = patience.pause_seconds(error)
                if pause_seconds is not None and not cancelled.wait(pause_seconds):
                    continue
                yield item, None, error
            break


def blocking(call: Callable[[], R]) -> Steps[R]:
    """Steps that are one call, which blocks."""
    yield from ()
    return call()


def finished(steps: Steps[R]) -> R:
    """The result of steps that yield nothing."""
    try:
        next(steps)
    except StopIteration as end:
        result: R = end.value
        return result
    raise TypeError("these steps need a lane of their store")


class _Alone(Generic[R]):
    """The one job of :func:`carried_out`."""


class HasLanes(Protocol):
    def lanes(self, workers: int) -> Sequence[Lane]: ...


def carried_out(store: HasLanes, begin: Begin[R]) -> R:
    """The result of one job of a store, carried out here and now.

    Raises:
        Exception: whatever the job fails with in the end.
    """
    job: Job[_Alone[R], R] = (_Alone(), begin)
    for _, result, error in store.lanes(1)[0](iter([job]), NEVER):
        if error is not None:
            raise error
        return result  # type: ignore[return-value]
    raise TransferCancelledError("stopped before it was finished")
