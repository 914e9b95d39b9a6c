"""Carries out a plan, and remembers it."""

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
    """How much more the local side holds while a download is under way, at the least; deletes come after it."""
    replaced = [0]
    for action in plan.every_copy():
        if action.reason != NEW:
            with suppress(OSError):
                replaced.append(os.lstat(pair.local_path(action.path)).st_size)
    # A file is whole before it takes the place of its predecessor.
    return plan.copy_bytes - sum(replaced) + max(replaced)


def execute(plan: Plan, pair: Pair, index: Index, terms: Terms, markers: Markers) -> Outcome:
    """Does what the plan says, and remembers it: in the index, and in ``markers`` what no index holds.

    Returns:
        figures and failures; a failure of one file does not stop the others, unless they would fail as well.
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
