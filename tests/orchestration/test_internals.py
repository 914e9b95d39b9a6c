"""What pos3 uses of Prefect and CPython that nobody promises. A version that changes it fails here first.

Each message says which module relies on it, and what to do. ``test_engine.py`` does the same for the task engine.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, get_args
from uuid import uuid4

import anyio
import anyio.abc
import pytest
from prefect import flow, task
from prefect.context import AssetContext, FlowRunContext, TaskRunContext
from prefect.flows import Flow
from prefect.runner import _control_channel
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.workers import process
from prefect.workers.base import BaseWorker

from pos3.orchestration.flow import HOOKS
from pos3.orchestration.internals import is_called_by_task, located_like, on_end, transactions_here
from pos3.orchestration.worker.control_channel import EngineChannel
from pos3.orchestration.worker.draining import DrainingWorker


@pytest.fixture(autouse=True)
def without_a_flow() -> Iterator[None]:
    with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
        yield


class WatchedRunner(ThreadPoolTaskRunner):
    """Notes each duplicate that is entered, and the state of the flow run when it is left."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen
        self.flow_run: Any = None

    def duplicate(self) -> WatchedRunner:
        return WatchedRunner(self.seen)

    def __enter__(self) -> Any:
        self.seen.append("entered")
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.seen.append(f"left when {self.flow_run.state.type.value}")
        super().__exit__(*error)

    def note_attempt(self) -> None:
        """Called by the function of the flow: from now on, the engine's object of the flow run is watched."""
        context = FlowRunContext.get()
        assert context is not None
        assert isinstance(context.task_runner, WatchedRunner)
        context.task_runner.flow_run = context.flow_run
        if self.seen.count("entered") == 1:
            raise RuntimeError("once more")


ATTEMPTS_DIFFER = """Prefect's flow engine treats the task runner of a flow in another way than
pos3/orchestration/runtime/attempt.py expects. Look in prefect/flow_engine.py for a place that is entered once for each
attempt and left when its state is set, and hang Attempt there; else mirrors stay open, or close before a retry."""


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_engine_enters_a_duplicate_of_the_task_runner_for_each_attempt_and_leaves_it_when_the_state_is_set(
    is_async: bool,
) -> None:
    seen: list[str] = []
    runner = WatchedRunner(seen)

    @flow(task_runner=runner, retries=1)
    def learn() -> None:
        runner.note_attempt()

    @flow(task_runner=runner, retries=1)
    async def alearn() -> None:
        runner.note_attempt()

    asyncio.run(alearn()) if is_async else learn()
    assert seen == ["entered", "left when RUNNING", "entered", "left when COMPLETED"], ATTEMPTS_DIFFER


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_transaction_of_a_try_is_reset_when_the_try_is_over(is_async: bool, fails: bool) -> None:
    ended: list[BaseException | None] = []
    mine = ValueError("mine")

    def work() -> None:
        on_end(transactions_here()[0], ended.append)
        if fails:
            raise mine

    @task
    def plain() -> None:
        work()

    @task
    async def coroutine() -> None:
        work()

    async def run() -> None:
        await coroutine(return_state=True)  # type: ignore[call-overload]

    asyncio.run(run()) if is_async else plain(return_state=True)
    assert ended == [mine if fails else None], (
        "Prefect's task engine ends the transaction of a try in another way than pos3/orchestration/internals/"
        "transactions.py expects. Find what it calls last for each try, and wrap that in on_end(); else mirrors of "
        "tasks in other processes stay open."
    )


def test_a_task_run_knows_whether_a_task_has_called_it() -> None:
    seen: list[bool] = []

    @task
    def inner() -> None:
        seen.append(is_called_by_task())

    @task
    def outer() -> None:
        seen.append(is_called_by_task())
        inner()

    outer()
    assert seen == [False, True], (
        "Prefect keeps the parent of a task run elsewhere than pos3/orchestration/internals/parent_tasks.py expects. "
        "See how prefect/task_engine.py fills task_inputs, and read that; else a task that is called by a task in "
        "another process may complete before what it has registered is stored."
    )


def made_at_another_place() -> list[tuple[str, Any]]:
    """A function of each kind, as pos3.orchestration.runtime.body makes them."""
    given: Any = []

    def plain(*args: Any, **kwargs: Any) -> Any:
        return [each for each in given if (args, kwargs) != each] or [(args, kwargs), given, given, given, given, given]

    async def coroutine(*args: Any) -> Any:
        async with anyio.create_task_group():
            return await given(*args)

    def generator(*args: Any) -> Any:
        return (yield from given(*args))

    async def async_generator(*args: Any) -> Any:
        async for item in given(*args):
            yield item

    return [(made.__name__, made) for made in (plain, coroutine, generator, async_generator)]


@pytest.mark.parametrize(("kind", "made"), made_at_another_place())
def test_all_code_of_a_wrapped_function_is_at_the_first_line_of_the_users_function(kind: str, made: Any) -> None:
    def users() -> None: ...

    moved = located_like(made, users)
    code = users.__code__
    what_to_do = (
        "CPython reads tables of locations in another way than pos3/orchestration/internals/code_location.py writes "
        "them. Read the page on locations in its sources (InternalDocs/code_objects.md), and write _on_first_line() "
        "anew; else tracebacks of flows show wrong lines, and nothing else is wrong."
    )
    assert {line for _, _, line in moved.__code__.co_lines()} <= {code.co_firstlineno, None}, what_to_do
    assert [line for line, *_ in moved.__code__.co_positions()] == [code.co_firstlineno] * (
        len(moved.__code__.co_code) // 2
    ), what_to_do
    assert (moved.__code__.co_filename, moved.__name__) == (__file__, "users")
    assert inspect.getsourcefile(moved) == __file__
    for is_kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert is_kind(moved) == is_kind(made), kind


