"""Random histories of both sides of a mirror, and a model that says what each of them must hold after every step."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.changes import EDITS, NAMES, REPLACEMENTS, Changes, names, numbers, sizes
from tests.model.mirrors import Mirrors
from tests.support import Proxy, S3Site


class Histories(Changes, Mirrors):
    """Both sides change, and mirrors come and go."""

    @precondition(lambda self: self.mirror is not None and self.model.terms.kind != "download")
    @rule(
        name=st.sampled_from(NAMES),
        here=st.sampled_from(EDITS),
        there=st.sampled_from(REPLACEMENTS),
        to=names,
        size=sizes,
        number=numbers,
    )
    def another_writer_meets_what_was_pushed(
        self, name: str, here: str, there: str, to: str, size: int, number: int
    ) -> None:
        """What the mirror itself has transferred is what it may delete, until somebody else has written it."""
        self.world.write(name, self.data(size))
        self.push_in_the_background(None)
        self.change_there(there, name if name in self.world.remote else "", to, size, number)
        self.change_here(here, name, to, size, number)
        self.push_in_the_background(None)


def histories_on(site: S3Site, proxy: Proxy, home: Path) -> type[Histories]:
    """The state machine for one server; each history has a prefix and a cache of its own."""
    return type("Histories", (Histories,), {"site": site, "proxy": proxy, "home": home, "steps": 0})
