"""Decides when a file that was changed may be pushed: after it was written, and never while it is open for writing."""

from __future__ import annotations

import enum
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pos3.local import is_open_for_writing

SETTLED_SECONDS = 2.0

_State = tuple[int, int, int]


class _Verdict(enum.Enum):
    PUSH = enum.auto()
    WAIT = enum.auto()
    LEAVE = enum.auto()


@dataclass
class _Change:
    """What is known of a changed file. ``state`` is how it was at ``since``, or None if nobody has looked at it."""

    is_complete: bool
    state: _State | None = None
    since: float = 0.0


class ChangedPaths:
    """The changed files below one local root that wait for a push. It may be used from several threads.

    Args:
        root: the absolute path of the local root.
        is_open: whether a file is open for writing, as :func:`pos3.local.is_open_for_writing` tells it.
    """

    def __init__(
        self,
        root: str,
        *,
        is_open: Callable[[str], bool | None] = is_open_for_writing,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._root = root
        self._is_open = is_open
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, _Change] = {}

    def add(self, path: str, *, is_complete: bool) -> None:
        """Adds a path, relative to the root.

        Args:
            is_complete: whether its writer has closed the file or renamed it into place.
        """
        with self._lock:
            before = self._waiting.get(path)
            self._waiting[path] = _Change(is_complete or (before is not None and before.is_complete))

    def take_due(self) -> list[str]:
        """Removes and returns the paths of the files that may be pushed now.

        A file that is open for writing is removed as well, since it is added again when it is closed. If nobody knows
        whether it is open, it stays until it has been the same for :data:`SETTLED_SECONDS`.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        due: list[str] = []
        for path, change in waiting.items():
            verdict = self._verdict(path, change)
            if verdict is _Verdict.PUSH:
                due.append(path)
            elif verdict is _Verdict.WAIT:
                with self._lock:
                    self._waiting.setdefault(path, change)
        return due

    @property
    def is_empty(self) -> bool:
        with self._lock:
            return not self._waiting

    def _verdict(self, path: str, change: _Change) -> _Verdict:
        full_path = os.path.join(self._root, path) if path else self._root
        try:
            status = os.stat(full_path)
            is_open = self._is_open(full_path)
        except OSError:
            # It is gone or cannot be read. The pushes that look at the whole tree report that.
            return _Verdict.LEAVE
        if is_open:
            return _Verdict.LEAVE
        if change.is_complete or is_open is not None:
            return _Verdict.PUSH
        state, now = (status.st_size, status.st_mtime_ns, status.st_ino), self._clock()
        if state != change.state:
            change.state, change.since = state, now
        return _Verdict.PUSH if now - change.since >= SETTLED_SECONDS else _Verdict.WAIT
