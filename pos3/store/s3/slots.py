"""Counts the requests in flight."""

from __future__ import annotations

import asyncio
from collections import deque

from pos3.store.retry import BusyError, UnreachableError
from pos3.store.s3.window import Fixed, Window


class Slots:
    """Allows as many requests in flight as the window says. It is used in one loop only."""

    def __init__(self, window: Fixed | Window):
        self.window = window
        self.in_flight = 0
        self.peak = 0
        """The most that were in flight, and so the most connections that can be open."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._for_room: deque[asyncio.Future[None]] = deque()
        self._for_change: list[asyncio.Future[None]] = []

    def is_taken_at_once(self) -> bool:
        """Takes a slot if one is free, and returns whether it did."""
        if self.in_flight >= self.window.limit:
            return False
        self.in_flight += 1
        if self.in_flight > self.peak:
            self.peak = self.in_flight
        return True

    async def take(self) -> None:
        """Waits for a slot. The first to wait gets the first free one."""
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
        self.in_flight -= 1
        if self._waiting or self._for_room:
            self._admit()

    def answered(self, epoch: int) -> None:
        """Gives back the slot of an answered request. ``epoch`` is the window's epoch when it was sent."""
        limit = self.window.limit
        self.window.answered(epoch, self.in_flight)
        self._give_back_after(limit)

    def failed(self, epoch: int, error: BaseException) -> None:
        """Gives back the slot of a request that failed or was stopped."""
        limit = self.window.limit
        if isinstance(error, (BusyError, UnreachableError)):
            if error.is_overload:
                self.window.overloaded(epoch)
            elif isinstance(error, UnreachableError):
                self.window.broken(epoch)
        self._give_back_after(limit)

    def _give_back_after(self, limit: int) -> None:
        """Gives back a slot, and tells those who wait for it if the limit is no longer ``limit``."""
        self.give_back()
        if self.window.limit != limit:
            for turn in self._for_change:
                if not turn.done():
                    turn.set_result(None)
            self._for_change.clear()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.window.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.is_taken_at_once()
                turn.set_result(None)
        free = self.window.limit - self.in_flight
        while self._for_room and free > 0 and not self._waiting:
            turn = self._for_room.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    async def room(self) -> None:
        """Waits until a slot is free and no request waits for it."""
        while self.in_flight >= self.window.limit:
            turn = asyncio.get_running_loop().create_future()
            self._for_room.append(turn)
            await turn

    async def most(self, before: int) -> int:
        """The maximum number of requests in flight. It returns when this number is not ``before``."""
        while self.window.limit == before:
            turn = asyncio.get_running_loop().create_future()
            self._for_change.append(turn)
            await turn
        return self.window.limit
