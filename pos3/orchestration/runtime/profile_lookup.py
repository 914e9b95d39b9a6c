"""Finds profiles that are Prefect blocks, by the entry point ``pos3.profiles``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from uuid import UUID, uuid4

from prefect.context import FlowRunContext, TaskRunContext

import pos3
from pos3.orchestration.runtime.run import RunMirror

_in_place_of_run: ContextVar[UUID | None] = ContextVar("pos3_in_place_of_a_flow_run", default=None)


def find_profile(name: str) -> pos3.Profile | None:
    """The profile of the :class:`Pos3Profile` block ``name``; None outside of flow runs and if there is no such block.

    A block is loaded once for each flow run and process, so a change does not affect a run that has loaded it.

    Raises:
        ProfileError: the block exists, but it cannot be loaded or cannot work.
    """
    run_id = _run_id()
    if run_id is None:
        return None
    try:
        return _of_run(run_id, name)
    except LookupError:
        return None


@contextlib.contextmanager
def blocks_as_profiles() -> Iterator[None]:
    """Inside, blocks are found as in a flow run, although there is none."""
    token = _in_place_of_run.set(uuid4())
    try:
        yield
    finally:
        _in_place_of_run.reset(token)


def _run_id() -> UUID | None:
    """The current flow run. A thread without a context belongs to the only open run, as elsewhere in pos3."""
    stand_in = _in_place_of_run.get()
    if stand_in is not None:
        return stand_in
    task = TaskRunContext.get()
    if task is not None and task.task_run.flow_run_id is not None:
        return task.task_run.flow_run_id
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        return context.flow_run.id
    return RunMirror.only_open_run()


@lru_cache(maxsize=256)
def _of_run(run_id: UUID, name: str) -> pos3.Profile:
    """The profile of a block, from a cache for each flow run.

    Raises:
        LookupError: there is no such block. This is not cached.
    """
    from pos3.orchestration.blocks import Pos3Profile, load_block

    return load_block(Pos3Profile, name).to_profile()
