"""Random histories of both sides of a mirror, and a model that says what each of them must hold after every step."""

from __future__ import annotations

from pathlib import Path

from tests.model.changes import Changes
from tests.model.mirrors import Mirrors
from tests.support import Proxy, S3Site


class Histories(Changes, Mirrors):
    """Both sides change, and mirrors come and go."""


def histories_on(site: S3Site, proxy: Proxy, home: Path) -> type[Histories]:
    """The state machine for one server; each history has a prefix and a cache of its own."""
    return type("Histories", (Histories,), {"site": site, "proxy": proxy, "home": home, "steps": 0})
