"""The function of a mirrored flow: what the engine calls in place of the user's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from types import FunctionType
from typing import Any

import anyio
from anyio import to_thread
from prefect.utilities.visualization import get_task_viz_tracker

import pos3
from pos3.orchestration.runtime.attempt import Attempt
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import RunMirror

Function = Callable[..., Any]
_BODY = "_pos3_body"


class Body:
    """Runs the user's function in its flow run's mirror, once per attempt.

    After a function that ended well, submitted tasks are waited for and everything is pushed, still inside the attempt:
    a failed push fails it, and the flow's own retries apply. Called by anything but the engine, the function gets a
    mirror of its own for the call, that of a flow run around it if the options are the same, and none while
    ``flow.visualize()`` runs it.
    """

    def __init__(self, function: Function, options: OptionLayers):
        self.function = function
        self.options = options

    def _begin(self) -> Attempt | None:
        attempt = Attempt.of_this_call()
        if attempt is not None:
            attempt.begin(self.options)
        return attempt

    def _outside(self) -> Function:
        if get_task_viz_tracker() is not None:
            return self.function
        run = RunMirror.of_this_context()
        outer = run.options if run is not None else None
        chosen = self.options.resolve() if outer is None else self.options.over(outer)
        return self.function if chosen is outer else pos3.mirror.of(chosen)(self.function)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attempt = self._begin()
        if attempt is None:
            return self._outside()(*args, **kwargs)
        with attempt.noting_errors():
            attempt.recover()
            with attempt.active():
                result = self.function(*args, **kwargs)
            attempt.wait()
            attempt.finish(result)
        return result

    async def await_(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attempt = self._begin()
        if attempt is None:
            return await self._outside()(*args, **kwargs)
        with attempt.noting_errors():
            await to_thread.run_sync(attempt.recover)
            with attempt.active():
                result = await self.function(*args, **kwargs)
            await _finish_off_the_loop(attempt, result)
        return result

    def generate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]:
        attempt = self._begin()
        if attempt is None:
            return (yield from self._outside()(*args, **kwargs))
        with attempt.noting_errors():
            attempt.recover()
            result = yield from _in_steps(attempt, self.function(*args, **kwargs))
            attempt.wait()
            attempt.finish(result)
        return result

    async def agenerate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]:
        attempt = self._begin()
        if attempt is None:
            async for item in self._outside()(*args, **kwargs):
                yield item
            return
        with attempt.noting_errors():
            await to_thread.run_sync(attempt.recover)
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
    # A push is not abandoned half-way for a timeout: that takes effect right after it.
    with anyio.CancelScope(shield=True):
        try:
            await to_thread.run_sync(attempt.finish, result)
        except anyio.get_cancelled_exc_class() as error:
            # The run is being stopped from outside, and the thread would go on.
            attempt.end(error)
            raise


def _in_steps(attempt: Attempt, items: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Like ``yield from items``, but the consumer's code between the steps does not see the mirror."""
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


def wrapped(function: Function, options: OptionLayers) -> Function:
    """``function`` as a :class:`Body`, of the same kind, signature, globals and code location.

    Prefect resolves string annotations by ``__globals__``, and finds a flow's file by its code.
    """
    body = Body(unwrapped(function), options)
    made = _like(_trampoline(body), body.function)
    functools.update_wrapper(made, body.function)
    # Functions of C have none to copy.
    made.__annotations__ = getattr(body.function, "__annotations__", {})
    setattr(made, _BODY, body)
    return made


def unwrapped(function: Function) -> Function:
    """The user's function."""
    body = _body(function)
    return body.function if body is not None else function


def layers_of(function: Function) -> OptionLayers:
    """The options that were given for a flow's function; none for one that has no mirror."""
    body = _body(function)
    return body.options if body is not None else OptionLayers()


def _body(function: Function) -> Body | None:
    body = getattr(function, _BODY, None)
    return body if isinstance(body, Body) else None


def _trampoline(body: Body) -> FunctionType:
    """A function of the same kind as the user's. Must not use globals: it is given the user's."""
    kind: Any
    if inspect.iscoroutinefunction(body.function):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await body.await_(args, kwargs)

        kind = coroutine
    elif inspect.isasyncgenfunction(body.function):

        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            items = body.agenerate(args, kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        kind = async_generator
    elif inspect.isgeneratorfunction(body.function):

        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from body.generate(args, kwargs))

        kind = generator
    else:

        def plain(*args: Any, **kwargs: Any) -> Any:
            return body.call(args, kwargs)

        kind = plain
    return kind  # type: ignore[no-any-return]


def _like(trampoline: FunctionType, function: Function) -> FunctionType:
    code = getattr(function, "__code__", None)
    if code is None:
        return trampoline
    moved = trampoline.__code__.replace(
        co_filename=code.co_filename,
        co_firstlineno=code.co_firstlineno,
        co_linetable=_one_line(len(trampoline.__code__.co_code) // 2),
        co_name=code.co_name,
        co_qualname=code.co_qualname,
    )
    return FunctionType(moved, function.__globals__, function.__name__, None, trampoline.__closure__)


def _one_line(code_units: int) -> bytes:
    """A location table that puts all code on the first line, so that a traceback shows the decorator there.

    Its entries, for up to eight code units each, are of kind 13: a line without columns, here of delta 0.
    """
    table = bytearray()
    for begin in range(0, code_units, 8):
        table += bytes([0x80 | 13 << 3 | min(8, code_units - begin) - 1, 0])
    return bytes(table)
