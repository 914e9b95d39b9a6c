"""What an earlier attempt of a flow run left on this machine when its process was killed."""

from __future__ import annotations

import logging
from uuid import UUID

import pos3
from pos3.orchestration.ui import Log, say


def label_of(flow_run_id: UUID) -> str:
    """What the journals of a flow run's mirrors are called."""
    return f"prefect flow run {flow_run_id}"


def recover_earlier(flow_run_id: UUID, options: pos3.MirrorOptions, progress: pos3.OpenProgress, log: Log) -> None:
    """Pushes it, without deletes, and says so in the run's log. What fails is a warning: it does not stop the run.

    If this run then completes, its own push covers what failed here; else ``pos3 recover`` can still push it.
    """
    try:
        found = pos3.recover(
            options.cache_root,
            options.show_progress,
            options.max_workers,
            options.default_profile,
            options.max_upload_bytes_per_second,
            label=label_of(flow_run_id),
            # Nobody else knows the run's id before it has begun, and there is nobody to ask.
            trust_endpoints=True,
            progress=progress,
        )
    except Exception as error:  # noqa: BLE001 - see above
        say(log, logging.WARNING, "pos3: an earlier attempt may have left something here to push: %s", error)
        return
    for item in found:
        if item.error is not None:
            say(
                log,
                logging.WARNING,
                "pos3: what a killed attempt left in %s could not be pushed to %s: %s",
                item.local,
                item.url,
                item.error,
            )
        elif item.outcome == "pushed":
            say(log, logging.INFO, "pos3 pushed what a killed attempt left for %s: %s", item.url, item.report)
            for kept in item.report.kept:
                say(log, logging.WARNING, "pos3 did not push %s in %s: %s", kept.path or ".", item.local, kept.reason)
