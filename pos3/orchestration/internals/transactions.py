"""Which task runs a place in the code belongs to, and when a try of a task run is over, however it ended.

It relies on the transaction that Prefect's task engines open for each try of a task run: its private ``_token`` is None
when it is over, its logger carries the id of the task run, and the engine calls its ``reset`` at the end of the try,
while the exception of the try, if there is one, passes. ``tests/orchestration/test_engine.py`` pins this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

from prefect.transactions import BaseTransaction, get_transaction


def transactions_here() -> list[BaseTransaction]:
    """The transactions that are under way in this context, the innermost first."""
    chain: list[BaseTransaction] = []
    transaction = get_transaction()
    # A transaction without a token is over: this thread has outlived its task.
    while transaction is not None and transaction._token is not None:
        chain.append(transaction)
        transaction = transaction.get_parent()
    return chain


def task_run_of(transaction: BaseTransaction) -> str | None:
    """The id of the task run that a transaction logs for."""
    found: str | None = (getattr(transaction.logger, "extra", None) or {}).get("task_run_id")
    return found


def task_runs_here() -> set[str]:
    """The ids of the task run that runs in this context, and of the task runs that have called it."""
    return {found for transaction in transactions_here() if (found := task_run_of(transaction)) is not None}


def when_over(transaction: BaseTransaction, end: Callable[[BaseException | None], object]) -> None:
    """Calls ``end`` with the exception that passes, if one does, when the try of this transaction is over."""
    # The asynchronous kind of transaction awaits what this returns.
    reset = cast(Any, transaction).reset

    def end_and_reset() -> Any:
        try:
            end(sys.exception())
        finally:
            awaited = reset()
        return awaited

    # A plain assignment fails, because a model of pydantic accepts only its fields.
    object.__setattr__(transaction, "reset", end_and_reset)
