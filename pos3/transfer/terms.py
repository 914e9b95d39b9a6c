"""What transfers are given, and what comes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pos3.errors import TransferCancelledError, TransferError
from pos3.reports import Kept, Report
from pos3.store import Store
from pos3.transfer.progress import OpenProgress
from pos3.transfer.rate import Rates
from pos3.url import Location

Markers = dict[str, str]
"""What a mirror remembers of the markers of empty directories that it has put itself: path to ETag."""


def forget(markers: Markers, paths: Iterable[str]) -> None:
    for path in paths:
        markers.pop(path, None)


@dataclass(frozen=True)
class Pair:
    """A local root and the place that it mirrors. Objects that are put there are given ``headers``."""

    local: str
    store: Store
    location: Location
    headers: tuple[str, ...] = ()

    def local_path(self, path: str) -> str:
        return f"{self.local.rstrip('/')}/{path.rstrip('/')}" if path else self.local


class Laps:
    """Times what is reported in several parts: together, they take all the time since this was made."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def lap_seconds(self) -> float:
        """The time since this was asked last."""
        before, self._at = self._at, time.monotonic()
        return self._at - before


@dataclass(frozen=True)
class Terms:
    """How transfers are carried out: rates, progress, the signal to stop, who does it and counts, the time.

    ``workers`` is how many requests may be in flight; None leaves it to the store.
    """

    workers: int | None
    rates: Rates
    open_progress: OpenProgress
    cancelled: threading.Event
    owner: str
    count: Callable[[Report], None]
    laps: Laps = field(default_factory=Laps)


@dataclass
class Outcome:
    """What came of a plan.

    ``unsettled`` are paths of files that changed while they were uploaded. ``dropped_files`` counts local files of an
    upload that went since the store has lost their objects.
    """

    copied_files: int = 0
    copied_bytes: int = 0
    deleted_files: int = 0
    dropped_files: int = 0
    kept: list[Kept] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    def raise_failures(self, operation: str) -> None:
        """
        Raises:
            TransferCancelledError: the transfer was stopped from outside.
            TransferError: anything else failed.
        """
        real = [failure for failure in self.failures if not isinstance(failure, TransferCancelledError)]
        if real:
            raise TransferError(operation, real) from real[0]
        if self.failures:
            raise self.failures[0]
