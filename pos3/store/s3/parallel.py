"""Requests several pages of a listing at the same time, and yields them in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from pos3.errors import StoreError
from pos3.store.s3.page import Page
from pos3.store.s3.ranges import Ranges, StartAfterError, Wanted
from pos3.store.tasks import ended

Ask = Callable[[Wanted], Coroutine[Any, Any, Page]]
"""Asks for a page, again while its failure may pass."""


async def pages_at_once(ranges: Ranges, ask: Ask) -> AsyncGenerator[Page, None]:
    """The pages of ``ranges`` in order.

    Raises:
        StartAfterError, UnsortedListingError: the listing must be made in another way.
        StoreError: a page could not be read.
    """
    asking = _Asking(ranges, ask)
    try:
        asking.ask_for_more()
        while not ranges.is_done:
            page = ranges.take()
            if page is not None:
                # What waited for the room that it leaves is asked for meanwhile.
                asking.ask_for_more()
                yield page
            elif not ranges.is_done:
                await asking.next_answer()
    finally:
        # A look at directories may be left that nobody needs any more.
        await asking.stop()


class _Asking:
    def __init__(self, ranges: Ranges, ask: Ask):
        self._ranges = ranges
        self._ask = ask
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._answered = asyncio.Event()

    def ask_for_more(self) -> None:
        for wanted in self._ranges.wanted():
            task = asyncio.get_running_loop().create_task(self._asked(wanted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def next_answer(self) -> None:
        """Waits until something may have changed.

        Raises:
            Exception: the listing cannot go on.
        """
        if self._failure is None:
            self.ask_for_more()
            self._answered.clear()
            await self._answered.wait()
        if self._failure is not None:
            raise self._failure

    async def _asked(self, wanted: Wanted) -> None:
        try:
            try:
                page = await self._ask(wanted)
            except StoreError as error:
                self._failed(wanted, error)
            else:
                self._ranges.answered(wanted, page)
            if self._failure is None:
                self.ask_for_more()
        except Exception as error:  # noqa: BLE001 - raised by whoever waits
            self._failure = error
        finally:
            self._answered.set()

    def _failed(self, wanted: Wanted, error: StoreError) -> None:
        if wanted.delimiter:
            # It may be forbidden to look there, and it is not needed.
            self._ranges.look_failed(wanted)
        elif type(error) is StoreError and not self._ranges.is_proven:
            # Neither denied nor out of reach: the store does not know what it is asked for.
            raise StartAfterError(str(error)) from error
        else:
            raise error

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for task in list(self._tasks):
            await ended(task)
