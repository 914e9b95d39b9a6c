"""How a flow run says what pos3 does: lines in the run's own log."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

Log = logging.Logger | logging.LoggerAdapter[Any]
_LOG_EVERY_SECONDS = 10.0
_QUIET_BELOW_SECONDS = 2.0
_MEBIBYTE = 1024 * 1024


class Progress(Protocol):
    """What a mirror tells about one transfer."""

    def moved(self, size_bytes: int) -> None: ...

    def finished_file(self) -> None: ...

    def close(self) -> None: ...


OpenProgress = Callable[[str, int, int], Progress]


def say(log: Log, level: int, message: str, *args: object) -> None:
    """Logs, and never fails: where the pipe to a supervisor is broken, a log call ends with SystemExit."""
    with contextlib.suppress(Exception, SystemExit):
        log.log(level, message, *args)


class RunLogProgress:
    """One line every ten seconds, and one at the end of a transfer that took a while. Works from any thread."""

    def __init__(self, log: Log, title: str, files: int, size_bytes: int, clock: Callable[[], float] = time.monotonic):
        self._log = log
        self._title = title
        self._files = files
        self._size_bytes = size_bytes
        self._clock = clock
        self._done_files = 0
        self._done_bytes = 0
        self._began = self._last = clock()
        self._lock = threading.Lock()

    def moved(self, size_bytes: int) -> None:
        with self._lock:
            self._done_bytes += size_bytes
            self._say_if_due()

    def finished_file(self) -> None:
        with self._lock:
            self._done_files += 1
            self._say_if_due()

    def close(self) -> None:
        with self._lock:
            if self._clock() - self._began >= _QUIET_BELOW_SECONDS:
                self._say()

    def _say_if_due(self) -> None:
        if self._clock() - self._last >= _LOG_EVERY_SECONDS:
            self._last = self._clock()
            self._say()

    def _say(self) -> None:
        say(
            self._log,
            logging.INFO,
            "%s: %d/%d files, %.1f of %.1f MiB after %.0f s",
            self._title,
            self._done_files,
            self._files,
            self._done_bytes / _MEBIBYTE,
            self._size_bytes / _MEBIBYTE,
            self._clock() - self._began,
        )
