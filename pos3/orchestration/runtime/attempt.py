"""One attempt of a flow run, as the engine sees it: a task runner that it enters, and leaves when the state is set.

It relies on Prefect's flow engines, which enter ``flow.task_runner.duplicate()`` once per attempt, make it the
``task_runner`` of the FlowRunContext, and leave it after the attempt's state is set and the retry delay is over. That
is the only place that always learns whether another attempt follows. ``tests/orchestration/test_internals.py`` pins
this.
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
from pos3.orchestration.runtime.mirror_lookup import Joined, mirror_to_join
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import IncompleteRunError, RunMirror
from pos3.orchestration.storing import Handled, scope

Runner = TaskRunner[Any]
_ATTEMPT = "_pos3_attempt"
_STOPS = (ExternalSignal, KeyboardInterrupt, SystemExit, asyncio.CancelledError)
"""The exceptions that say that the run is being stopped from outside."""


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignores further SIGTERMs: a runner may send several for one cancellation, and the time to close is bounded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        # None stands for a handler that was not set from Python.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


class Attempt(AbstractContextManager[Runner]):
    """Enters the real task runner, and closes the flow run's mirror when the last attempt is over.

    An attempt of a subflow joins its parent's mirror and closes nothing, unless the subflow's own options differ.
    """

    def __init__(self, runner: Runner):
        self._runner = runner
        self._pending: set[PrefectFuture[Any]] = set()
        self._run: RunMirror | None = None
        self._has_begun = False
        self._owns_mirror = False
        self._outer: Joined | None = None
        self._flow_run: FlowRun | None = None

    def __enter__(self) -> Runner:
        # Called in the context of the flow or task that calls this flow.
        self._outer = mirror_to_join()
        entered = self._runner.__enter__()
        self._watch(entered)
        setattr(entered, _ATTEMPT, self)
        return entered

    def _watch(self, runner: Runner) -> None:
        submit = runner.submit

        def submit_and_remember(*args: Any, **kwargs: Any) -> PrefectFuture[Any]:
            future: PrefectFuture[Any] = submit(*args, **kwargs)
            self._pending.add(future)
            future.add_done_callback(self._pending.discard)
            return future

        runner.submit = submit_and_remember  # type: ignore[method-assign]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, _STOPS):
            # This comes first: a task may run on for longer than the one who stops the process waits.
            self.end(error)
        try:
            self._runner.__exit__(kind, error, traceback)
        finally:
            self.end(error)

    def end(self, error: BaseException | None) -> None:
        """Closes the mirror, unless it is the parent's, or no error passes and another attempt follows."""
        if self._run is None or not self._owns_mirror or (error is None and self._run.goes_on):
            return
        with _undisturbed() if isinstance(error, _STOPS) else contextlib.nullcontext():
            self._run.close(error)

    @staticmethod
    def of_this_call() -> Attempt | None:
        """The attempt that the engine has just entered, if it is the engine that calls; each is given out once."""
        context = FlowRunContext.get()
        attempt: Attempt | None = getattr(context.task_runner, _ATTEMPT, None) if context is not None else None
        if attempt is None or attempt._has_begun:
            return None
        attempt._has_begun = True
        return attempt

    def begin(self, options: OptionLayers) -> None:
        """Opens the flow run's mirror, or joins the one that is open for it or for its parent.

        A subflow whose options differ from those of its parent's mirror has a mirror of its own. What its options leave
        open is as in its parent's.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("an attempt begins inside its flow run")
        parent = RunMirror.of_this_context()
        if parent is None and self._outer is not None:
            parent = RunMirror.of_run(self._outer.address.flow_run_id)
        outer = parent or self._outer
        if outer is None:
            self._run = RunMirror.of(context.flow_run, options.resolve)
            self._owns_mirror = True
        elif (chosen := options.over(outer.options)) is not outer.options:
            self._run = RunMirror.of(context.flow_run, lambda: chosen)
            self._owns_mirror = True
        else:
            self._run = parent
        joined = self._run or outer
        assert joined is not None
        joined.address.write_to(context.flow_run)
        self._flow_run = context.flow_run
        if self._run is not None:
            self._run.commits.expect(self._pending)

    def recover(self) -> None:
        """Pushes what an earlier attempt left here whose process was killed."""
        if self._run is not None and self._owns_mirror:
            self._run.recover()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes the mirror that of the context."""
        with contextlib.ExitStack() as stack:
            if self._run is not None and self._owns_mirror:
                stack.enter_context(self._run.active())
            elif self._flow_run is not None:
                stack.enter_context(scope(self._flow_run.id))
                # A subflow's context has its parent's already, or one that the user opened around the call.
                if RunMirror.of_this_context() is None and self._outer is not None:
                    stack.enter_context(pos3.activate(self._outer.mirror))
            yield

    @contextlib.contextmanager
    def noting_errors(self) -> Iterator[None]:
        """Remembers how the body ended, for the end of the run."""
        try:
            yield
        except BaseException as error:
            if self._run is not None and self._owns_mirror:
                self._run.error = error
            raise

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    def wait(self) -> None:
        """Returns when no submitted task runs any more; Prefect would cancel those that nobody waits for."""
        while pending := list(self._pending):
            for future in pending:
                # Whether it failed is for the flow's result to say.
                with contextlib.suppress(Exception):
                    future.wait()
                self._pending.discard(future)

    def finish(self, result: object) -> None:
        """Pushes everything, unless ``result`` makes the run anything but completed.

        A subflow that has joined its parent's mirror leaves that to its parent. Only if its result is persisted, so
        that it may never run again, what it has to do with is pushed now, without deletes.

        Raises:
            TransferError: some of it failed, and so the attempt did.
        """
        if self._run is not None and self._owns_mirror:
            if is_completed(result):
                self._run.finish()
            else:
                self._run.error = IncompleteRunError("the flow returned a state that is not completed")
        elif should_persist_result() and is_completed(result):
            context = FlowRunContext.get()
            parameters = context.parameters if context is not None else None
            self._secure(Handled((parameters, resolve_futures_to_states(result))))

    def _secure(self, handled: Handled) -> None:
        if self._run is not None and self._flow_run is not None:
            self._run.commits.secure_run(self._flow_run.id, handled)
        elif self._outer is not None:
            cast(Any, self._outer.mirror).secure(handled)


def is_completed(result: object) -> bool:
    """Whether a flow that returns ``result`` is completed, by Prefect's rule: all returned states must be."""
    outcome: Any = resolve_futures_to_states(result)
    states = outcome if is_state_iterable(outcome) else [outcome]
    return all(state.is_completed() for state in states if isinstance(state, State))


class _Duplicate:
    """Stands for a task runner's ``duplicate``: gives an attempt instead of a bare copy. Can be pickled."""

    def __init__(self, runner: Runner):
        self._runner = runner

    def __call__(self) -> Attempt:
        return Attempt(self._runner.duplicate())


def scoped(runner: Runner) -> Runner:
    """A task runner of the same type and configuration whose duplicates are attempts; ``runner`` is not changed."""
    if isinstance(vars(runner).get("duplicate"), _Duplicate):
        return runner
    made = copy.copy(runner)
    made.duplicate = _Duplicate(runner)  # type: ignore[method-assign, assignment]
    return made
