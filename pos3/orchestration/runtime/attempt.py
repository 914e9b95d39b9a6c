"""One attempt of a flow run. For the engine, it is a task runner, which is entered before and left after the attempt.

It relies on Prefect's flow engines, which enter ``flow.task_runner.duplicate()`` once per attempt, make it the
``task_runner`` of the FlowRunContext, and leave it after the attempt's state is set and the retry delay is over. Only
there it is always known whether another attempt follows. ``tests/orchestration/test_internals.py`` pins this.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, cast

from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import ExternalSignal
from prefect.futures import PrefectFuture, resolve_futures_to_states
from prefect.results import should_persist_result
from prefect.states import is_state_iterable
from prefect.task_runners import TaskRunner

import pos3
from pos3.orchestration.internals import end_at_caller
from pos3.orchestration.runtime.handing_on import explaining_foreign_paths, may_leave, submit_prepared
from pos3.orchestration.runtime.mirror_lookup import JoinedMirror, mirror_to_join
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import IncompleteRunError, RunMirror
from pos3.orchestration.storing import TaskData, registration_scope

Runner = TaskRunner[Any]
_ATTEMPT = "_pos3_attempt"
_STOP_EXCEPTIONS = (ExternalSignal, KeyboardInterrupt, SystemExit, asyncio.CancelledError)
"""The exceptions with which a run is cancelled or its process terminated."""


@contextlib.contextmanager
def _ignoring_sigterm() -> Iterator[None]:
    """Ignores further SIGTERMs. A runner may send several for one cancellation, and closing has a timeout anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        # None means a handler that was not set from Python.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


