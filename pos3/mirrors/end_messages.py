"""The messages of a mirror at its end: what it has pushed and deleted, and how to push what is left."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pos3.jobs import Registered
from pos3.reports import Report

_MAX_PLACES = 5


def summary_of_changes(registrations: Iterable[Registered]) -> str:
    """One line that says what was pushed and deleted at each URL, or "" if nothing was."""
    texts = [f"{item.url}: {changes.figures}" for item in registrations if (changes := _changes(item.report)).figures]
    more = f"; and {len(texts) - _MAX_PLACES} more places" if len(texts) > _MAX_PLACES else ""
    return "; ".join(texts[:_MAX_PLACES]) + more


def _changes(report: Report) -> Report:
    return Report(
        uploaded_files=report.uploaded_files,
        uploaded_bytes=report.uploaded_bytes,
        deleted_local=report.deleted_local,
        deleted_remote=report.deleted_remote,
    )


def how_to_push_the_rest(cache_root: str, default_cache_root: str, *, is_in_journal: bool) -> str:
    """A sentence for the error of a final push.

    Args:
        is_in_journal: whether the journal has the registrations that are left, so that ``pos3 recover`` can push them.
    """
    options = "" if cache_root == default_cache_root else f" --cache-root {shlex.quote(cache_root)}"
    recover = f"'pos3 recover{options}' or " if is_in_journal else ""
    return f"To push what is left, run {recover}the same program again"
