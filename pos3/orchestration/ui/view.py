"""Shows a flow run's mirror in Prefect's UI: log lines, artifacts, lineage. It never makes a run fail."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pos3
from pos3.orchestration.ui import transfers_table
from pos3.orchestration.ui.artifacts import RunArtifacts, call_quietly
from pos3.orchestration.ui.current_run import RunHere, log_here, log_of, run_here
from pos3.orchestration.ui.lineage import Lineage, add_reference, metadata_of
from pos3.orchestration.ui.log_lines import Log, log_safely
from pos3.orchestration.ui.logs import run_log_handler
from pos3.orchestration.ui.progress import ArtifactProgress, CombinedProgress, run_log_progress

_TABLE_SECONDS = 5.0
_TABLE_SECONDS_WHEN_STOPPED = 1.0


class RunView:
    """Observes one mirror, from before it opens until after it is closed.

    With ``POS3_ARTIFACTS=0``, there are no artifacts and no lineage.

    Args:
        on_upload: is called with the URL of each registration for upload, in the thread that registers it.
        arguments_here: returns the paths and URLs among the arguments of the run of the context.
        flow_name: the name of the flow, which is part of the keys of artifacts.
    """

    def __init__(
        self,
        flow_run_id: UUID | None,
        log: Log,
        on_upload: Callable[[str], None] = lambda url: None,
        arguments_here: Callable[[], Iterable[str]] = tuple,
        flow_name: str = "",
    ):
        self._log = log
        self._on_upload = on_upload
        self._artifacts = RunArtifacts(flow_run_id, flow_name)
        self._makes_artifacts = os.environ.get("POS3_ARTIFACTS", "").lower() not in ("0", "false", "no", "off")
        self._pushed: set[str] = set()
        self._registered_by: dict[str, RunHere] = {}
        self._lineage = Lineage(arguments_here)
        self._transfers = 0
        self._is_attached = False

    def progress(self, *, log_lines: bool) -> pos3.OpenProgress:
        """The progress displays of transfers. There is no bar, because it would break up a worker's log."""
        openers: list[pos3.OpenProgress] = []
        if self._makes_artifacts:
            openers.append(functools.partial(ArtifactProgress, self._artifacts))
        if log_lines:
            openers.append(run_log_progress(self._log))
        return functools.partial(CombinedProgress, openers)

    def new_mirror(self, options: pos3.MirrorOptions, *, label: str = "", group: str = "") -> pos3.Mirror:
        """A new mirror, not open yet, which this view observes. All mirrors of a flow run have the same ``group``."""
        return pos3.Mirror(
            options,
            progress=self.progress(log_lines=options.show_progress),
            background_progress=self.progress(log_lines=False),
            observer=self,
            label=label,
            group=group,
        )

    def opened(self) -> None:
        run_log_handler.attach()
        self._is_attached = True

    def registered(self, kind: str, url: str) -> None:
        if kind != "download":
            self._on_upload(url)
            run = run_here()
            if run is not None and run.task_run_id is not None:
                self._registered_by[url] = run
        if self._makes_artifacts:
            self._lineage.registered(kind, url)
            if kind == "download":
                add_reference(url)

    def transferred(self, kind: str, url: str, report: pos3.Report) -> None:
        """Logs a line for each download and for the first push of a registration. Later pushes are logged as DEBUG.

        The line is in the log of the run that has begun the transfer, or has registered what is pushed. The code that
        gets a failure reports it.
        """
        self._transfers += 1
        if replace(report, failures=()).is_empty:
            return
        level = logging.INFO
        if report.uploaded_files or report.deleted_remote:
            level = logging.DEBUG if url in self._pushed else logging.INFO
            self._pushed.add(url)
        if report.uploaded_files:
            self._lineage.pushed(url)
        run = self._registered_by.get(url) if report.uploaded_files else None
        log_safely(log_of(run) or log_here() or self._log, level, "pos3 %s %s: %s", kind, url, report)

    def materialized(self, mirror: pos3.Mirror, assets: Collection[str]) -> dict[str, dict[str, Any]]:
        """Leaves the materialization of these assets, which are pushed, to Prefect, and returns their metadata."""
        self._lineage.announced(assets)
        return {item.url: metadata_of(item) for item in mirror.registrations() if item.url in assets}

    def completed(self, mirror: pos3.Mirror) -> None:
        """Emits the lineage. By now, everything that the run has written is pushed."""
        if self._makes_artifacts:
            with contextlib.suppress(Exception):
                self._lineage.emit(mirror.registrations())

    def closed(self, mirror: pos3.Mirror, *, is_urgent: bool) -> None:
        """Shows the total and the table at the end of the run, whether it succeeded or not.

        Args:
            is_urgent: whether the process is being stopped, so that little time is left.
        """
        total = mirror.report()
        if self._transfers > 1 and not total.is_empty:
            log_safely(self._log, logging.INFO, "pos3 in this run: %s", total)
        with contextlib.suppress(Exception):
            registrations = mirror.registrations()
            if self._makes_artifacts and transfers_table.is_worth_a_table(registrations):
                make = functools.partial(transfers_table.create_table, self._artifacts, registrations, total)
                call_quietly(_TABLE_SECONDS_WHEN_STOPPED if is_urgent else _TABLE_SECONDS, make)
        if self._is_attached:
            self._is_attached = False
            run_log_handler.detach()
