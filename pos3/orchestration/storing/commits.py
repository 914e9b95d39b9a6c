"""What is pushed before the record of a persisted result is committed.

A task whose result is persisted may never be run again: the next run, or the next start of this one, finds its record
and takes the result. So what the task has written must be stored before the record is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext

import pos3
from pos3.orchestration.internals import task_runs_here
from pos3.orchestration.storing.handled import Handled, Place

_QUIET_SECONDS = 0.1
_LONGEST_GATHERING_SECONDS = 1.0

_scopes: ContextVar[tuple[Hashable, ...]] = ContextVar("pos3_registration_scopes", default=())


class Elsewhere(Enum):
    """Stands for the task runs in other processes, which know themselves what they have registered."""

    TASK = "task"
    NESTED_TASK = "nested task"
    """Called by another task run, which may not know of it."""


class _Unknown(Enum):
    PLACE = "a thread without a run"


@contextlib.contextmanager
def scope(holder: Hashable) -> Iterator[None]:
    """What is registered inside is also noted for ``holder``."""
    token = _scopes.set((*_scopes.get(), holder))
    try:
        yield
    finally:
        _scopes.reset(token)


class Ledger:
    """Which task runs and subflow runs have registered which URLs for upload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._urls: dict[Hashable, set[str]] = {}

    def note(self, url: str) -> None:
        """A registration has been made here: in the run, and in those around it, of this context."""
        context = TaskRunContext.get()
        holders: set[Hashable] = {*_scopes.get(), *task_runs_here()}
        if context is not None:
            holders.add(str(context.task_run.id))
        if not holders and FlowRunContext.get() is None:
            holders.add(_Unknown.PLACE)
        with self._lock:
            for holder in holders:
                self._urls.setdefault(holder, set()).add(url)

    def of(self, *holders: Hashable) -> set[str]:
        with self._lock:
            return {url for holder in holders for url in self._urls.get(holder, ())}


class Commits:
    """The pushes of one mirror that results wait for. They delete nothing.

    Those that wait for one place share the next push of it: at most one runs and one waits.
    """

    def __init__(self, mirror: pos3.Mirror, ledger: Ledger):
        self._mirror = mirror
        self._ledger = ledger
        self._lock = threading.Lock()
        self._turns: dict[str, _Turns] = {}
        self._submitted: list[Collection[Any]] = []

    def expect(self, futures: Collection[Any]) -> None:
        """Results may soon be waiting for a push, as many as there are futures at that time."""
        with self._lock:
            self._submitted.append(futures)

    def places(self) -> tuple[Place, ...]:
        return self._mirror._pushed_places()

    def secure_run(self, holder: Hashable, handled: Handled) -> None:
        """Returns when what a task run or subflow run of this process has to do with is stored.

        Raises:
            TransferError: some of it failed.
            NoMirrorError: the mirror is closed.
        """
        own = self._ledger.of(holder)
        doubtful = self._ledger.of(_Unknown.PLACE, *Elsewhere)
        chosen = Handled(handled.values, handled.registered | own).among(self.places())
        self.secure(chosen | doubtful)

    def secure_elsewhere(self, urls: Collection[str]) -> None:
        """The same for a task run of another process, which knows what it has to do with."""
        self.secure({*urls, *self._ledger.of(Elsewhere.NESTED_TASK)})

    def secure(self, urls: Collection[str]) -> None:
        """Returns when what lies at registered places is stored.

        Raises:
            As for :meth:`secure_run`.
        """
        turns = [self._turns_of(url) for url in sorted(urls)]
        joined = [each.join() for each in turns]
        led = [turn for turn in joined if turn.is_mine]
        try:
            for turn in led:
                turn.carry_out()
        finally:
            for turn in led:
                turn.abandon()
        failures: list[Exception] = []
        for turn in joined:
            try:
                turn.wait()
            except Exception as failure:  # noqa: BLE001 - the other places are waited for first
                failures.append(failure)
        if failures:
            raise failures[0]

    def _turns_of(self, url: str) -> _Turns:
        with self._lock:
            turns = self._turns.get(url)
            if turns is None:
                turns = self._turns[url] = _Turns(self._push_of(url), self._count_of_submitted)
            return turns

    def _push_of(self, url: str) -> Callable[[], object]:
        return lambda: self._mirror._push_additions({url})

    def _count_of_submitted(self) -> int:
        with self._lock:
            return sum(map(len, self._submitted))


class _AbandonedError(Exception):
    """Whoever was to push was interrupted."""


class _Push:
    """One push that is to come, and those who wait for it."""

    def __init__(self) -> None:
        self.done: Future[None] = Future()
        self.waiting = 0
        self.last_came_at = 0.0


class _Turns:
    """The pushes of one place.

    A push begins after all who wait for it have come, so it sees what they have written. Whoever comes first carries it
    out. While task runs are under way that may want it too, it waits for them until none has come for a moment.

    Args:
        push: what to do.
        count_of_submitted: how many task runs are under way.
    """

    def __init__(self, push: Callable[[], object], count_of_submitted: Callable[[], int]):
        self._push = push
        self._count_of_submitted = count_of_submitted
        self._changed = threading.Condition()
        self._pushing = threading.Lock()
        self._next = _Push()
        self._seconds = 0.0

    def join(self) -> _Turn:
        """A place in the next push. Whoever gets one that is ``is_mine`` must carry it out, or abandon it."""
        with self._changed:
            joined = self._next
            joined.waiting += 1
            joined.last_came_at = time.monotonic()
            self._changed.notify_all()
            return _Turn(self, joined, joined.waiting == 1)

    def carry_out(self, push: _Push) -> None:
        try:
            with self._pushing:
                self._gather(push)
                began = time.monotonic()
                self._close(push)
                self._push()
                self._seconds = time.monotonic() - began
        except Exception as failure:  # noqa: BLE001 - of all who wait
            self._close(push)
            push.done.set_exception(failure)
        else:
            push.done.set_result(None)

    def abandon(self, push: _Push) -> None:
        if not push.done.done():
            self._close(push)
            push.done.set_exception(_AbandonedError())

    def _close(self, push: _Push) -> None:
        """Whoever comes now waits for the next one."""
        with self._changed:
            if self._next is push:
                self._next = _Push()

    def _gather(self, push: _Push) -> None:
        quiet_seconds = max(_QUIET_SECONDS, self._seconds / 2)
        latest = time.monotonic() + max(_LONGEST_GATHERING_SECONDS, 4 * self._seconds)
        with self._changed:
            while push.waiting < self._count_of_submitted():
                seconds = min(push.last_came_at + quiet_seconds, latest) - time.monotonic()
                if seconds <= 0:
                    return
                self._changed.wait(seconds)


@dataclass
class _Turn:
    """What one of those who wait for a push has in hand."""

    turns: _Turns
    push: _Push
    is_mine: bool

    def carry_out(self) -> None:
        self.turns.carry_out(self.push)

    def abandon(self) -> None:
        """Lets the others do it, if it is not done."""
        self.turns.abandon(self.push)

    def wait(self) -> None:
        try:
            self.push.done.result()
        except _AbandonedError:
            again = self.turns.join()
            try:
                if again.is_mine:
                    again.carry_out()
            finally:
                if again.is_mine:
                    again.abandon()
            again.wait()
