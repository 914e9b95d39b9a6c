"""Carries out the steps of many transfers in one thread, with many requests in flight."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pycurl

from pos3.store.beside import Aside, Beside
from pos3.store.retry import Patience
from pos3.store.s3.exchange import Exchange, landed, wait
from pos3.store.s3.requests import Request, Requests
from pos3.store.steps import Begin, Done, Job, R, Steps, T

_GLANCE_SECONDS = 0.05
# A call beside the loop cannot wake it while it waits for the network.
_GLANCE_ASIDE_SECONDS = 0.002
# Bounds what requests in flight hold in memory, however many there are.
_MOST_HELD_BYTES = 40 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Together:
    """What a transfer yields to have several parts of it done at once, each with its own repetitions.

    It is resumed with their results, in their order; when one fails for good, the others are dropped and it gets the
    error.
    """

    begins: Sequence[Begin[Any]]


@dataclass(eq=False, slots=True)
class _Task:
    """A job, or one part of another task."""

    item: Any
    begin: Begin[Any]
    parent: _Task | None = None
    position: int = 0
    steps: Steps[Any] | None = None
    patience: Patience | None = None
    is_dropped: bool = False
    parts: list[_Task] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    parts_left: int = 0


class Loop:
    """One lane: see :class:`pos3.store.steps.Lane`. Each call has connections of its own.

    When it is cancelled, it sends nothing more, and waits for answers to what was sent for ``drain_seconds`` at most.
    """

    def __init__(self, requests: Requests, in_flight: int, drain_seconds: float = 0.0):
        self._requests = requests
        self._in_flight = in_flight
        self._drain_seconds = drain_seconds

    def __call__(self, jobs: Iterator[Job[T, R]], cancelled: threading.Event) -> Iterator[Done[T, R]]:
        running = _Running(self._requests, self._in_flight, jobs)
        try:
            while running.has_work and not cancelled.is_set():
                yield from running.turn()
            yield from running.drained(self._drain_seconds)
        finally:
            running.stop()


class _Running:
    def __init__(self, requests: Requests, in_flight: int, jobs: Iterator[Job[Any, Any]]):
        self._requests = requests
        self._in_flight = in_flight
        self._jobs = jobs
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, in_flight)
        self._idle: dict[bool, list[Exchange]] = {True: [], False: []}
        self._flying: dict[pycurl.Curl, Exchange] = {}
        self._beside = Beside()
        self._held_bytes = 0
        # Parts that have begun and want to send a request come first: they hold files open.
        self._ready: deque[tuple[_Task, Request]] = deque()
        self._fresh: deque[_Task] = deque()
        self._due: list[tuple[float, int, _Task]] = []
        self._numbers = itertools.count()
        self._begun: set[_Task] = set()
        self._done: list[Done[Any, Any]] = []
        self._jobs_left = True

    @property
    def has_work(self) -> bool:
        left = self._flying or self._beside or self._ready or self._fresh or self._due or self._done
        return self._jobs_left or bool(left)

    def turn(self) -> Iterator[Done[Any, Any]]:
        """Starts what there is room for, moves what is in flight, and hands over what is finished."""
        self._fill()
        if self._flying:
            self._multi.perform()
        if not self._collect() and not self._collect_aside(0) and not self._done:
            self._pause()
        yield from self._handed_over()

    def drained(self, seconds: float) -> Iterator[Done[Any, Any]]:
        """What is finished by the answers that come within so many seconds to what was sent already."""
        until = time.monotonic() + seconds
        while self._flying and (left := until - time.monotonic()) > 0:
            self._multi.perform()
            if not self._collect():
                wait(self._multi, min(left, _GLANCE_SECONDS))
            yield from self._handed_over()

    def _handed_over(self) -> Iterator[Done[Any, Any]]:
        done, self._done = self._done, []
        yield from done

    def stop(self) -> None:
        """Ends everything that is under way; files that it was writing are removed."""
        for handle in list(self._flying):
            # An interrupt may have come between two steps of what begins or ends a request.
            with suppress(pycurl.error):
                self._multi.remove_handle(handle)
            self._flying.pop(handle).handle.close()
        for exchange in (*self._idle[True], *self._idle[False]):
            exchange.handle.close()
        self._multi.close()
        for task in list(self._begun):
            self._drop(task)
        self._beside.close()

    def _pause(self) -> None:
        """Until something may go on."""
        seconds = _GLANCE_SECONDS
        if self._due:
            seconds = min(max(self._due[0][0] - time.monotonic(), 0.001), seconds)
        if self._flying:
            wait(self._multi, min(seconds, _GLANCE_ASIDE_SECONDS) if self._beside else seconds)
        elif self._beside:
            self._collect_aside(seconds)
        elif self._due:
            time.sleep(seconds)

    def _fill(self) -> None:
        while len(self._flying) + len(self._beside) < self._in_flight:
            if self._ready:
                task, request = self._ready[0]
                held_bytes = self._held_bytes + self._beside.held_bytes
                if held_bytes and held_bytes + request.held_bytes > _MOST_HELD_BYTES:
                    return
                self._ready.popleft()
                if not task.is_dropped:
                    self._send(task, request)
            elif self._fresh:
                self._start(self._fresh.popleft())
            elif self._due and self._due[0][0] <= time.monotonic():
                self._start(heapq.heappop(self._due)[2])
            elif self._jobs_left and len(self._done) < self._in_flight:
                job = next(self._jobs, None)
                if job is None:
                    self._jobs_left = False
                    return
                self._start(_Task(*job))
            else:
                return

    def _start(self, task: _Task) -> None:
        if task.is_dropped:
            return
        task.steps = task.begin()
        self._begun.add(task)
        self._advance(task, next)

    def _send(self, task: _Task, request: Request) -> None:
        try:
            signs = self._requests.is_signed_by_libcurl(request)
            idle = self._idle[signs]
            exchange = idle.pop() if idle else Exchange.of(self._requests, signs=signs)
            exchange.begin(request, task)
        except Exception as error:  # noqa: BLE001 - the task's to handle
            self._throw(task, error)
            return
        self._flying[exchange.handle] = exchange
        self._held_bytes += request.held_bytes
        self._multi.add_handle(exchange.handle)

    def _collect(self) -> bool:
        ended = landed(self._multi)
        for handle, code, message in ended:
            # One that failed may have dropped others of the same transfer that have ended as well.
            if handle in self._flying:
                self._land(handle, code, message)
        return bool(ended)

    def _collect_aside(self, seconds: float) -> bool:
        has_landed = False
        for task, future in self._beside.finished(seconds):
            has_landed = True
            error = future.exception()
            if error is not None:
                self._throw(task, error)
            else:
                self._resume(task, future.result())
        return has_landed

    def _land(self, handle: pycurl.Curl, code: int, message: str) -> None:
        self._multi.remove_handle(handle)
        exchange = self._flying.pop(handle)
        self._held_bytes -= exchange.request.held_bytes
        task: _Task = exchange.owner
        self._idle[exchange.signs].append(exchange)
        try:
            response = exchange.result(code, message)
        except BaseException as error:  # noqa: BLE001 - the task's to handle
            self._throw(task, error)
        else:
            self._resume(task, response)

    def _resume(self, task: _Task, value: Any) -> None:
        self._advance(task, lambda steps: steps.send(value))

    def _throw(self, task: _Task, error: BaseException) -> None:
        self._advance(task, lambda steps: steps.throw(error))

    def _advance(self, task: _Task, move: Callable[[Steps[Any]], Any]) -> None:
        if task.is_dropped or task.steps is None:
            return
        try:
            wanted = move(task.steps)
        except StopIteration as end:
            self._begun.discard(task)
            self._finish(task, end.value)
        except Exception as error:  # noqa: BLE001 - repeated or handed over
            self._begun.discard(task)
            self._fail(task, error)
        else:
            if isinstance(wanted, Together):
                self._split(task, wanted)
            elif isinstance(wanted, Aside):
                self._beside.begin(task, wanted)
            else:
                self._ready.append((task, wanted))

    def _split(self, task: _Task, wanted: Together) -> None:
        task.parts = [_Task(None, begin, task, position) for position, begin in enumerate(wanted.begins)]
        task.results = [None] * len(task.parts)
        task.parts_left = len(task.parts)
        self._fresh.extend(task.parts)
        if not task.parts:
            self._resume(task, [])

    def _finish(self, task: _Task, result: Any) -> None:
        parent = task.parent
        if parent is None:
            self._done.append((task.item, result, None))
            return
        parent.results[task.position] = result
        parent.parts_left -= 1
        if not parent.parts_left:
            self._resume(parent, parent.results)

    def _fail(self, task: _Task, error: Exception) -> None:
        task.patience = task.patience or self._requests.patience()
        pause_seconds = task.patience.pause_seconds(error)
        if pause_seconds is not None:
            heapq.heappush(self._due, (time.monotonic() + pause_seconds, next(self._numbers), task))
        elif task.parent is None:
            self._done.append((task.item, None, error))
        else:
            for part in task.parent.parts:
                self._drop(part)
            self._throw(task.parent, error)

    def _drop(self, task: _Task) -> None:
        """Ends a task whose result nobody wants any more."""
        task.is_dropped = True
        for part in task.parts:
            self._drop(part)
        for handle, exchange in list(self._flying.items()):
            if exchange.owner is task:
                self._multi.remove_handle(handle)
                del self._flying[handle]
                self._held_bytes -= exchange.request.held_bytes
                self._idle[exchange.signs].append(exchange)
        self._beside.drop(task)
        self._begun.discard(task)
        if task.steps is not None:
            with suppress(Exception):
                task.steps.close()
