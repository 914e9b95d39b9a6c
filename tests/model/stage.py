"""What all rules of a history stand on: the two real sides, the model of them, and what must hold after every step."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine, invariant

import pos3
from tests.model.model import Model
from tests.model.trees import Tree, files, settled
from tests.model.world import World
from tests.support import Proxy, S3Site


class Stage(RuleBasedStateMachine):
    """Needs ``site``, ``proxy`` (before the same server) and ``home``; see ``histories_on``."""

    site: S3Site
    proxy: Proxy
    home: Path
    steps = 0
    """How many rules have run, over all histories."""

    def __init__(self) -> None:
        super().__init__()
        key = f"history-{uuid.uuid4().hex}"
        self.world = World(self.site, self.proxy, key, self.home / key)
        self.world.cache.mkdir(parents=True)
        self.model = Model(self.world)
        self.mirror: pos3.Mirror | None = None
        self.numbers = itertools.count(1)
        self.world.faulty()

    def teardown(self) -> None:
        self.world.faulty()
        if self.mirror is not None:
            self.mirror.close(push=False)
        self.world.clear()

    def data(self, size: int) -> bytes:
        """A content that nobody had before."""
        return f"{next(self.numbers):0{size}}".encode()

    @invariant()
    def the_bucket_holds_what_it_should(self) -> None:
        type(self).steps += 1
        assert not self.world.differences(self.world.remote)

    @invariant()
    def nothing_is_outside_its_root_or_left_half_done(self) -> None:
        assert self.world.strays() == []

    def check_local(self, *allowed: Tree) -> None:
        assert self.world.local() in allowed

    def settle_remote(self, outcomes: list[Tree]) -> None:
        """The bucket holds one of the outcomes, name by name; which one, is known from now on."""
        markers = self.site.server.traits.markers
        outcomes = [outcome if markers else files(outcome) for outcome in outcomes]
        self.world.settle(self.between(self.world.stored(), outcomes))

    def between(self, found: Tree, outcomes: list[Tree]) -> Tree:
        means, meant = settled(found), [settled(outcome) for outcome in outcomes]
        names = {name for outcome in (means, *meant) for name in outcome}
        wrong = {
            name: (means.get(name), [outcome.get(name) for outcome in meant])
            for name in names
            if means.get(name) not in [outcome.get(name) for outcome in meant]
        }
        assert not wrong, f"found, and allowed: {wrong}"
        return found


def attempt(call: Callable[[], object]) -> pos3.Pos3Error | None:
    """The error with which ``call`` ended, if it is one that pos3 raises on purpose."""
    try:
        call()
    except pos3.Pos3Error as error:
        return error
    return None


def pick(names: Iterable[str], number: int) -> str:
    """One of the names, "" if there is none."""
    found = sorted(names)
    return found[number % len(found)] if found else ""
