"""Plain values for transfers: their conditions and their results."""

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
    """A local root and the place that it mirrors. ``headers`` are set on all objects that are created there."""

    local: str
    store: Store
    location: Location
    headers: tuple[str, ...] = ()

    def local_path(self, path: str) -> str:
        return f"{self.local.rstrip('/')}/{path.rstrip('/')}" if path else self.local


class Laps:
    """Measures time in several parts. Together, the parts have no gap since this was created."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def lap_seconds(self) -> float:
        """The time since the last call."""
        before, self._at = self._at, time.monotonic()
        return self._at - before


@dataclass(frozen=True)
class Terms:
    """The conditions of a transfer: workers, rates, progress, cancellation, owner of records, and reports.

    ``workers`` is the maximum number of requests at the same time; None lets the store find the number.
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
    """The result of a plan.

    ``unsettled`` has the paths of files that changed during their upload. ``dropped_files`` counts local files that
    were removed in an upload, because their objects are gone from the store.
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
