"""Artifacts of a run, made by one call of the API each; also where Prefect's own functions find no run any more."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import TaskRunContext

from pos3.local import call_within

_SCHEME = re.compile(r"(?<![a-z0-9+.-])[a-z0-9+.-]++://")
_OTHERS = re.compile(r"[^a-z0-9]+")


class RunArtifacts:
    """The artifacts of one flow run, one for each key, and of the task run where one is running."""

    def __init__(self, flow_run_id: UUID | None):
        self._flow_run_id = flow_run_id
        self._made: dict[str, UUID] = {}

    def put(self, kind: str, key: str, description: str, data: Any) -> None:
        """Makes the artifact, or changes it; whatever goes wrong is raised."""
        if key in self._made:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._made[key], ArtifactUpdate(description=description, data=data))
            return
        task = TaskRunContext.get()
        wanted = ArtifactCreate(
            type=kind,
            key=key,
            description=description,
            data=data,
            flow_run_id=self._flow_run_id,
            task_run_id=task.task_run.id if task is not None else None,
        )
        with get_client(sync_client=True) as client:
            self._made[key] = client.create_artifact(wanted).id


def artifact_key(title: str) -> str:
    """Of what may stand in a key: "pos3-uploading-bucket-run-1" for "Uploading s3://bucket/run_1"."""
    words = _SCHEME.sub("", title.lower())
    return f"pos3-{_OTHERS.sub('-', words)}".strip("-")[:120]


def attempt(seconds: float, call: Callable[[], object]) -> None:
    """Calls in this context, in a thread; returns after so many seconds at the latest, and never fails."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            call()

    # At the interpreter's exit, no thread can be started.
    call_within(seconds, quietly, "pos3-artifact", instead=lambda: None)
