"""Runs the pushes of one upload one after the other. All callers that wait at the same time share one push."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

_QUIET_SECONDS = 0.1
_MAX_WAIT_SECONDS = 1.0


class _AbandonedError(Exception):
    """The caller that carried out the push was interrupted."""


class _Push:
    """A push that has not begun yet, and the number of callers that wait for it."""

    def __init__(self) -> None:
        self.done: Future[None] = Future()
        self.waiting = 0
        self.last_came_at = 0.0


class SharedPushes:
    """The pushes of one upload.

    A push begins after all its callers have joined, so it includes what they have written. The caller that joins first
    is the leader, and carries it out. If other submitted task runs may join, it waits until none has joined for a
    moment.

    Args:
        push: the function that pushes.
        count_submitted: returns the number of task runs that are submitted and have not ended.
    """

    def __init__(self, push: Callable[[], object], count_submitted: Callable[[], int]):
        self._push = push
        self._count_submitted = count_submitted
        self._changed = threading.Condition()
        self._pushing = threading.Lock()
        self._next = _Push()
        self._seconds = 0.0

    def join(self) -> PushTicket:
        """Joins the next push. The caller whose ticket has ``is_leader`` must carry it out or abandon it."""
        with self._changed:
            joined = self._next
            joined.waiting += 1
            joined.last_came_at = time.monotonic()
            self._changed.notify_all()
            return PushTicket(self, joined, joined.waiting == 1)

    def carry_out(self, push: _Push) -> None:
        """Runs the push. Its error is for all callers that have joined it."""
        try:
            with self._pushing:
                self._wait_for_others(push)
                began = time.monotonic()
                self._close(push)
                self._push()
                self._seconds = time.monotonic() - began
        except Exception as failure:  # noqa: BLE001 - it is raised in all callers that wait
            self._close(push)
            push.done.set_exception(failure)
        else:
            push.done.set_result(None)

    def abandon(self, push: _Push) -> None:
        """If the push has not ended, makes the other callers join another one."""
        if not push.done.done():
            self._close(push)
            push.done.set_exception(_AbandonedError())

    def _close(self, push: _Push) -> None:
        """Callers that come from now on join the next push."""
        with self._changed:
            if self._next is push:
                self._next = _Push()

    def _wait_for_others(self, push: _Push) -> None:
        quiet_seconds = max(_QUIET_SECONDS, self._seconds / 2)
        latest = time.monotonic() + max(_MAX_WAIT_SECONDS, 4 * self._seconds)
        with self._changed:
            while push.waiting < self._count_submitted():
                seconds = min(push.last_came_at + quiet_seconds, latest) - time.monotonic()
                if seconds <= 0:
                    return
                self._changed.wait(seconds)


@dataclass
class PushTicket:
    """The part of one caller in a push."""

    shared_pushes: SharedPushes
    push: _Push
    is_leader: bool

    def carry_out(self) -> None:
        self.shared_pushes.carry_out(self.push)

    def abandon(self) -> None:
        """If the push has not ended, leaves it to the other callers."""
        self.shared_pushes.abandon(self.push)

    def wait(self) -> None:
        """Returns when the push has ended, and raises its error. An abandoned push is repeated."""
        try:
            self.push.done.result()
        except _AbandonedError:
            again = self.shared_pushes.join()
            try:
                if again.is_leader:
                    again.carry_out()
            finally:
                if again.is_leader:
                    again.abandon()
            again.wait()
