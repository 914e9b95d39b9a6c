"""What of Prefect's task engine ``pos3.orchestration.internals`` uses. A Prefect that changes it fails here first."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Task, task
from prefect.cache_policies import INPUTS
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings
from prefect.states import Completed, Failed
from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine, run_task_async, run_task_sync
from prefect.transactions import AsyncTransaction, Transaction, get_transaction

from pos3.orchestration.internals import Success, task_runs_here, transactions_here


@pytest.fixture(autouse=True)
def without_a_flow() -> Iterator[None]:
    with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
        yield


def test_the_engine_has_the_methods_that_are_wrapped() -> None:
    for engine in (SyncTaskRunEngine, AsyncTaskRunEngine):
        really = inspect.unwrap(engine.handle_success)
        assert list(inspect.signature(really).parameters) == ["self", "result", "transaction"]
        assert list(inspect.signature(inspect.unwrap(engine.call_hooks)).parameters) == ["self", "state"]
        assert list(inspect.signature(inspect.unwrap(engine.handle_exception)).parameters) == ["self", "exc"]
        assert list(inspect.signature(inspect.unwrap(engine.call_task_fn)).parameters) == ["self", "transaction"]
    for name in ("handle_success", "call_task_fn"):
        assert inspect.iscoroutinefunction(inspect.unwrap(getattr(AsyncTaskRunEngine, name)))
    assert list(inspect.signature(inspect.unwrap(Task.apply_async)).parameters)[:3] == ["self", "args", "kwargs"]
    for transaction in (Transaction, AsyncTransaction):
        assert callable(transaction.reset)
        assert {"store", "key", "write_on_commit", "logger"} <= set(transaction.model_fields)


def seen_by(engine: Any, monkeypatch: Any) -> list[tuple[bool, bool]]:
    """Whether each try leaves a record, and completes, as it is known before the state is set."""
    seen: list[tuple[bool, bool]] = []
    really = engine.handle_success

    def note(self: Any, result: Any, transaction: Any) -> Any:
        success = Success(self.task_run, self.parameters, result, transaction)
        seen.append((success.leaves_record, success.completes))
        assert not self.state.is_final()
        return really(self, result, transaction)

    monkeypatch.setattr(engine, "handle_success", note)
    return seen


async def test_a_record_is_left_exactly_where_the_engine_commits_one(monkeypatch: Any) -> None:
    states = {"failed": Failed(message="mine"), "completed": Completed(message="mine")}

    def returns(value: str) -> Any:
        return states.get(value, value)

    async def areturns(value: str) -> Any:
        return states.get(value, value)

    for function, engine, run in (
        (returns, SyncTaskRunEngine, run_task_sync),
        (areturns, AsyncTaskRunEngine, run_task_async),
    ):
        seen = seen_by(engine, monkeypatch)

        async def leaves(value: Any, run: Any = run, function: Any = function, seen: Any = seen, **options: Any) -> Any:
            state = run(task(**options)(function), parameters={"value": value}, return_type="state")
            await state if inspect.isawaitable(state) else None
            return seen[-1]

        assert await leaves(f"first {engine}", persist_result=True, cache_policy=INPUTS) == (True, True)
        assert await leaves(f"first {engine}", persist_result=True, cache_policy=INPUTS) == (False, True)
        assert await leaves("second", persist_result=False) == (False, True)
        assert await leaves("failed", persist_result=True) == (False, False)
        assert await leaves("completed", persist_result=True) == (True, True)


def test_transactions_tell_whose_they_are() -> None:
    found: list[set[str]] = []

    @task
    def inner() -> str:
        found.append(task_runs_here())
        return str(get_transaction())

    @task
    def outer() -> None:
        inner()
        found.append(task_runs_here())

    outer()
    assert len(found[0]) == 2
    assert found[1] < found[0]
    assert transactions_here() == []
