"""Finds the task runs of a context, and calls functions at the end of a try of a task run.

It relies on the transaction that Prefect's task engines open for each try of a task run. Its private ``_token`` is None
after its end, and its logger has the id of the task run. The engine calls its ``reset`` at the end of the try, while
the exception of the try, if there is one, is being handled. ``tests/orchestration/test_engine.py`` pins this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

from prefect.transactions import BaseTransaction, get_transaction


def transactions_here() -> list[BaseTransaction]:
    """The open transactions of this context, the innermost first."""
    chain: list[BaseTransaction] = []
    transaction = get_transaction()
    # A transaction without a token has ended, and this thread is running longer than its task.
    while transaction is not None and transaction._token is not None:
        chain.append(transaction)
        transaction = transaction.get_parent()
    return chain


def task_run_of(transaction: BaseTransaction) -> str | None:
    """The id of the task run in the logger of a transaction, or None."""
    found: str | None = (getattr(transaction.logger, "extra", None) or {}).get("task_run_id")
    return found


def task_runs_here() -> set[str]:
    """The ids of the task run of this context and of the task runs that have called it."""
    return {found for transaction in transactions_here() if (found := task_run_of(transaction)) is not None}


def on_end(transaction: BaseTransaction, end: Callable[[BaseException | None], object]) -> None:
    """Calls ``end`` at the end of the try of this transaction, with the exception of the try or None."""
    # With an asynchronous transaction, the engine awaits the result.
    reset = cast(Any, transaction).reset

    def end_and_reset() -> Any:
        try:
            end(sys.exception())
        finally:
            awaited = reset()
        return awaited

    # A plain assignment fails, because a pydantic model accepts only its fields.
    object.__setattr__(transaction, "reset", end_and_reset)