class Attempt(AbstractContextManager[Runner]):
    """Enters the real task runner, and closes the flow run's mirror when the last attempt has ended.

    An attempt of a subflow joins its parent's mirror and closes nothing, unless the subflow has other options.
    """

    def __init__(self, runner: Runner):
        self._runner = runner
        self._pending: set[PrefectFuture[Any]] = set()
        self._run: RunMirror | None = None
        self._has_begun = False
        self._owns_mirror = False
        self._outer: JoinedMirror | None = None
        self._read_through_store: RunMirror | pos3.MirrorLike | None = None
        self._flow_run: FlowRun | None = None

    def __enter__(self) -> Runner:
        # The engine calls this in the context of the flow or task that calls this flow.
        self._outer = mirror_to_join()
        entered = self._runner.__enter__()
        self._watch(entered)
        setattr(entered, _ATTEMPT, self)
        return entered

    def _watch(self, runner: Runner) -> None:
        submit = submit_prepared(runner.submit, may_leave(runner))

        def submit_and_remember(*args: Any, **kwargs: Any) -> PrefectFuture[Any]:
            future: PrefectFuture[Any] = submit(*args, **kwargs)
            self._pending.add(future)
            future.add_done_callback(self._pending.discard)
            return future

        runner.submit = submit_and_remember  # type: ignore[method-assign]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, _STOP_EXCEPTIONS):
            # The mirror is closed first, because a task may run longer than the grace period of the process.
            self.end(error)
        try:
            self._runner.__exit__(kind, error, traceback)
        finally:
            self.end(error)

    def end(self, error: BaseException | None) -> None:
        """Closes the mirror, unless it is the parent's, or there is no error and another attempt follows."""
        if self._run is None or not self._owns_mirror or (error is None and self._run.has_next_attempt):
            return
        with _ignoring_sigterm() if isinstance(error, _STOP_EXCEPTIONS) else contextlib.nullcontext():
            self._run.close(error)

    @staticmethod
    def of_this_call() -> Attempt | None:
        """The attempt that the engine has just entered, returned once; None if the caller is not the engine."""
        context = FlowRunContext.get()
        attempt: Attempt | None = getattr(context.task_runner, _ATTEMPT, None) if context is not None else None
        if attempt is None or attempt._has_begun:
            return None
        attempt._has_begun = True
        return attempt

    def begin(self, options: OptionLayers) -> None:
        """Opens the flow run's mirror, or joins an open one of an earlier attempt or of the parent.

        A subflow whose options differ from those of its parent's mirror has a mirror of its own. The options that it
        does not give are those of its parent's mirror.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("an attempt begins inside its flow run")
        parent = RunMirror.current()
        if parent is None and self._outer is not None:
            parent = RunMirror.find(self._outer.address.flow_run_id)
        outer = parent or self._outer
        if outer is None:
            self._run = RunMirror.get_or_open(context.flow_run, options.resolve)
            self._owns_mirror = True
        elif (chosen := options.applied_to(outer.options)) is not outer.options:
            self._run = RunMirror.get_or_open(context.flow_run, lambda: chosen)
            self._owns_mirror = True
            if chosen.real_cache_root != outer.options.real_cache_root:
                self._read_through_store = outer if isinstance(outer, RunMirror) else outer.mirror
        else:
            self._run = parent
        joined = self._run or outer
        assert joined is not None
        joined.address.write_to(context.flow_run)
        self._flow_run = context.flow_run
        if self._run is not None:
            self._run.pre_commit_pushes.expect(self._pending)

    def recover(self) -> None:
        """Pushes what an attempt in a killed process has left on this machine.

        A subflow with another cache than its parent reads what that has written from the store, so its parent's mirror
        pushes before, without deletes.

        Raises:
            TransferError: some files of the parent's mirror could not be pushed.
        """
        if self._read_through_store is not None:
            cast(Any, self._read_through_store).ensure_stored(TaskData())
        if self._run is not None and self._owns_mirror:
            self._run.recover()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes the mirror the active one of the context."""
        with contextlib.ExitStack() as stack:
            if self._run is not None and self._owns_mirror:
                stack.enter_context(self._run.active())
            elif self._flow_run is not None:
                stack.enter_context(registration_scope(self._flow_run.id))
                # The context of a subflow already has the mirror of its parent, or one that the user has opened.
                if RunMirror.current() is None and self._outer is not None:
                    stack.enter_context(pos3.activate(self._outer.mirror))
            yield

    @contextlib.contextmanager
    def recording_errors(self) -> Iterator[None]:
        """Remembers the error of the body, for the end of the run. In the log, pos3's errors end at the user's line."""
        try:
            with explaining_foreign_paths():
                yield
        except BaseException as error:
            end_at_caller(error)
            if self._run is not None and self._owns_mirror:
                self._run.error = error
            raise

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    def wait(self) -> None:
        """Returns when all submitted tasks have ended. Prefect would cancel tasks that are not waited for."""
        while pending := list(self._pending):
            for future in pending:
                # The result of the flow decides whether a failed task matters.
                with contextlib.suppress(Exception):
                    future.wait()
                self._pending.discard(future)

    def finish(self, result: object) -> None:
        """Pushes everything, if a run with this result is completed.

        A subflow that has joined its parent's mirror leaves the push to its parent. If its result is persisted, it may
        never run again, so the uploads that it uses are pushed now, without deletes.

        Raises:
            TransferError: some files failed, so the attempt fails.
        """
        if self._run is not None and self._owns_mirror:
            if is_completed(result):
                self._run.finish()
            else:
                self._run.error = IncompleteRunError("the flow returned a state that is not completed")
        elif should_persist_result() and is_completed(result):
            context = FlowRunContext.get()
            parameters = context.parameters if context is not None else None
            self._secure(TaskData((parameters, resolve_futures_to_states(result))))

    def _secure(self, task_data: TaskData) -> None:
        if self._run is not None and self._flow_run is not None:
            self._run.pre_commit_pushes.ensure_stored_for_run(self._flow_run.id, task_data)
        elif self._outer is not None:
            cast(Any, self._outer.mirror).ensure_stored(task_data)


def is_completed(result: object) -> bool:
    """Whether a flow that returns ``result`` is completed. By Prefect's rule, all returned states must be completed."""
    outcome: Any = resolve_futures_to_states(result)
    states = outcome if is_state_iterable(outcome) else [outcome]
    return all(state.is_completed() for state in states if isinstance(state, State))


class _Duplicate:
    """Replaces a task runner's ``duplicate``. It returns an attempt, and can be pickled."""

    def __init__(self, runner: Runner):
        self._runner = runner

    def __call__(self) -> Attempt:
        return Attempt(self._runner.duplicate())


def with_attempts(runner: Runner) -> Runner:
    """A copy of the task runner whose duplicates are attempts. ``runner`` is not changed."""
    if isinstance(vars(runner).get("duplicate"), _Duplicate):
        return runner
    made = copy.copy(runner)
    made.duplicate = _Duplicate(runner)  # type: ignore[method-assign, assignment]
    return made
