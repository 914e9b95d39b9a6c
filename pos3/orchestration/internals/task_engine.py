"""Calls pos3 around the function of a task run, before the run completes, around its hooks, and when a try has failed.

It relies on methods of Prefect's task engines, which are not public: ``handle_success(result, transaction)``,
``call_hooks(state)``, ``call_task_fn(transaction)``, which calls the function with the engine's ``parameters``, and
``handle_exception(exc)``, which logs the exception of a try. The engine has no public hook that knows the arguments and
the result of a task run, can still make it fail, and may be awaited. ``handle_success`` can be used as such a hook. It
is called in the run's context when the function has returned, before the state is set. An exception in it counts as one
of the task, and its retries apply. ``tests/orchestration/test_engine.py`` pins them. The arguments of
``Task.apply_async``, which is public and called by ``delay``, are prepared as well.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import is_state_iterable
from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine
from prefect.tasks import Task
from prefect.transactions import BaseTransaction

from pos3.orchestration.internals.tracebacks import end_at_caller

T = TypeVar("T")

_PATCHED = "_pos3_patched"


@dataclass(frozen=True)
class Success:
    """A try of a task run whose function has returned. Its state is not set yet."""

    task_run: TaskRun
    parameters: Mapping[str, Any] = field(repr=False)
    result: Any = field(repr=False)
    transaction: BaseTransaction = field(repr=False)

    @property
    def completes(self) -> bool:
        """Whether the run will be completed. If the function returns states, they decide."""
        result = self.result
        states = [result] if isinstance(result, State) else result if is_state_iterable(result) else []
        return all(state.is_completed() for state in states)

    @property
    def leaves_record(self) -> bool:
        """Whether a record of the result will be committed. With a record, a later run may skip the task."""
        transaction = self.transaction
        if isinstance(self.result, State) and self.result.is_failed():
            return False
        return bool(
            transaction.store and transaction.key and transaction.write_on_commit and not transaction.is_committed()
        )


@dataclass(frozen=True)
class TaskHooks:
    """Hooks of a task run that are about to be called."""

    task: Task[Any, Any]
    task_run: TaskRun
    log: Any = field(repr=False)


AroundHooks = Callable[[TaskHooks], AbstractContextManager[Callable[[], object]]]


@dataclass(frozen=True)
class EngineHooks:
    """The functions that the task engines of this process call.

    ``find_work`` returns a function to call before the state of a try is set, or None. An asynchronous engine calls
    that function in a thread. ``around_hooks`` is a context around the hooks of a task run. It gives a function to call
    when they have returned. ``receive`` returns the arguments with which the function of a task is called, in a thread
    if the engine is asynchronous. ``around_function`` is a context around that call. ``hand_on`` returns the result
    that the run has. ``prepare`` returns the arguments that ``Task.apply_async`` sends to a task worker.
    """

    find_work: Callable[[Success], Callable[[], object] | None]
    around_hooks: AroundHooks
    receive: Callable[[dict[str, Any]], dict[str, Any]]
    around_function: Callable[[], AbstractContextManager[None]]
    hand_on: Callable[[Success], Any]
    prepare: Callable[[Any], Any]


def install(hooks: EngineHooks) -> None:
    """Makes all task engines of this process call these functions. Further calls do nothing."""
    if hasattr(SyncTaskRunEngine.handle_success, _PATCHED):
        return
    _install_for_function(hooks)
    _install_for_success(hooks)
    _install_for_hooks(hooks.around_hooks)
    _install_for_background(hooks)
    _install_for_exceptions()


def _install_for_function(hooks: EngineHooks) -> None:
    engine_class: Any = SyncTaskRunEngine
    async_engine_class: Any = AsyncTaskRunEngine
    original, original_async = engine_class.call_task_fn, async_engine_class.call_task_fn

    @functools.wraps(original)
    def call_task_fn(engine: Any, transaction: Any) -> Any:
        with hooks.around_function():
            if not transaction.is_committed():
                engine.parameters = hooks.receive(engine.parameters or {})
            return original(engine, transaction)

    @functools.wraps(original_async)
    async def acall_task_fn(engine: Any, transaction: Any) -> Any:
        with hooks.around_function():
            if not transaction.is_committed() and engine.parameters:
                engine.parameters = await _in_thread(functools.partial(hooks.receive, engine.parameters))
            return await original_async(engine, transaction)

    engine_class.call_task_fn, async_engine_class.call_task_fn = call_task_fn, acall_task_fn


def _install_for_success(hooks: EngineHooks) -> None:
    engine_class: Any = SyncTaskRunEngine
    async_engine_class: Any = AsyncTaskRunEngine
    original, original_async = engine_class.handle_success, async_engine_class.handle_success

    def handed_on(engine: Any, result: Any, transaction: BaseTransaction) -> Success:
        success = Success(engine.task_run, engine.parameters or {}, result, transaction)
        return replace(success, result=hooks.hand_on(success))

    @functools.wraps(original)
    def handle_success(engine: Any, result: Any, transaction: Any) -> Any:
        success = handed_on(engine, result, transaction)
        work = hooks.find_work(success)
        if work is not None:
            work()
        return original(engine, success.result, transaction=transaction)

    @functools.wraps(original_async)
    async def ahandle_success(engine: Any, result: Any, transaction: Any) -> Any:
        success = handed_on(engine, result, transaction)
        work = hooks.find_work(success)
        if work is not None:
            await _in_thread(work)
        return await original_async(engine, success.result, transaction=transaction)

    setattr(handle_success, _PATCHED, True)
    engine_class.handle_success, async_engine_class.handle_success = handle_success, ahandle_success


def _install_for_background(hooks: EngineHooks) -> None:
    task_class: Any = Task
    original = task_class.apply_async

    @functools.wraps(original)
    def apply_async(task: Any, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        args, kwargs = hooks.prepare((args or (), kwargs or {}))
        return original(task, args, kwargs, *more, **options)

    task_class.apply_async = apply_async


def _install_for_hooks(around_hooks: AroundHooks) -> None:
    engine_class: Any = SyncTaskRunEngine
    async_engine_class: Any = AsyncTaskRunEngine
    original, original_async = engine_class.call_hooks, async_engine_class.call_hooks

    def hooks_of(engine: Any, state: State | None) -> TaskHooks | None:
        task, state = engine.task, state or engine.state
        called = (
            (state.is_failed() and task.on_failure_hooks)
            or (state.is_completed() and task.on_completion_hooks)
            or (state.is_running() and task.on_running_hooks)
        )
        return TaskHooks(task, engine.task_run, engine.logger) if called and engine.task_run is not None else None

    @functools.wraps(original)
    def call_hooks(engine: Any, state: State | None = None) -> None:
        hooks = hooks_of(engine, state)
        if hooks is None:
            original(engine, state)
            return
        with around_hooks(hooks) as finish:
            original(engine, state)
        with _logging_errors(hooks):
            finish()

    @functools.wraps(original_async)
    async def acall_hooks(engine: Any, state: State | None = None) -> None:
        hooks = hooks_of(engine, state)
        if hooks is None:
            await original_async(engine, state)
            return
        with around_hooks(hooks) as finish:
            await original_async(engine, state)
        with _logging_errors(hooks):
            await _in_thread(finish)

    engine_class.call_hooks, async_engine_class.call_hooks = call_hooks, acall_hooks


def _install_for_exceptions() -> None:
    engine_class: Any = SyncTaskRunEngine
    async_engine_class: Any = AsyncTaskRunEngine
    original, original_async = engine_class.handle_exception, async_engine_class.handle_exception

    @functools.wraps(original)
    def handle_exception(engine: Any, exc: Exception) -> None:
        end_at_caller(exc)
        original(engine, exc)

    @functools.wraps(original_async)
    async def ahandle_exception(engine: Any, exc: Exception) -> None:
        end_at_caller(exc)
        await original_async(engine, exc)

    engine_class.handle_exception, async_engine_class.handle_exception = handle_exception, ahandle_exception


@contextlib.contextmanager
def _logging_errors(hooks: TaskHooks) -> Iterator[None]:
    """Logs an error, as Prefect logs the error of a hook, because the state of the run is final by now."""
    try:
        yield
    except Exception:
        hooks.log.exception("pos3: files that hooks of this task run wrote could not be pushed")


async def _in_thread(work: Callable[[], T]) -> T:
    # Many tasks may wait here. Each has its own limiter, so that it takes no thread from the others.
    return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
