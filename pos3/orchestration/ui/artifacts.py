"""Creates artifacts of a run by one API call each, also when Prefect's functions no longer find the run."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from pos3.local import call_within
from pos3.orchestration.ui.current_run import run_here

_MAX_PROGRESS_KEYS = 10
_MAX_KEY_LENGTH = 120
_OTHER_CHARACTERS = re.compile(r"[^a-z0-9]+")


class RunArtifacts:
    """The artifacts of one flow run, one for each key. If a task run is running, they also belong to it.

    Each flow has its own keys, and few of them: Prefect shows the artifacts of a key as versions of one thing.
    """

    def __init__(self, flow_run_id: UUID | None, flow_name: str = ""):
        self._flow_run_id = flow_run_id
        self._flow_name = flow_name
        self._made: dict[str, UUID] = {}
        self._places: dict[str, int] = {}
        self._shown: set[str] = set()
        self._lock = threading.Lock()

    def key_of(self, what: str) -> str:
        """The key of an artifact of this flow: "pos3-transfers-my-flow"."""
        return artifact_key(what, self._flow_name)

    def progress_key(self, title: str) -> str | None:
        """The key for the progress of a transfer, until :meth:`end_progress`; None if many others are shown now.

        A transfer has the key of an earlier one with the same title, or a free key, or that of one that has ended.
        """
        with self._lock:
            if title not in self._places:
                place = len(self._places) + 1
                if place > _MAX_PROGRESS_KEYS:
                    ended = next((each for each in self._places if each not in self._shown), None)
                    if ended is None:
                        return None
                    place = self._places.pop(ended)
                self._places[title] = place
            self._shown.add(title)
            return f"{self.key_of('progress')}-{self._places[title]}"

    def end_progress(self, title: str) -> None:
        with self._lock:
            self._shown.discard(title)

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


def artifact_key(what: str, flow_name: str) -> str:
    """A valid key for an artifact: "pos3-transfers-my-flow" for the flow "My flow"."""
    words = _OTHER_CHARACTERS.sub("-", f"{what} {flow_name}".lower())
    return f"pos3-{words}".strip("-")[:_MAX_KEY_LENGTH].strip("-")


def call_quietly(seconds: float, call: Callable[[], object]) -> None:
    """Calls a function in a thread, in this context, and waits for at most ``seconds``. It never raises."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            call()

    # When the interpreter exits, no thread can be started, and nothing is called.
    call_within(seconds, quietly, "pos3-artifact", instead=lambda: None)
