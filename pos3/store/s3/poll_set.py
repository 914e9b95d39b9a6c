"""A set of descriptors that are polled together, with epoll or its equivalent."""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Protocol

from pos3.store.apart import native, new_selector


class PollSet(Protocol):
    """Descriptors that are polled together. Its methods are those of an epoll object, and its events those of poll."""

    def register(self, descriptor: int, events: int, /) -> object: ...

    def modify(self, descriptor: int, events: int, /) -> object: ...

    def unregister(self, descriptor: int, /) -> object: ...

    def poll(self, seconds: float, /) -> list[tuple[int, int]]: ...

    def fileno(self) -> int: ...

    def close(self) -> object: ...


class _Selected:
    """A poll set for systems without epoll."""

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
