"""Connects libcurl directly to an asyncio loop: its sockets and its timer.

One thread at a time drives an engine. Without requests, no thread does. Its connections stay open for later requests.
"""

from __future__ import annotations

import asyncio
import os
import select
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import pycurl

from pos3.store.apart import driven, new_selector
from pos3.store.s3.handle import Handle, Server
from pos3.store.s3.poll_set import new_poll_set
from pos3.store.s3.slots import Slots
from pos3.store.s3.window import Fixed, Window
from pos3.store.silence import NOTICE_SECONDS, mention_silence

T = TypeVar("T")

# libcurl checks for timeouts only when it is called, so it is called at least this often.
_GLANCE_SECONDS = 1.0
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


class Engine:
    """A loop with libcurl's connections to one server, and the handles of requests."""

    def __init__(self, server: Server):
        self._server = server
        self._selector = new_selector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self.slots = Slots(Fixed(1))
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wake_in)
        # A separate set for libcurl's sockets, because the loop would make several objects for each change.
        self._sockets = new_poll_set()
        self.loop.add_reader(self._sockets.fileno(), self._ready)
        self._watched: dict[int, int] = {}
        # For each descriptor, the identity of its socket. A later file may have the same number.
        self._known_sockets: dict[int, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._all_driven_at = 0.0
        self._is_called_soon = False
        self._flying: dict[pycurl.Curl, tuple[asyncio.Future[tuple[int, str]], Handle]] = {}
        self._ended = 0
        # The sum of moved bytes and ended requests at the last check, and the time when it last grew.
        self._moved = 0.0
        self._silent_since = 0.0
        self._idle: dict[bool, list[Handle]] = {True: [], False: []}
        _ALIVE.add(self)

    def begin(self, window: Fixed | Window) -> None:
        """Sets the limit of requests at the same time to that of the window."""
        self.slots = Slots(window)
        self._multi.setopt(pycurl.M_MAXCONNECTS, window.most)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, run in the calling thread."""
        return driven(self.loop, main)

    @property
    def is_idle(self) -> bool:
        return not self._flying

    def handle(self, *, signs: bool) -> Handle:
        """A handle without a request. The caller gives it back."""
        idle = self._idle[signs]
        if idle:
            return idle.pop()
        made = Handle(self._server, self._call_later, signs=signs)
        made.curl.setopt(pycurl.SOCKOPTFUNCTION, self._note_socket)
        return made

    def give_back(self, handle: Handle) -> None:
        handle.forget()
        self._idle[handle.signs].append(handle)

    async def carried(self, handle: Handle) -> tuple[int, str]:
        """libcurl's code and message at the end of the request.

        In any case, libcurl does not use the handle any more.
        """
        curl = handle.curl
        future: asyncio.Future[tuple[int, str]] = self.loop.create_future()
        if not self._flying:
            self._moved, self._silent_since = self._ended, self.loop.time()
        self._flying[curl] = future, handle
        try:
            self._multi.add_handle(curl)
            return await future
        except BaseException:
            # The target of the body may be closed now.
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
        """Lets libcurl continue with each socket that is ready."""
        watched = self._watched
        for descriptor, events in self._sockets.poll(0):
            # The result of an earlier socket may have removed this one.
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
                self._drive_all()
                self._notice_silence(now)
            self._time_has_passed()
            if self._timer is None:
                self._set_timer(self.loop.time() + _GLANCE_SECONDS)

    def _drive_all(self) -> None:
        """Lets libcurl look at every request, also at those whose sockets are not ready.

        ``curl_multi_perform`` would do that as well, but it does not tell which sockets to watch afterwards. Requests
        that it sends would wait for their answers until the next glance.
        """
        for descriptor in list(self._watched):
            # An earlier one may have ended the watch of this one.
            if self._watched[descriptor]:
                self._multi.socket_action(descriptor, 0)

    def _call_later(self, seconds: float, call: Callable[..., object], *arguments: object) -> None:
        """For bodies that are held back to keep a rate, which is no silence of the server."""
        self._silent_since = max(self._silent_since, self.loop.time() + seconds)
        self.loop.call_later(seconds, call, *arguments)

    def _notice_silence(self, now: float) -> None:
        """Mentions once in the log that the server does not answer; again only after it has answered."""
        moved = self._ended + sum(handle.moved_bytes for _, handle in self._flying.values())
        if moved != self._moved:
            self._moved, self._silent_since = moved, max(self._silent_since, now)
            return
        if now - self._silent_since < NOTICE_SECONDS or self._server.is_silence_mentioned:
            return
        if any(handle.expects_answer_soon for _, handle in self._flying.values()):
            self._server.is_silence_mentioned = True
            mention_silence(self._server.address.endpoint)

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
        self._ended += 1
        future, _ = self._flying.pop(curl, (None, None))
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
