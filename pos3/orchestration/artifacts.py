"""Artifacts of a run, made by one call of the API each; also where Prefect's own functions find no run any more."""

from __future__ import annotations

import contextlib
import contextvars
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import TaskRunContext


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of one flow run, and of the task run where one is running."""

    flow_run_id: UUID

    def create(self, kind: str, key: str, description: str, data: Any) -> UUID:
        """Makes an artifact; whatever goes wrong is raised."""
        task = TaskRunContext.get()
        wanted = ArtifactCreate(
            type=kind,
            key=key,
            description=description,
            data=data,
            flow_run_id=self.flow_run_id,
            task_run_id=task.task_run.id if task is not None else None,
        )
        with get_client(sync_client=True) as client:
            return client.create_artifact(wanted).id

    def update(self, artifact: UUID, description: str, data: Any) -> None:
        """Changes an artifact; whatever goes wrong is raised."""
        with get_client(sync_client=True) as client:
            client.update_artifact(artifact, ArtifactUpdate(description=description, data=data))


def artifact_key(title: str) -> str:
    """Of what may stand in a key: "pos3-uploading-bucket-run-1" for "Uploading s3://bucket/run_1"."""
    words = re.sub(r"[a-z0-9+.-]+://", "", title.lower())
    return f"pos3-{re.sub('[^a-z0-9]+', '-', words)}".strip("-")[:120]


def attempt(seconds: float, call: Callable[[], object]) -> None:
    """Calls in this context, in a thread; returns after so many seconds at the latest, and never fails."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            call()

    inherited = contextvars.copy_context()
    thread = threading.Thread(target=inherited.run, args=(quietly,), name="pos3-artifact", daemon=True)
    thread.start()
    thread.join(seconds)
