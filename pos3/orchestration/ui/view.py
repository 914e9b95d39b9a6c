"""What Prefect's UI shows of a flow run's mirror: log lines, artifacts, lineage. None of it fails or holds up a run."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pos3
from pos3.orchestration.ui import transfers_table
from pos3.orchestration.ui.artifacts import RunArtifacts, attempt
from pos3.orchestration.ui.lineage import emit_lineage, note_reference
from pos3.orchestration.ui.logs import run_log_handler
from pos3.orchestration.ui.progress import ArtifactProgress, Log, SeveralProgresses, run_log_progress, say

_TABLE_SECONDS = 5.0
_TABLE_SECONDS_WHEN_STOPPED = 1.0


class RunView:
    """Follows one mirror, from before it opens (it is the mirror's observer) until after it is closed.

    ``POS3_ARTIFACTS=0`` leaves artifacts and lineage out.

    Args:
        note_push: is told the URL of what is registered for upload, in the thread of the caller.
    """

    def __init__(self, flow_run_id: UUID | None, log: Log, note_push: Callable[[str], None] = lambda url: None):
        self._log = log
        self._note_push = note_push
        self._artifacts = RunArtifacts(flow_run_id)
        self._makes_artifacts = os.environ.get("POS3_ARTIFACTS", "").lower() not in ("0", "false", "no", "off")
        self._pushed: set[str] = set()
        self._transfers = 0
        self._is_attached = False

    def progress(self, *, log_lines: bool) -> pos3.OpenProgress:
        """How transfers show: never as a bar, which would tear up a worker's log."""
        ways: list[pos3.OpenProgress] = []
        if self._makes_artifacts:
            ways.append(functools.partial(ArtifactProgress, self._artifacts))
        if log_lines:
            ways.append(run_log_progress(self._log))
        return functools.partial(SeveralProgresses, ways)

    def new_mirror(self, options: pos3.MirrorOptions, *, label: str = "", group: str = "") -> pos3.Mirror:
        """A mirror that is not open yet, and shows here what it does. All of a flow run have one ``group``."""
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
            self._note_push(url)
        if kind != "upload" and self._makes_artifacts:
            note_reference(url)

    def transferred(self, kind: str, url: str, report: pos3.Report) -> None:
        """A line for each download, and for the first push of a registration; later ones are for whoever debugs.

        A failure is told by whoever it happens to.
        """
        self._transfers += 1
        if replace(report, failures=()).is_empty:
            return
        level = logging.INFO
        if report.uploaded_files or report.deleted_remote:
            level = logging.DEBUG if url in self._pushed else logging.INFO
            self._pushed.add(url)
        say(self._log, level, "pos3 %s %s: %s", kind, url, report)

    def completed(self, mirror: pos3.Mirror) -> None:
        """All that the run has written is pushed."""
        if self._makes_artifacts:
            with contextlib.suppress(Exception):
                emit_lineage(mirror.registrations())

    def closed(self, mirror: pos3.Mirror, *, is_urgent: bool) -> None:
        """The end of the run, however it ended.

        Args:
            is_urgent: the process is being stopped.
        """
        total = mirror.report()
        if self._transfers > 1 and not total.is_empty:
            say(self._log, logging.INFO, "pos3 in this run: %s", total)
        with contextlib.suppress(Exception):
            registrations = mirror.registrations()
            if self._makes_artifacts and transfers_table.is_worth_a_table(registrations):
                make = functools.partial(transfers_table.create_table, self._artifacts, registrations, total)
                attempt(_TABLE_SECONDS_WHEN_STOPPED if is_urgent else _TABLE_SECONDS, make)
        if self._is_attached:
            self._is_attached = False
            run_log_handler.detach()
