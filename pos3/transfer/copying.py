"""Copies many files in parallel, shows the progress, and writes records of finished copies to the index."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pos3.entries import Record
from pos3.errors import Pos3Error, TransferCancelledError
from pos3.plan import Action, Plan
from pos3.redaction import escaped
from pos3.state import Index
from pos3.transfer.progress import Progress
from pos3.transfer.terms import Outcome, Pair, Terms
from pos3.transfer.workers import run_all

_WRITE_EVERY_RECORDS = 2000
_WRITE_EVERY_SECONDS = 2.0


@contextmanager
def shown(plan: Plan, pair: Pair, terms: Terms) -> Iterator[Progress]:
    verb = "Downloading" if plan.direction == "download" else "Uploading"
    progress = terms.open_progress(f"{verb} {escaped(str(pair.location))}", plan.copy_files, plan.copy_bytes)
    try:
        yield progress
    finally:
        progress.close()


class _Bookkeeper:
    """Writes records to the index in batches, while the transfer goes on."""

    def __init__(self, index: Index):
        self._index = index
        self._records: list[Record] = []
        self._written_at = time.monotonic()

    def add(self, record: Record) -> None:
        self._records.append(record)
        now = time.monotonic()
        if len(self._records) >= _WRITE_EVERY_RECORDS or now - self._written_at > _WRITE_EVERY_SECONDS:
            self.flush()
            self._written_at = now

    def flush(self) -> None:
        self._index.write(self._records)
        self._records.clear()


def copy_all(
    actions: Iterable[Action],
    count: int,
    copy: Callable[[Action], Coroutine[Any, Any, Record | None]],
    pair: Pair,
    index: Index,
    terms: Terms,
    outcome: Outcome,
) -> bool:
    """Copies ``count`` files in parallel. Returns whether all copies succeeded."""
    bookkeeper = _Bookkeeper(index)
    left = count

    def done(_action: Action, record: Record | None) -> None:
        nonlocal left
        left -= 1
        if record is not None:
            bookkeeper.add(record)
            outcome.copied_files += 1
            outcome.copied_bytes += record.size_bytes

    try:
        failed = run_all(actions, copy, done, store=pair.store, workers=terms.workers, cancelled=terms.cancelled)
    finally:
        bookkeeper.flush()
    outcome.failures += [error for _, error in failed]
    if terms.cancelled.is_set() and not outcome.failures:
        outcome.failures.append(TransferCancelledError("the transfer was stopped"))
    if left and not outcome.failures:
        # Files without a result must never count as copied.
        told = f"{left} files were not copied, because a thread died; its traceback is on stderr"
        outcome.failures.append(Pos3Error(told))
    return not outcome.failures
