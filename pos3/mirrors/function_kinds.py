"""Helps to decorate the four kinds of functions: plain functions, coroutines, and generators of both kinds."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import FunctionType
from typing import Any, Protocol


class Body(Protocol):
    """The body of a decorated function. When it is called, the method for its kind is called."""

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    async def await_(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def generate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]: ...

    def agenerate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]: ...


def of_same_kind(function: Callable[..., Any], body: Body) -> FunctionType:
    """A function of the same kind as ``function`` that calls ``body``.

    It uses no globals, so that it still works with the globals of ``function``.
    """
    decorated: Any
    if inspect.iscoroutinefunction(function):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await body.await_(args, kwargs)

        decorated = coroutine
    elif inspect.isasyncgenfunction(function):

        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            items = body.agenerate(args, kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        decorated = async_generator
    elif inspect.isgeneratorfunction(function):

        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from body.generate(args, kwargs))

        decorated = generator
    else:

        def plain(*args: Any, **kwargs: Any) -> Any:
            return body.call(args, kwargs)

        decorated = plain
    return decorated  # type: ignore[no-any-return]
