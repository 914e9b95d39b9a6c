"""A store that plays a hostile part, with the environment pointing at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.hostile import HostileStore, Play


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Play]], HostileStore]]:
    """`store = hostile({"GET": endless(200, b"")})`: see :class:`HostileStore`."""
    with ExitStack() as stack:

        def play(plays: dict[str, Play]) -> HostileStore:
            store = stack.enter_context(HostileStore(plays))
            for name, value in store.environment().items():
                monkeypatch.setenv(name, value)
            return store

        yield play
