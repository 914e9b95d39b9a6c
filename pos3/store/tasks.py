"""Runs asyncio tasks for transfers. Failures are raised as single exceptions, and no task is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of coroutines that run at the same time, in their order. If one fails, the others are cancelled.

    Raises:
        Exception: the exception of the coroutine that failed first. It is no exception group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def ended(future: asyncio.Future[Any]) -> bool:
    """Waits until a future has ended in any way, even if the waiting task is cancelled meanwhile.

    Returns:
        whether the task was cancelled.
    """
    is_cancelled = False
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            is_cancelled = True
    return is_cancelled
