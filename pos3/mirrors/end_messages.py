"""What a mirror says at its end: what it has pushed and deleted, and how to push what is left."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pos3.jobs import Registered
from pos3.reports import Report

_MOST_PLACES = 5


def pushed_and_deleted(registrations: Iterable[Registered]) -> str:
    """In one line, what was pushed and deleted at each place; "" if nothing was."""
    told = [f"{item.url}: {changes.figures}" for item in registrations if (changes := _changes(item.report)).figures]
    more = f"; and {len(told) - _MOST_PLACES} more places" if len(told) > _MOST_PLACES else ""
    return "; ".join(told[:_MOST_PLACES]) + more


def _changes(report: Report) -> Report:
    return Report(
        uploaded_files=report.uploaded_files,
        uploaded_bytes=report.uploaded_bytes,
        deleted_local=report.deleted_local,
        deleted_remote=report.deleted_remote,
    )


def how_to_push_the_rest(cache_root: str, default_cache_root: str, *, is_noted: bool) -> str:
    """A sentence for the error of a final push.

    Args:
        is_noted: whether the journal holds what is left, so that ``pos3 recover`` can push it.
    """
    options = "" if cache_root == default_cache_root else f" --cache-root {shlex.quote(cache_root)}"
    recover = f"'pos3 recover{options}' or " if is_noted else ""
    return f"To push what is left, run {recover}the same program again"
