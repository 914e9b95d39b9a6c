"""Drives libcurl by an asyncio loop: its sockets and its timer, and nothing in between.

One thread at a time drives an engine, and none while nothing is asked of it. Its connections stay open for the next.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import pycurl

from pos3.store.apart import driven, ended, native, new_selector, started
from pos3.store.s3.handle import Handle, Server

T = TypeVar("T")

# A handle whose socket says nothing begins to count the silence only when it is driven for another reason.
_GLANCE_SECONDS = 1.0
_UNLIMITED = 1 << 20
_READABLE = select.POLLIN | select.POLLERR | select.POLLHUP
_WRITABLE = select.POLLOUT | select.POLLERR | select.POLLHUP
_SELECTED_IN, _SELECTED_OUT = pycurl.CSELECT_IN, pycurl.CSELECT_OUT
_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_REMOVE: 0,
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}


class PollSet(Protocol):
    """Descriptors that are waited for together, as an epoll object has them; its events are those of poll."""

    def register(self, descriptor: int, events: int, /) -> object: ...

    def modify(self, descriptor: int, events: int, /) -> object: ...

    def unregister(self, descriptor: int, /) -> object: ...

    def poll(self, seconds: float, /) -> list[tuple[int, int]]: ...

    def fileno(self) -> int: ...

    def close(self) -> object: ...


class _Selected:
    """The same where there is no epoll."""

    def __init__(self) -> None:
        self._selector = new_selector()
        self.fileno, self.close, self.unregister = (
            self._selector.fileno,  # type: ignore[attr-defined]
            self._selector.close,
            self._selector.unregister,
        )

    @staticmethod
    def _wanted(events: int) -> int:
        reads, writes = events & select.POLLIN, events & select.POLLOUT
        return (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if writes else 0)

    def register(self, descriptor: int, events: int) -> None:
        self._selector.register(descriptor, self._wanted(events))

    def modify(self, descriptor: int, events: int) -> None:
        self._selector.modify(descriptor, self._wanted(events))

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        return [
            (
                key.fd,
                (select.POLLIN if events & selectors.EVENT_READ else 0)
                | (select.POLLOUT if events & selectors.EVENT_WRITE else 0),
            )
            for key, events in self._selector.select(seconds)
        ]


def new_poll_set() -> PollSet:
    made: Callable[[], PollSet] = native("select", "epoll") or _Selected
    return made()


class Slots:
    """How many requests may be in flight. Used in one loop alone."""

    def __init__(self, count: int):
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._for_room: deque[asyncio.Future[None]] = deque()

    def is_taken_at_once(self) -> bool:
        """Takes a slot, if one is free."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Waits for a slot, in turn."""
        if self.is_taken_at_once():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
        while self._for_room:
            turn = self._for_room.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def room(self) -> None:
        """Waits until a slot is free that nobody waits for, so that what has begun comes first."""
        while self._free <= 0:
            turn = asyncio.get_running_loop().create_future()
            self._for_room.append(turn)
            await turn


