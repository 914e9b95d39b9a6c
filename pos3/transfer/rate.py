"""A byte rate that any number of transfers share."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from pos3.errors import InvalidArgumentError


class ByteRate:
    """Limits the bytes of all callers to one total rate: each waits until what came before it, and its own, had time.

    Whoever waits as long as it is told keeps to the rate; an idle rate saves nothing up.
    """

    def __init__(self, bytes_per_second: float, clock: Callable[[], float] = time.monotonic):
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
        self._lock = threading.Lock()
        self._free_at = -math.inf

    def wait_seconds(self, size_bytes: int) -> float:
        """See :class:`pos3.store.Rate`."""
        if size_bytes <= 0:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free_at = max(now, self._free_at) + size_bytes / self._bytes_per_second
            return self._free_at - now
