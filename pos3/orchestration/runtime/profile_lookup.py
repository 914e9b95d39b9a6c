"""Finds profiles that are Prefect blocks: see ``pos3.profiles``."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext

import pos3
from pos3.orchestration.runtime.run import RunMirror


def find_profile(name: str) -> pos3.Profile | None:
    """The :class:`Pos3Profile` block called ``name``, if there is one and this place belongs to a flow run.

    A block is loaded once for each flow run and process, so that a run goes on with what it began with.

    Raises:
        ProfileError: there is such a block, but it cannot be loaded or cannot work.
    """
    run_id = _run_id()
    if run_id is None:
        return None
    try:
        return _of_run(run_id, name)
    except LookupError:
        return None


def _run_id() -> UUID | None:
    """The flow run of this place. A thread without a context belongs to the only run that is open, as in pos3."""
    task = TaskRunContext.get()
    if task is not None and task.task_run.flow_run_id is not None:
        return task.task_run.flow_run_id
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        return context.flow_run.id
    return RunMirror.only_open_run()


@lru_cache(maxsize=256)
def _of_run(run_id: UUID, name: str) -> pos3.Profile:
    """
    Raises:
        LookupError: there is no such block, which is not remembered.
    """
    from pos3.orchestration.blocks import Pos3Profile, load_block

    return load_block(Pos3Profile, name).to_profile()
