"""Remembers which downloads have brought all that they were to bring, so that a mirror can do without the store."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from pos3.entries import PathRange
from pos3.filters import Filter
from pos3.jobs.requests import Request
from pos3.plan import Plan
from pos3.state import Index

_NOTE = "completed downloads"
# Each combination of filters is one, and each part. More are not worth the reading.
_MAX_COMPLETED = 256


@dataclass(frozen=True)
class Completed:
    """A download that has brought everything that its arguments choose. ``at`` is in seconds since the epoch.

    ``after`` and ``until`` are the ends of the range of a part, as in :class:`pos3.entries.PathRange`.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    marker: str
    skip_archived: bool
    after: str
    until: str
    at: float

    @property
    def _chosen(self) -> tuple[object, ...]:
        return self.include, self.exclude, self.marker, self.skip_archived

    @property
    def _within(self) -> PathRange:
        return PathRange(self.after, self.until)

    def asks_for_the_same(self, other: Completed) -> bool:
        """Whether both have brought everything that the same arguments choose."""
        return self._chosen == other._chosen and self._within == other._within

    def has_all_of(self, other: Completed) -> bool:
        """Whether everything that ``other`` chooses was brought. A part has all of no whole."""
        is_same_choice = self._chosen == other._chosen or (not any(self._chosen) and not other.marker)
        return is_same_choice and self._within.covers(other._within)

    def is_changed_by(self, plan: Plan) -> bool:
        """Whether the plan changes a file that the download has brought."""
        within, chosen = self._within, Filter(self.include, self.exclude).predicate()
        copied, deleted = (path for path, _ in plan.copied_paths()), (action.path for action in plan.deletes)
        return any(path in within and chosen(path) for path in chain(copied, deleted))

    @staticmethod
    def of(request: Request) -> Completed:
        """What a download with these arguments has brought if it is complete now."""
        chosen, within = request.filter, request.within
        return Completed(
            chosen.include,
            chosen.exclude,
            request.marker,
            request.skip_archived,
            within.after,
            within.until,
            time.time(),
        )

    @staticmethod
    def from_json(values: dict[str, Any]) -> Completed:
        return Completed(**{**values, "include": tuple(values["include"]), "exclude": tuple(values["exclude"])})


class CompletedDownloads:
    """The complete downloads of one place into one local root. Its records are what they have brought.

    Several processes may add and forget at the same time, since parts are downloaded side by side.
    """

    def __init__(self, index: Index):
        self._index = index

    def forget_changed(self, plan: Plan) -> None:
        """Forgets those of which the plan changes files. This comes before the plan is carried out."""

        def unchanged(note: str) -> str:
            return _as_note([one for one in _of_note(note) if not one.is_changed_by(plan)])

        if any(one.is_changed_by(plan) for one in self._all()):
            self._index.update_note(_NOTE, unchanged)

    def add(self, request: Request) -> None:
        """A download with these arguments has brought everything."""
        new = Completed.of(request)

        def added(note: str) -> str:
            return _as_note([*(one for one in _of_note(note) if not one.asks_for_the_same(new)), new])

        self._index.update_note(_NOTE, added)

    def covering(self, request: Request) -> Completed | None:
        """The last one that has brought everything that a download with these arguments would bring, or None."""
        wanted = Completed.of(request)
        covering = [one for one in self._all() if one.has_all_of(wanted)]
        return max(covering, key=lambda one: one.at, default=None)

    def _all(self) -> list[Completed]:
        return _of_note(self._index.get_note(_NOTE))


def _of_note(note: str) -> list[Completed]:
    try:
        return [Completed.from_json(values) for values in json.loads(note or "[]")]
    except (ValueError, LookupError, TypeError):
        return []


def _as_note(completed: list[Completed]) -> str:
    return json.dumps([asdict(one) for one in completed[-_MAX_COMPLETED:]])
