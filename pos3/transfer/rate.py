"""A byte rate that any number of threads share."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from pos3.errors import InvalidArgumentError


class ByteRate:
    """Paces bytes from all callers to one total rate: each call waits until the bytes before it have had their time.

    The bytes let through since the first call never exceed the rate times the elapsed time by more than one call's;
    an idle rate saves nothing up.
    """

    def __init__(
        self,
        bytes_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        if isinstance(bytes_per_second, bool) or not isinstance(bytes_per_second, (int, float)):
            raise InvalidArgumentError(
                f"max_upload_bytes_per_second={bytes_per_second!r}: expected a number",
                argument="max_upload_bytes_per_second",
            )
        if not 0 < bytes_per_second < math.inf:
            raise InvalidArgumentError(
                f"max_upload_bytes_per_second={bytes_per_second!r}: must be above 0",
                argument="max_upload_bytes_per_second",
            )
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = -math.inf

    def take(self, size_bytes: int, sleep: Callable[[float], object] | None = None) -> None:
        """Returns when ``size_bytes`` more may be sent; ``sleep`` may cut the waiting short."""
        if size_bytes <= 0:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(now, self._free_at) + size_bytes / self._bytes_per_second
            pause = self._free_at - now
        (sleep or self._sleep)(pause)


class Unlimited:
    """Lets everything through at once."""

    def take(self, size_bytes: int, sleep: Callable[[float], object] | None = None) -> None:
        pass
