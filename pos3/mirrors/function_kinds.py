"""Decorating the four kinds of functions: plain ones, coroutines, and generators of both kinds."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import FunctionType
from typing import Any, Protocol


class Body(Protocol):
    """What a decorated function does when it is called; the method that fits its kind is called."""

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    async def await_(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def generate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]: ...

    def agenerate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]: ...


def of_same_kind(function: Callable[..., Any], body: Body) -> FunctionType:
    """A function of the kind of ``function`` that does what ``body`` does.

    It uses no globals, so that it still works with those of ``function``.
    """
    made: Any
    if inspect.iscoroutinefunction(function):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await body.await_(args, kwargs)

        made = coroutine
    elif inspect.isasyncgenfunction(function):

        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            items = body.agenerate(args, kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        made = async_generator
    elif inspect.isgeneratorfunction(function):

        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from body.generate(args, kwargs))

        made = generator
    else:

        def plain(*args: Any, **kwargs: Any) -> Any:
            return body.call(args, kwargs)

        made = plain
    return made  # type: ignore[no-any-return]
