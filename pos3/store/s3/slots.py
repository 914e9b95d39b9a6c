"""How many requests are in flight."""

from __future__ import annotations

import asyncio
from collections import deque


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
