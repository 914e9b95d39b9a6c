"""Stops a command that runs until a signal comes."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# select() does not accept arbitrarily long timeouts.
_MAX_WAIT_SECONDS = 86_400.0


class StopSignals(AbstractContextManager["StopSignals"]):
    """Catches the first SIGINT or SIGTERM. The second one has its usual effect."""

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
        """Returns at the signal, or after ``seconds``. The result says whether the signal came."""
        deadline = time.monotonic() + seconds
        while (remaining_seconds := deadline - time.monotonic()) > 0:
            if select.select([self._reading], [], [], min(remaining_seconds, _MAX_WAIT_SECONDS))[0]:
                return True
        return bool(select.select([self._reading], [], [], 0)[0])
