"""Limits of bytes per second that several transfers share."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pos3.options import MirrorOptions
from pos3.store import UNLIMITED, Rate


class ByteRate:
    """Limits the bytes of all callers together to one rate.

    Each caller waits until all earlier bytes and its own had time.

    Callers must wait as long as they are told. Time in which nothing is moved is not saved up.
    """

    def __init__(self, bytes_per_second: float, clock: Callable[[], float] = time.monotonic):
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


@dataclass(frozen=True)
class Rates:
    """The rates of all transfers of one mirror together, for each direction."""

    upload: Rate = UNLIMITED
    download: Rate = UNLIMITED

    @classmethod
    def of(cls, options: MirrorOptions) -> Rates:
        return cls(_rate(options.max_upload_bytes_per_second), _rate(options.max_download_bytes_per_second))


def _rate(bytes_per_second: float | None) -> Rate:
    return UNLIMITED if bytes_per_second is None else ByteRate(bytes_per_second)
