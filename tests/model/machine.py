"""Random histories of both sides of a mirror, and a model that says what each of them must hold after every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.changes import EDITS, NAMES, REPLACEMENTS, Changes, names, numbers, sizes
from tests.model.mirrors import Mirrors
from tests.model.parts import Parts
from tests.support import Proxy, S3Site


class Histories(Changes, Parts):
    """Both sides change, and mirrors come and go."""

    @precondition(lambda self: self.mirror is not None and self.model.terms.kind != "download")
    @rule(
        name=st.sampled_from(NAMES),
        there=st.sampled_from(REPLACEMENTS),
        here=st.sampled_from([*EDITS, "write what is in the bucket"]),
        to=names,
        size=sizes,
        number=numbers,
        goes=st.booleans(),
        push=st.sampled_from([Mirrors.push_in_the_background, Mirrors.finish]),
    )
    def another_writer_meets_what_was_pushed(
        self,
        name: str,
        there: str,
        here: str,
        to: str,
        size: int,
        number: int,
        goes: bool,
        push: Callable[[Mirrors, None], None],
    ) -> None:
        """What the mirror itself has transferred is what it may delete, until somebody else has written it."""
        self.world.write(name, self.data(size))
        self.push_in_the_background(None)
        self.change_there(there, name if name in self.world.remote else "", to, size, number)
        if here == "write what is in the bucket":
            self.world.write(name, self.world.remote.get(name, b"gone"))
        else:
            self.change_here(here, name, to, size, number)
        push(self, None)
        if goes and name in self.world.local():
            self.world.unlink(name, prune=True)
        self.push_in_the_background(None)


def histories_on(site: S3Site, proxy: Proxy, home: Path) -> type[Histories]:
    """The state machine for one server; each history has a prefix and a cache of its own."""
    return type("Histories", (Histories,), {"site": site, "proxy": proxy, "home": home, "steps": 0})
