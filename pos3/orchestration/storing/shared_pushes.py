"""The pushes of one place, one after the other, each shared by all who wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

_QUIET_SECONDS = 0.1
_LONGEST_GATHERING_SECONDS = 1.0


class _AbandonedError(Exception):
    """Whoever was to push was interrupted."""


class _Push:
    """One push that is to come, and those who wait for it."""

    def __init__(self) -> None:
        self.done: Future[None] = Future()
        self.waiting = 0
        self.last_came_at = 0.0


class Turns:
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

    def join(self) -> Turn:
        """A place in the next push. Whoever gets one that is ``is_mine`` must carry it out, or abandon it."""
        with self._changed:
            joined = self._next
            joined.waiting += 1
            joined.last_came_at = time.monotonic()
            self._changed.notify_all()
            return Turn(self, joined, joined.waiting == 1)

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
class Turn:
    """What one of those who wait for a push has in hand."""

    turns: Turns
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
