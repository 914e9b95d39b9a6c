"""Runs loops and blocking calls in separate threads of pos3.

So interrupts, a running loop and gevent of the calling thread do not disturb them. If no thread can be started, as at
the exit of the interpreter, the calling thread does the work.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import queue
import selectors
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any, Protocol, TypeVar

from pos3.local import try_start

T = TypeVar("T")

_GLANCE_SECONDS = 0.2
# Time to remove temporary files after a stop.
_GRACE_SECONDS = 2.0


def are_greenlets() -> bool:
    """Whether gevent has replaced threads by greenlets. Greenlets would wait for each other in the middle of a loop."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def native(module: str, name: str) -> Any:
    """A name of the standard library in its original form, even if gevent has replaced it; None if there is none."""
    if are_greenlets():
        with suppress(AttributeError):
            return sys.modules["gevent.monkey"].get_original(module, name)
    return getattr(sys.modules[module], name, None)


def new_selector() -> selectors.BaseSelector:
    """A selector for a loop. Its thread only waits for it."""
    made: selectors.BaseSelector = native("selectors", "DefaultSelector")()
    return made


def started(thread: threading.Thread) -> bool:
    """Starts a thread, if a real thread is possible that runs while the calling one waits.

    Returns whether it was started.
    """
    return not are_greenlets() and try_start(thread)


def called_apart(call: Callable[[], T], stop: Callable[[], object]) -> T:
    """The result of ``call``, which is called in a separate thread with the context of the caller.

    Its exception is raised.

    Args:
        stop: makes the call end soon. It is called if the calling thread is interrupted, which then waits briefly.
    """
    ended: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            ended.put((None, error))

    inherited = contextvars.copy_context()
    thread = threading.Thread(target=inherited.run, args=(run,), name="pos3-store", daemon=True)
    if not started(thread):
        return call()
    try:
        result, error = _taken(ended)
        thread.join()
    except BaseException:
        stop()
        # The result may have been taken already, so this waits for the thread and not for the result.
        thread.join(_GRACE_SECONDS)
        raise
    if error is not None:
        try:
            raise error
        finally:
            # This removes a reference cycle.
            del error
    return result  # type: ignore[return-value]


class Stopping:
    """Ends a coroutine from another thread."""

    def __init__(self) -> None:
        self._running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def may_end(self, main: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that :meth:`stop` can end."""
        task = asyncio.current_task()
        assert task is not None
        self._running.append((asyncio.get_running_loop(), task))
        try:
            return await main
        finally:
            self._running.clear()

    def stop(self) -> None:
        for loop, task in list(self._running):
            # The task and its loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)


Drive = Callable[[Coroutine[Any, Any, Any]], Any]


def streamed_apart(
    items: Callable[[], AsyncGenerator[T, None]], driving: Callable[[], AbstractContextManager[Drive]]
) -> Generator[T, None, None]:
    """The items of an asynchronous generator. The next item is made while the caller uses the last one.

    Args:
        driving: opens a function that runs coroutines in the thread that calls it, and returns their results.
    """
    stopping = Stopping()
    # Each item comes with a function to call when it was taken. The last element is an error, or None.
    found: queue.SimpleQueue[tuple[T, Callable[[], object]] | BaseException | None] = queue.SimpleQueue()

    async def offer() -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(items()) as made:
            async for item in made:
                taken: asyncio.Future[None] = loop.create_future()
                found.put((item, functools.partial(_set_apart, loop, taken)))
                await taken

    def work() -> None:
        try:
            with driving() as drive:
                drive(stopping.may_end(offer()))
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            found.put(error)
        else:
            found.put(None)

    inherited = contextvars.copy_context()
    thread = threading.Thread(target=inherited.run, args=(work,), name="pos3-listing", daemon=True)
    if not started(thread):
        yield from _streamed_here(items, driving)
        return
    try:
        while (item := _taken(found)) is not None:
            if isinstance(item, BaseException):
                raise item
            item[1]()
            yield item[0]
    finally:
        stopping.stop()
        thread.join(_GRACE_SECONDS)


def _streamed_here(
    items: Callable[[], AsyncGenerator[T, None]], driving: Callable[[], AbstractContextManager[Drive]]
) -> Generator[T, None, None]:
    """The same in the calling thread. Items are made when they are needed."""

    async def next_of(made: AsyncGenerator[T, None]) -> list[T]:
        async for item in made:
            return [item]
        return []

    async def close(made: AsyncGenerator[T, None]) -> None:
        await made.aclose()

    with driving() as drive:
        made = items()
        try:
            while item := drive(next_of(made)):
                yield item[0]
        finally:
            drive(close(made))


def _set_apart(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    def take() -> None:
        if not future.done():
            future.set_result(None)

    with suppress(RuntimeError):
        loop.call_soon_threadsafe(take)


def _taken(ended: queue.SimpleQueue[T]) -> T:
    while True:
        # Without a timeout, an exception that another thread sets would not be raised until an item comes.
        with suppress(queue.Empty):
            return ended.get(timeout=_GLANCE_SECONDS)


class Runs(Protocol):
    """A store, as far as it runs coroutines."""

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], workers: int | None) -> T: ...


def carried_out(store: Runs, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of one coroutine of a store.

    Raises:
        Exception: the last failure of the coroutine.
    """
    stopping = Stopping()
    return called_apart(lambda: store.run(lambda: stopping.may_end(main()), 1), stopping.stop)


def run_in_new_loop(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, run in the calling thread in a new loop."""
    loop = asyncio.SelectorEventLoop(new_selector())
    try:
        return driven(loop, main())
    finally:
        loop.close()


def driven(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine. The calling thread drives the loop until then.

    Another loop may be running in this thread; it waits meanwhile. Remaining tasks are ended first.
    """
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    task = loop.create_task(main)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        # An exit or an interrupt ends the loop, but not its tasks.
        _end_all(loop)
        raise
    finally:
        asyncio._set_running_loop(outer)


def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    while left:
        for task in left:
            task.cancel()
        with suppress(BaseException):
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        left = {task for task in left if not task.done()}
