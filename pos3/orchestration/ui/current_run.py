"""Which run the code of this context works for: a task run or a flow run, also that of a call from another process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.loggers import flow_run_logger, task_run_logger

from pos3.orchestration.ui.log_lines import Log


@dataclass(frozen=True)
class RunHere:
    """The ids of a run, as another process may send them.

    Args:
        arguments: the paths and URLs among the arguments of the task run or the subflow run.
    """

    flow_run_id: UUID | None
    task_run_id: UUID | None = None
    task_run_name: str = ""
    arguments: tuple[str, ...] = field(default=(), repr=False)


_caller: ContextVar[RunHere | None] = ContextVar("pos3_calling_run", default=None)


@contextlib.contextmanager
def working_for(run: RunHere | None) -> Iterator[None]:
    """Inside, the code works for this run of another process."""
    token = _caller.set(run)
    try:
        yield
    finally:
        _caller.reset(token)


def run_here() -> RunHere | None:
    """The run that the code of this context works for, or None."""
    caller = _caller.get()
    if caller is not None:
        return caller
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None:
        return RunHere(task.task_run.flow_run_id, task.task_run.id, task.task_run.name)
    if flow is not None and flow.flow_run is not None:
        return RunHere(flow.flow_run.id)
    return None


def log_here() -> Log | None:
    """The logger of the run of this context, whose lines carry the ids of that run; None outside of runs."""
    return log_of(run_here())


def log_of(run: RunHere | None) -> Log | None:
    """The logger of a run; None without one, and for another flow run than that of this context."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if run is not None and run.task_run_id is not None:
        if task is not None and task.task_run.id == run.task_run_id:
            return task_run_logger(task.task_run, task.task)
        sent = TaskRun.model_construct(id=run.task_run_id, name=run.task_run_name, flow_run_id=run.flow_run_id)
        return task_run_logger(sent)
    if run is not None and flow is not None and flow.flow_run is not None and flow.flow_run.id == run.flow_run_id:
        return flow_run_logger(flow.flow_run, flow.flow)
    return None
