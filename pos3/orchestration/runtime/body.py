"""The function of a mirrored flow, which the engine calls instead of the user's function."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_thread
from prefect.utilities.visualization import get_task_viz_tracker

import pos3
from pos3.mirrors import of_same_kind
from pos3.orchestration.internals import bound_like, located_like
from pos3.orchestration.runtime.attempt import Attempt
from pos3.orchestration.runtime.flow_function import FlowFunction, Function, flow_function
from pos3.orchestration.runtime.handing_on import received
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import RunMirror


class Body:
    """Runs the user's function in its flow run's mirror, once per attempt.

    When the function has returned, submitted tasks are waited for and everything is pushed, still inside the attempt.
    So a failed push fails the attempt, and the flow's retries apply. If the function is not called by the engine, it
    gets a mirror for the call, or the mirror of the flow run around it if the options are the same. While
    ``flow.visualize()`` runs it, it has no mirror.
    """

    def __init__(self, given: FlowFunction):
        self.function = given.function
        self.options = given.options

    def _begin(self) -> Attempt | None:
        attempt = Attempt.of_this_call()
        if attempt is not None:
            attempt.begin(self.options)
        return attempt

    def _function_outside_engine(self) -> Function:
        if get_task_viz_tracker() is not None:
            return self.function
        run = RunMirror.current()
        outer = run.options if run is not None else None
        chosen = self.options.resolve() if outer is None else self.options.applied_to(outer)
        return self.function if chosen is outer else pos3.mirror.of(chosen)(self.function)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attempt = self._begin()
        if attempt is None:
            return self._function_outside_engine()(*args, **kwargs)
        with attempt.recording_errors():
            attempt.recover()
            with attempt.active():
                args, kwargs = received((args, kwargs))
                result = self.function(*args, **kwargs)
            attempt.wait()
            attempt.finish(result)
        return result

    async def await_(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attempt = self._begin()
        if attempt is None:
            return await self._function_outside_engine()(*args, **kwargs)
        with attempt.recording_errors():
            await to_thread.run_sync(attempt.recover)
            with attempt.active():
                args, kwargs = await to_thread.run_sync(received, (args, kwargs))
                result = await self.function(*args, **kwargs)
            await _finish_off_the_loop(attempt, result)
        return result

    def generate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]:
        attempt = self._begin()
        if attempt is None:
            return (yield from self._function_outside_engine()(*args, **kwargs))
        with attempt.recording_errors():
            attempt.recover()
            with attempt.active():
                args, kwargs = received((args, kwargs))
            result = yield from _step_through(attempt, self.function(*args, **kwargs))
            attempt.wait()
            attempt.finish(result)
        return result

    async def agenerate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]:
        attempt = self._begin()
        if attempt is None:
            async for item in self._function_outside_engine()(*args, **kwargs):
                yield item
            return
        with attempt.recording_errors():
            await to_thread.run_sync(attempt.recover)
            with attempt.active():
                args, kwargs = await to_thread.run_sync(received, (args, kwargs))
            async with _closing(attempt, self.function(*args, **kwargs)) as items:
                while True:
                    with attempt.active():
                        try:
                            item = await anext(items)
                        except StopAsyncIteration:
                            break
                    yield item
            await _finish_off_the_loop(attempt, None)


async def _finish_off_the_loop(attempt: Attempt, result: object) -> None:
    if attempt.has_pending:
        await to_thread.run_sync(attempt.wait, abandon_on_cancel=True)
    # A timeout does not interrupt the push. It takes effect right after it.
    with anyio.CancelScope(shield=True):
        try:
            await to_thread.run_sync(attempt.finish, result)
        except anyio.get_cancelled_exc_class() as error:
            # The run is being cancelled, and without this the thread would continue.
            attempt.end(error)
            raise


def _step_through(attempt: Attempt, items: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Like ``yield from items``, but the mirror is not active in the consumer's code between two items."""
    step: Callable[[], Any] = functools.partial(next, items)
    while True:
        try:
            with attempt.active():
                item = step()
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield item
        except GeneratorExit:
            with attempt.active():
                items.close()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown into the user's generator
            step = functools.partial(items.throw, error)
        else:
            step = functools.partial(items.send, sent)


@asynccontextmanager
async def _closing(attempt: Attempt, items: AsyncGenerator[Any, None]) -> AsyncIterator[AsyncGenerator[Any, None]]:
    try:
        yield items
    finally:
        with attempt.active():
            await items.aclose()


def wrap_function(function: Function, options: OptionLayers) -> Function:
    """A function that runs ``function`` in a :class:`Body`, with the same kind, signature, globals and code location.

    Prefect resolves string annotations by ``__globals__``, and finds the file of a flow by its code.
    """
    given = FlowFunction(flow_function(function).function, options)
    made = located_like(of_same_kind(given.function, Body(given)), given.function)
    functools.update_wrapper(made, given.function)
    bound_like(made, function)
    # Functions written in C have no annotations.
    made.__annotations__ = getattr(given.function, "__annotations__", {})
    given.attach_to(made)
    return made
