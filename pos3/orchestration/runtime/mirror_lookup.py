"""Finds the mirror for calls of pos3 in flow and task runs that have no active mirror: entry point ``pos3.mirrors``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.flows import Flow
from prefect.logging.loggers import task_run_logger

import pos3
from pos3.orchestration.remote import (
    BrokeredMirror,
    MirrorAddress,
    MirrorGoneError,
    MirrorProxy,
    NoMirror,
    TaskMirror,
    mirror_of_task_run,
)
from pos3.orchestration.runtime.flow_function import has_mirror, mirror_options_of
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import RunMirror
from pos3.orchestration.ui import RunView, log_safely

ResolveOptions = Callable[[], pos3.MirrorOptions]


@dataclass(frozen=True)
class JoinedMirror:
    """The mirror of the calling flow run, which may be in another process, and its address."""

    mirror: pos3.MirrorLike
    address: MirrorAddress

    @functools.cached_property
    def options(self) -> pos3.MirrorOptions:
        options: pos3.MirrorOptions = cast(Any, self.mirror).options
        return options


def find_mirror() -> pos3.MirrorLike | None:
    """The mirror of the current flow run or task run; None outside of both.

    In the flow's process, it is the flow run's mirror. In another process, it is the same mirror through its broker.
    When that is gone, and in a task without a flow, it is a mirror of the task run itself.

    Raises:
        NoMirrorError: the flow is not a ``pos3_flow``, or it has ended and there is no task run.
    """
    flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
    task_run = task_context.task_run if task_context is not None else None
    if flow_context is not None and flow_context.flow_run is not None:
        return _of_flow_run(flow_context.flow_run, flow_context.flow, task_run)
    return _of_task_run(task_run, NoMirror(), OptionLayers().resolve, "") if task_run is not None else None


def mirror_to_join() -> JoinedMirror | None:
    """The mirror that a subflow called from here joins: that of the current flow run, if it is open."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    address = MirrorAddress.read_from(context.flow_run)
    if RunMirror.mirror_of(address.flow_run_id) is None:
        try:
            BrokeredMirror(address).confirm()
        except MirrorGoneError:
            return None
    mirror = find_mirror()
    return JoinedMirror(mirror, address) if mirror is not None else None


def _of_flow_run(flow_run: FlowRun, flow: Flow[Any, Any] | None, task_run: TaskRun | None) -> pos3.MirrorLike:
    address = MirrorAddress.read_from(flow_run)
    here = RunMirror.mirror_of(address.flow_run_id)
    if here is not None:
        return here
    if flow is None or not has_mirror(flow):
        name = repr(flow.name) if flow is not None else "of this run"
        raise pos3.NoMirrorError(
            f"the flow {name} has no mirror here; make the flow with @pos3_flow, then all its tasks find its mirror. "
            "Tasks in other processes do not find a mirror that is opened with 'with pos3.mirror():'"
        )
    flow_mirror = BrokeredMirror(address)
    mirror = None
    if task_run is not None:
        group = str(address.flow_run_id)
        mirror = _of_task_run(task_run, flow_mirror, lambda: mirror_options_of(flow), group)
    return mirror or _confirmed(flow_mirror)


def _of_task_run(task_run: TaskRun, flow_mirror: MirrorProxy, options: ResolveOptions, group: str) -> TaskMirror | None:
    def make(callers: MirrorProxy | None) -> TaskMirror:
        return TaskMirror(callers or flow_mirror, functools.partial(_open_own, task_run, options, group))

    return mirror_of_task_run(task_run.id, make)


def _open_own(task_run: TaskRun, options: ResolveOptions, group: str, reason: MirrorGoneError) -> pos3.Mirror:
    # get_run_logger() would fail in the threads of the mirror.
    log = task_run_logger(task_run)
    opened = RunView(task_run.flow_run_id, log).new_mirror(options(), group=group).open()
    level = logging.INFO if task_run.flow_run_id is not None else logging.DEBUG
    log_safely(log, level, "pos3: this task opens its own mirror, because %s", reason)
    return opened


def _confirmed(flow_mirror: BrokeredMirror) -> BrokeredMirror:
    """The mirror, if it is open. Functions in a process pool that a task has started also get it."""
    flow_mirror.confirm()
    return flow_mirror
