"""Says in which files a local path and a location differ, by the plan of a download."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from pos3.jobs.registration import Registration
from pos3.plan import NEW, Plan

Side = Literal["store", "local", "both"]


@dataclass(frozen=True)
class Mismatch:
    """A file, an object or an empty directory that is not the same on both sides.

    ``side`` tells which side has it; with "both", ``reason`` says what differs.
    """

    url: str
    local: str
    side: Side
    reason: str


def mismatches_of(registration: Registration, plan: Plan) -> list[Mismatch]:
    """The differences of both sides, sorted by path.

    Args:
        plan: that of a download with deletes.
    """
    found: dict[str, tuple[Side, str]] = {}
    for action in (*plan.every_copy(), *plan.directories):
        found[action.path] = ("store", "") if action.reason == NEW else ("both", action.reason)
    for action in plan.deletes:
        found.setdefault(action.path, ("local", ""))
    for path in plan.obstacles:
        found[path] = ("both", "a file on one side, and a directory on the other")
    url_of, local = registration.location.child, registration.local
    return [
        Mismatch(url_of(path), os.path.join(local, path) if path else local, side, reason)
        for path, (side, reason) in sorted(found.items())
    ]
