"""Tests whether a task run was called by another task run.

It relies on the key ``__parents__``, under which Prefect stores the calling task run in the inputs of a task run.
``tests/orchestration/test_internals.py`` pins this.
"""

from __future__ import annotations

from prefect.context import TaskRunContext


def is_called_by_task() -> bool:
    """Whether the task run of this context was called by another one; False outside of task runs."""
    context = TaskRunContext.get()
    return context is not None and "__parents__" in context.task_run.task_inputs
