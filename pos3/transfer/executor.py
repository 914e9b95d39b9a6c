"""Carries out a plan, and records the result."""

from __future__ import annotations

import os
from contextlib import suppress

from pos3.errors import NotPushedError, message_of
from pos3.plan import NEW, Plan
from pos3.redaction import escaped
from pos3.reports import Report
from pos3.state import Index
from pos3.transfer.downloads import download
from pos3.transfer.terms import Markers, Outcome, Pair, Terms, forget
from pos3.transfer.uploads import upload


def growth_bytes(plan: Plan, pair: Pair) -> int:
    """The minimum number of bytes by which the local side grows during a download, before any deletes."""
    replaced = [0]
    for path, reason in plan.copied_paths():
        if reason != NEW:
            with suppress(OSError):
                replaced.append(os.lstat(pair.local_path(path)).st_size)
    # A new file is complete before it replaces the old one, so one old file must fit beside it.
    return plan.copy_bytes - sum(replaced) + max(replaced)


def execute(plan: Plan, pair: Pair, index: Index, terms: Terms, markers: Markers) -> Outcome:
    """Carries out the plan. The results are recorded in the index, and directory objects in ``markers``.

    Returns:
        figures and failures. If one file fails, the others go on, unless they would fail for the same reason.
    """
    outcome = Outcome(kept=list(plan.kept))
    index.write(plan.confirmed, plan.forgotten)
    forget(markers, plan.forgotten)
    if plan.direction == "download" and not plan.is_empty:
        download(plan, pair, index, terms, outcome)
    elif not plan.is_empty:
        upload(plan, pair, index, terms, outcome, markers)
    outcome.failures += map(NotPushedError, plan.unreadable)
    moved = (
        Report(
            downloaded_files=outcome.copied_files,
            downloaded_bytes=outcome.copied_bytes,
            deleted_local=outcome.deleted_files,
        )
        if plan.direction == "download"
        else Report(
            uploaded_files=outcome.copied_files,
            uploaded_bytes=outcome.copied_bytes,
            deleted_local=outcome.dropped_files,
            deleted_remote=outcome.deleted_files,
        )
    )
    outcome.report = moved + Report(
        unchanged=plan.unchanged,
        duration_seconds=terms.laps.lap_seconds(),
        kept=tuple(outcome.kept),
        failures=tuple(escaped(message_of(failure)) for failure in outcome.failures),
    )
    terms.count(outcome.report)
    return outcome
