"""Recovers what a killed process has left on this machine from an earlier attempt of a flow run."""

from __future__ import annotations

import logging
from uuid import UUID

import pos3
from pos3.orchestration.ui import Log, log_safely

_NOT_CHECKED = (
    "pos3: could not look for files that an earlier attempt left here; run 'pos3 recover' on this machine: %s"
)


def label_of(flow_run_id: UUID) -> str:
    """The label in the journals of a flow run's mirrors."""
    return f"prefect flow run {flow_run_id}"


def recover_earlier(flow_run_id: UUID, options: pos3.MirrorOptions, progress: pos3.OpenProgress, log: Log) -> None:
    """Pushes what an earlier attempt has left, without deletes. What fails is logged as a warning, not raised.

    If this run then completes, its own push includes what failed here. Otherwise, ``pos3 recover`` can still push it.
    A mirror that works offline leaves it to that.
    """
    if options.offline is True:
        return
    try:
        found = pos3.recover(
            options.cache_root,
            options.show_progress,
            options.given_workers or pos3.MirrorOptions.max_workers,
            options.default_profile,
            options.max_upload_bytes_per_second,
            label=label_of(flow_run_id),
            # No other user knew the run's id before it began, so the journals are those of the run. Nobody can be
            # asked.
            trust_endpoints=True,
            progress=progress,
        )
    except Exception as error:  # noqa: BLE001 - see above
        log_safely(log, logging.WARNING, _NOT_CHECKED, error)
        return
    for item in found:
        if item.error is not None:
            log_safely(
                log,
                logging.WARNING,
                "pos3: files that a killed attempt left in %s could not be pushed to %s: %s",
                item.local,
                item.url,
                item.error,
            )
        elif item.outcome == "pushed":
            log_safely(
                log, logging.INFO, "pos3 pushed files that a killed attempt left for %s: %s", item.url, item.report
            )
            for kept in item.report.kept:
                log_safely(
                    log, logging.WARNING, "pos3 did not push %s in %s: %s", kept.path or ".", item.local, kept.reason
                )