class Engine:
    """A loop and what it drives: libcurl's connections to one server, and handles that carry requests."""

    def __init__(self, server: Server):
        self._server = server
        self._selector = new_selector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self.slots = Slots(1)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wake_in)
        # A set of its own for libcurl's sockets: the loop would make several objects each time one comes or goes.
        self._sockets = new_poll_set()
        self.loop.add_reader(self._sockets.fileno(), self._ready)
        self._watched: dict[int, int] = {}
        # By descriptor, what tells each socket from any later file of that number.
        self._known_sockets: dict[int, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._all_driven_at = 0.0
        self._is_called_soon = False
        self._flying: dict[pycurl.Curl, asyncio.Future[tuple[int, str]]] = {}
        self._idle: dict[bool, list[Handle]] = {True: [], False: []}
        _ALIVE.add(self)

    def begin(self, in_flight: int) -> None:
        """From now on, there are so many requests at the same time at the most."""
        self.slots = Slots(in_flight)
        self._multi.setopt(pycurl.M_MAXCONNECTS, in_flight)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, in the calling thread."""
        return driven(self.loop, main)

    @property
    def is_idle(self) -> bool:
        return not self._flying

    def handle(self, *, signs: bool) -> Handle:
        """A handle that carries nothing; it is given back, or lost."""
        idle = self._idle[signs]
        if idle:
            return idle.pop()
        made = Handle(self._server, self.loop.call_later, signs=signs)
        made.curl.setopt(pycurl.SOCKOPTFUNCTION, self._note_socket)
        return made

    def give_back(self, handle: Handle) -> None:
        handle.forget()
        self._idle[handle.signs].append(handle)

    async def carried(self, handle: Handle) -> tuple[int, str]:
        """libcurl's code and message at the end of the request. However this ends, libcurl has let go of the handle."""
        curl = handle.curl
        future: asyncio.Future[tuple[int, str]] = self.loop.create_future()
        self._flying[curl] = future
        try:
            self._multi.add_handle(curl)
            return await future
        except BaseException:
            # Whatever it writes to may be closed now.
            if self._flying.pop(curl, None) is not None:
                self._multi.remove_handle(curl)
            raise

    def _watch(self, wanted: int, descriptor: int, _multi: object, _data: object) -> None:
        events = _EVENTS[wanted]
        before = self._watched.get(descriptor, 0)
        if events == before:
            return
        self._watched[descriptor] = events
        if not before:
            self._sockets.register(descriptor, events)
        elif events:
            self._sockets.modify(descriptor, events)
        else:
            self._sockets.unregister(descriptor)

    def _ready(self) -> None:
        """Some sockets are ready: libcurl goes on with each."""
        watched = self._watched
        for descriptor, events in self._sockets.poll(0):
            # By what came of another one, it may have lost interest.
            if watched.get(descriptor):
                _, running = self._multi.socket_action(
                    descriptor,
                    (_SELECTED_IN if events & _READABLE else 0) | (_SELECTED_OUT if events & _WRITABLE else 0),
                )
                if running < len(self._flying):
                    self._collect()

    def _note_socket(self, descriptor: int, _purpose: int) -> int:
        status = os.fstat(descriptor)
        self._known_sockets[descriptor] = status.st_dev, status.st_ino
        return int(pycurl.SOCKOPT_OK)

    def _wake_in(self, milliseconds: int) -> None:
        if milliseconds == 0:
            if not self._is_called_soon:
                self._is_called_soon = True
                self.loop.call_soon(self._called_soon)
        elif milliseconds > 0:
            moment = self.loop.time() + min(milliseconds / 1000, _GLANCE_SECONDS)
            if self._timer is None or moment < self._timer.when():
                self._set_timer(moment)

    def _set_timer(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(moment, self._rung)

    def _called_soon(self) -> None:
        self._is_called_soon = False
        self._time_has_passed()

    def _rung(self) -> None:
        self._timer = None
        if self._flying:
            now = self.loop.time()
            if now - self._all_driven_at >= _GLANCE_SECONDS:
                self._all_driven_at = now
                _, running = self._multi.perform()
                if running < len(self._flying):
                    self._collect()
            else:
                self._time_has_passed()
            if self._timer is None:
                self._set_timer(self.loop.time() + _GLANCE_SECONDS)

    def _time_has_passed(self) -> None:
        _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if running < len(self._flying):
            self._collect()

    def _collect(self) -> None:
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl in good:
                self._end(curl, pycurl.E_OK, "")
            for curl, code, message in bad:
                self._end(curl, code, message)

    def _end(self, curl: pycurl.Curl, code: int, message: str) -> None:
        self._multi.remove_handle(curl)
        future = self._flying.pop(curl, None)
        if future is not None and not future.done():
            future.set_result((code, message))

    def close(self) -> None:
        """Hangs up, whatever is under way."""
        _ALIVE.discard(self)
        for curl in list(self._flying):
            with suppress(pycurl.error):
                self._multi.remove_handle(curl)
            curl.close()
        self._flying.clear()
        for handles in self._idle.values():
            for handle in handles:
                handle.curl.close()
            handles.clear()
        self._multi.close()
        self.loop.remove_reader(self._sockets.fileno())
        self._sockets.close()
        self.loop.close()

    def leave_to_parent(self) -> None:
        """In a forked child: closes this process's descriptors of what is the parent's, and touches nothing else.

        The set of watched sockets is shared with the parent, and whatever libcurl did would end the parent's
        connections.
        """
        keep_for_ever(self)
        for descriptor, known in self._known_sockets.items():
            with suppress(OSError):
                status = os.fstat(descriptor)
                if (status.st_dev, status.st_ino) == known:
                    os.close(descriptor)
        for shared in (self._selector, self._sockets):
            with suppress(OSError, ValueError):
                os.close(shared.fileno())  # type: ignore[union-attr]


class Fellow:
    """Another engine, which is driven by a thread of its own to carry out parts of what one engine runs."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.parts = 0
        """How many it carries out at the moment."""
        self._is_over = False
        self._thread = threading.Thread(target=self._drive, name="pos3-fellow", daemon=True)

    def start(self) -> bool:
        """Whether its thread could be started."""
        self.engine.begin(_UNLIMITED)
        return started(self._thread)

    def _drive(self) -> None:
        while not self._is_over:
            # What ends a thread is raised by whoever waits for the part.
            with suppress(BaseException):
                self.engine.loop.run_forever()

    def stop(self) -> None:
        """Returns when the thread has ended; it carries out nothing any more."""
        self._is_over = True
        self.engine.loop.call_soon_threadsafe(self.engine.loop.stop)
        self._thread.join()

    async def carried_out(self, part: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine. With the caller it is cancelled as well, and has ended before this returns."""
        here, there = asyncio.get_running_loop(), self.engine.loop
        done: asyncio.Future[asyncio.Task[T]] = here.create_future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = there.create_task(part)
            tasks.append(task)
            task.add_done_callback(lambda task: here.call_soon_threadsafe(done.set_result, task))

        def cancel() -> None:
            tasks[0].cancel()

        self.parts += 1
        there.call_soon_threadsafe(begin)
        try:
            await asyncio.wait((done,))
        except asyncio.CancelledError:
            there.call_soon_threadsafe(cancel)
            await ended(done)
            raise
        finally:
            self.parts -= 1
        return done.result().result()


_ALIVE: weakref.WeakSet[Engine] = weakref.WeakSet()
_KEPT: list[Engine] = []


def keep_for_ever(engine: Engine) -> None:
    """Even at the interpreter's exit, nothing of it is collected, since that would hang up."""
    import ctypes

    _KEPT.append(engine)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


def _before_fork() -> None:
    if _ALIVE:
        # In the child, another thread of the parent might be loading it for ever.
        import ctypes  # noqa: F401


def _after_fork() -> None:
    for engine in list(_ALIVE):
        engine.leave_to_parent()
    _ALIVE.clear()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


class Pool:
    """Idle engines, whose connections stay open for whoever needs one next.

    Safe to use from several threads, and after a fork.
    """

    _MOST_IDLE = 4

    def __init__(self, server: Server):
        self._server = server
        self._idle: deque[tuple[int, Engine]] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Engine:
        with suppress(IndexError):
            while True:
                pid, engine = self._idle.pop()
                if pid == os.getpid():
                    return engine
        return Engine(self._server)

    def give_back(self, engine: Engine) -> None:
        """Keeps an engine on which nothing is under way."""
        if engine.is_idle and len(self._idle) < self._MOST_IDLE:
            self._idle.append((os.getpid(), engine))
        else:
            engine.close()


def _close_all(idle: deque[tuple[int, Engine]]) -> None:
    while idle:
        pid, engine = idle.pop()
        if pid == os.getpid():
            engine.close()
