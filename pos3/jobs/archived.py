"""Objects in an archive, which must be restored before they can be read."""

from __future__ import annotations

from collections.abc import Callable

from pos3.entries import Entry
from pos3.reports import Kept

ARCHIVES = frozenset(("GLACIER", "DEEP_ARCHIVE"))
"""Storage classes whose objects cannot be read at once. Those of GLACIER_IR can."""

KeepsLocal = Callable[[str, Entry | None, Entry | None], bool]


class SkipsArchived:
    """The rule of a download that leaves archived objects out, and the local files of their names as they are.

    It is asked for paths that would change, in order (see :class:`pos3.plan.Policy`).

    Args:
        otherwise: the rule for all other objects.
    """

    def __init__(self, otherwise: KeepsLocal):
        self._otherwise = otherwise
        self.reset()

    def reset(self) -> None:
        """The plan is made anew."""
        self._skipped: dict[str, str] = {}

    def __call__(self, path: str, local: Entry | None, remote: Entry | None) -> bool:
        if remote is not None and remote.storage_class in ARCHIVES:
            self._skipped[path] = remote.storage_class
            return True
        return self._lies_below_skipped(path) or self._otherwise(path, local, remote)

    def _lies_below_skipped(self, path: str) -> bool:
        """Whether it would have to make way for an object that is not downloaded."""
        return any(path[:end] in self._skipped for end, letter in enumerate(path) if letter == "/")

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What was left out, in order of the paths."""
        return tuple(Kept(path, f"archived in {archive}") for path, archive in self._skipped.items())