def test_a_flow_keeps_its_hooks_in_lists_that_later_hooks_are_appended_to() -> None:
    @flow
    def learn() -> None: ...

    def hook(flow: Any, flow_run: Any, state: Any) -> None: ...

    for name in HOOKS:
        hooks = getattr(learn, name)
        add: Callable[[Any], Any] = getattr(learn, name.removesuffix("_hooks"))
        add(hook)
        assert getattr(learn, name) is hooks, "prefect.Flow no longer appends hooks: see pos3/orchestration/flow.py"
        assert hooks == [hook], "prefect.Flow no longer appends hooks: see Hooks in pos3/orchestration/runtime/hooks.py"
    assert {name for name in vars(Flow(lambda: None)) if name.endswith("_hooks")} == set(HOOKS), (
        "Prefect has other kinds of hooks than HOOKS in pos3/orchestration/flow.py: name them there, and in FlowOptions"
    )


CHANNEL_DIFFERS = """Prefect's control channel is not where pos3/orchestration/worker/control_channel.py looks for it.
Flow runs of a stopped worker are still put back, but are Crashed for a moment, and their on_crashed hooks are called.
See how `prefect flow-run execute` (prefect/cli/flow_run.py) tells an engine "reschedule", and do the same there."""


async def test_the_worker_gets_the_control_channel_of_a_run_and_can_say_reschedule() -> None:
    channel = EngineChannel()
    with channel.opened():
        async with process.FlowRunExecutorContext() as context:
            assert channel._context is context, CHANNEL_DIFFERS
            answer = await context.control_channel.signal(uuid4(), "reschedule")
            assert answer is _control_channel.ControlSignalStatus.NOT_ACKNOWLEDGED, CHANNEL_DIFFERS
            assert not await channel.announce_rescheduling(uuid4())
    assert _control_channel.ControlSignalStatus.ACKNOWLEDGED.value == "acknowledged", CHANNEL_DIFFERS
    assert "reschedule" in get_args(_control_channel.Intent), CHANNEL_DIFFERS


async def test_a_worker_has_what_draining_looks_at() -> None:
    why = "see pos3/orchestration/worker/draining.py, which drains Prefect's process worker: "
    worker = process.ProcessWorker(work_pool_name="pool")
    assert worker._submitting_flow_run_ids == set(), (
        f"{why}find how a worker knows which runs it submits, and wait for those in drain(); else a run that is being "
        "submitted while the worker is stopped may be lost to it"
    )
    assert {"_runs_task_group", "_limiter"} <= set(vars(worker)), (
        f"{why}find where a worker runs and counts its flow runs; else those of a killed worker are not taken over"
    )
    statuses: list[Any] = []

    async def start(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        statuses.append(task_status)
        assert not task_status._future.done()  # type: ignore[attr-defined]
        task_status.started(1)

    async with anyio.create_task_group() as group:
        await group.start(start)
    assert statuses[0]._future.done(), f"{why}give _PidRecorder what prefect/workers/base.py looks at now"
    assert BaseWorker.get_worker_class_from_type("process") is process.ProcessWorker, (
        f"{why}{DrainingWorker.__name__} must not become the class of all process workers; keep it out of the registry"
    )


def test_a_task_knows_the_assets_that_it_depends_on() -> None:
    what_to_do = "see add_reference() in pos3/orchestration/ui/lineage.py; else downloads are missing in the lineage"
    assert {"direct_asset_dependencies", "downstream_assets"} <= set(AssetContext.model_fields), what_to_do
    assert callable(AssetContext.update_tracked_assets), what_to_do
    assert callable(AssetContext.add_asset_metadata), what_to_do
    assert "materialization_metadata" in AssetContext.model_fields, what_to_do
    assert isinstance(TaskRunContext.__var__, ContextVar), what_to_do


METHODS_DIFFER = """Prefect keeps the object of a flow that is a method elsewhere than
pos3/orchestration/internals/methods.py expects. Look at Flow.__get__, and copy what it sets; else
P().learn.with_options(...)() is called without its object."""


def test_a_flow_that_is_a_method_has_its_object_in_its_function_and_its_kind_in_itself() -> None:
    class Trainer:
        @flow
        def learn(self) -> None: ...

        @flow
        @classmethod
        def learn_as_class(cls) -> None: ...

        @flow
        @staticmethod
        def learn_alone() -> None: ...

    trainer = Trainer()
    assert trainer.learn.fn.__prefect_self__ is trainer, METHODS_DIFFER  # type: ignore[attr-defined]
    assert Trainer.learn_as_class.fn.__prefect_cls__ is Trainer, METHODS_DIFFER  # type: ignore[attr-defined]
    assert vars(Trainer.learn_as_class)["_isclassmethod"] is True, METHODS_DIFFER
    assert vars(Trainer.learn_alone)["_isstaticmethod"] is True, METHODS_DIFFER
