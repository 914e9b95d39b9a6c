"""What pos3 relies on inside of Prefect and of CPython, and what their documentation does not promise.

Each module relies on one thing, and its docstring says on what. ``tests/orchestration/test_internals.py`` and
``test_engine.py`` pin it, so a new version that changes it fails there first, with a message that says what to do. The
control channel of a worker is the one exception that stands elsewhere, in
:mod:`pos3.orchestration.worker.control_channel`, because only the worker may load it.
"""

from pos3.orchestration.internals.code_location import located_like
from pos3.orchestration.internals.parent_tasks import is_called_by_task
from pos3.orchestration.internals.task_engine import Success, TaskHooks, install
from pos3.orchestration.internals.transactions import task_run_of, task_runs_here, transactions_here, when_over

__all__ = [
    "Success",
    "TaskHooks",
    "install",
    "is_called_by_task",
    "located_like",
    "task_run_of",
    "task_runs_here",
    "transactions_here",
    "when_over",
]
