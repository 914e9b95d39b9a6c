"""The mirror of a task that runs where its flow's context is not: see ``pos3.current``."""

from __future__ import annotations

from prefect.context import FlowRunContext

import pos3
from pos3.orchestration.run import RunMirror


def find_mirror() -> pos3.MirrorLike | None:
    """The mirror of the flow run that this place belongs to, if it is open in this process."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    return RunMirror.mirror_of(context.flow_run.id)
