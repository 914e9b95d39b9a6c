"""Asks for the pages of a listing several at once, and hands them over in order.

Everything happens in the caller's thread, while it takes the next page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pos3.errors import StoreError
from pos3.store.retry import Patience
from pos3.store.s3.lines import Bundle, ConnectionPool
from pos3.store.s3.page import Page
from pos3.store.s3.ranges import Ranges, StartAfterError, Wanted
from pos3.store.s3.requests import Request, Response

_GLANCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Talk:
    """How the pages of one listing are asked for and read; ``read`` raises what is wrong with an answer."""

    request: Callable[[Wanted], Request]
    read: Callable[[Wanted, Response], Page]
    patience: Callable[[], Patience]


def pages_at_once(ranges: Ranges, talk: Talk, bundles: ConnectionPool[Bundle]) -> Iterator[Page]:
    """The pages of ``ranges`` in order. A page that fails for the moment is asked for again.

    Raises:
        StartAfterError, UnsortedListingError: the listing has to be made in another way.
        StoreError: a page cannot be had.
    """
    bundle = bundles.take()
    try:
        asking = _Asking(ranges, talk, bundle)
        while not ranges.is_done:
            page = ranges.take()
            asking.turn(waits=page is None)
            if page is not None:
                yield page
        is_idle = bundle.is_idle
    except BaseException:
        bundle.close()
        raise
    if is_idle:
        bundles.give_back(bundle)
    else:
        # A look at directories that nobody needs any more.
        bundle.close()


@dataclass(eq=False, slots=True)
class _Asking:
    ranges: Ranges
    talk: Talk
    bundle: Bundle
    due: list[tuple[float, Wanted]] = field(default_factory=list)
    patiences: dict[Wanted, Patience] = field(default_factory=dict)

    def turn(self, *, waits: bool) -> None:
        """Takes in what has come, and asks for what is wanted then."""
        for wanted, answer in self.bundle.receive(self._pause_seconds() if waits else 0):
            try:
                if isinstance(answer, Exception):
                    raise answer
                page = self.talk.read(wanted, answer)
            except StoreError as error:
                self._failed(wanted, error)
            else:
                self.patiences.pop(wanted, None)
                self.ranges.answered(wanted, page)
        now = time.monotonic()
        again = [wanted for moment, wanted in self.due if moment <= now]
        self.due = [(moment, wanted) for moment, wanted in self.due if moment > now]
        for wanted in (*again, *self.ranges.wanted()):
            self.bundle.send(self.talk.request(wanted), wanted)

    def _pause_seconds(self) -> float:
        pause_seconds = min((moment - time.monotonic() for moment, _ in self.due), default=_GLANCE_SECONDS)
        if self.due and self.bundle.is_idle:
            time.sleep(max(0.0, min(pause_seconds, _GLANCE_SECONDS)))
        return max(pause_seconds, 0.001)

    def _failed(self, wanted: Wanted, error: StoreError) -> None:
        if wanted.delimiter:
            # It may be forbidden to look there, and it is not needed.
            self.ranges.look_failed(wanted)
            return
        patience = self.patiences.setdefault(wanted, self.talk.patience())
        pause_seconds = patience.pause_seconds(error)
        if pause_seconds is not None:
            self.due.append((time.monotonic() + pause_seconds, wanted))
        elif type(error) is StoreError and not self.ranges.is_proven:
            # Neither denied nor out of reach: the store does not know what it is asked for.
            raise StartAfterError(str(error)) from error
        else:
            raise error
