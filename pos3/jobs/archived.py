"""Leaves archived objects out of a download: they must be restored before they can be read."""

from __future__ import annotations

from collections.abc import Callable

from pos3.entries import Entry
from pos3.reports import Kept

ARCHIVE_CLASSES = frozenset(("GLACIER", "DEEP_ARCHIVE"))
"""The storage classes whose objects cannot be read at once. Objects in GLACIER_IR can be read."""

KeepsLocal = Callable[[str, Entry | None, Entry | None], bool]


class SkipsArchived:
    """The rule of a download that skips archived objects, and leaves the local files of their names as they are.

    It is called for paths that would change, in code-point order, as ``keeps_local`` of :class:`pos3.plan.Policy`.

    Args:
        otherwise: the rule for all other objects.
    """

    def __init__(self, otherwise: KeepsLocal):
        self._otherwise = otherwise
        self.reset()

    def reset(self) -> None:
        """Forgets what was skipped. This must be called before the plan is made again."""
        self._skipped: dict[str, str] = {}

    def __call__(self, path: str, local: Entry | None, remote: Entry | None) -> bool:
        if remote is not None and remote.storage_class in ARCHIVE_CLASSES:
            self._skipped[path] = remote.storage_class
            return True
        return self._lies_below_skipped(path) or self._otherwise(path, local, remote)

    def _lies_below_skipped(self, path: str) -> bool:
        """Whether the path lies below the path of a skipped object, which would have replaced it."""
        return any(path[:end] in self._skipped for end, letter in enumerate(path) if letter == "/")

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The objects that were skipped, in the order of their paths."""
        return tuple(Kept(path, f"archived in {archive}") for path, archive in self._skipped.items())
