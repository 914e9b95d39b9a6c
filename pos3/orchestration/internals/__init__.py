"""The code that relies on internals of Prefect and CPython, which their documentation does not promise.

Each module relies on one thing, which its docstring describes. ``tests/orchestration/test_internals.py`` and
``test_engine.py`` pin it: if a new version changes it, these tests fail, with a message that says what to do. The
control channel of a worker is in :mod:`pos3.orchestration.worker.control_channel`, because only the worker may load it.
"""

from pos3.orchestration.internals.code_location import located_like
from pos3.orchestration.internals.methods import bound_like, of_same_kind_of_method
from pos3.orchestration.internals.parent_tasks import is_called_by_task
from pos3.orchestration.internals.task_engine import EngineHooks, Success, TaskHooks, install
from pos3.orchestration.internals.tracebacks import end_at_caller
from pos3.orchestration.internals.transactions import on_end, task_run_of, task_runs_here, transactions_here

__all__ = [
    "EngineHooks",
    "Success",
    "TaskHooks",
    "bound_like",
    "end_at_caller",
    "install",
    "is_called_by_task",
    "located_like",
    "of_same_kind_of_method",
    "on_end",
    "task_run_of",
    "task_runs_here",
    "transactions_here",
]
