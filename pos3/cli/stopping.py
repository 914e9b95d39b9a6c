"""Stopping a command that runs until it is told to end."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The system takes no time of its own for longer ones.
_LONGEST_SECONDS = 86_400.0


class StopSignals(AbstractContextManager["StopSignals"]):
    """Takes the first SIGINT or SIGTERM as the wish to end; the second one has its usual effect."""

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe()
        self._before: dict[signal.Signals, Any] = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        os.close(self._reading)
        os.close(self._writing)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        os.write(self._writing, b".")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> bool:
        """Returns at the signal, or after so many seconds; whether the signal came."""
        until = time.monotonic() + seconds
        while (left_seconds := until - time.monotonic()) > 0:
            if select.select([self._reading], [], [], min(left_seconds, _LONGEST_SECONDS))[0]:
                return True
        return bool(select.select([self._reading], [], [], 0)[0])
