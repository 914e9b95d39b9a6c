"""Creates artifacts of a run by one API call each, also when Prefect's functions no longer find the run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from pos3.local import call_within
from pos3.orchestration.ui.current_run import run_here

_SCHEME = re.compile(r"(?<![a-z0-9+.-])[a-z0-9+.-]++://")
_OTHER_CHARACTERS = re.compile(r"[^a-z0-9]+")


class RunArtifacts:
    """The artifacts of one flow run, one for each key. If a task run is running, they also belong to it."""

    def __init__(self, flow_run_id: UUID | None):
        self._flow_run_id = flow_run_id
        self._made: dict[str, UUID] = {}

    def put(self, kind: str, key: str, description: str, data: Any) -> None:
        """Creates or updates the artifact. All errors are raised."""
        if key in self._made:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._made[key], ArtifactUpdate(description=description, data=data))
            return
        run = run_here()
        wanted = ArtifactCreate(
            type=kind,
            key=key,
            description=description,
            data=data,
            flow_run_id=self._flow_run_id,
            task_run_id=run.task_run_id if run is not None else None,
        )
        with get_client(sync_client=True) as client:
            self._made[key] = client.create_artifact(wanted).id


def artifact_key(title: str) -> str:
    """A valid key for an artifact: "pos3-uploading-bucket-run-1" for "Uploading s3://bucket/run_1"."""
    words = _SCHEME.sub("", title.lower())
    return f"pos3-{_OTHER_CHARACTERS.sub('-', words)}".strip("-")[:120]


def call_quietly(seconds: float, call: Callable[[], object]) -> None:
    """Calls a function in a thread, in this context, and waits for at most ``seconds``. It never raises."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            call()

    # When the interpreter exits, no thread can be started, and nothing is called.
    call_within(seconds, quietly, "pos3-artifact", instead=lambda: None)
