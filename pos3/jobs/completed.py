"""Remembers which downloads have brought all that they were to bring, so that a mirror can do without the store."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from pos3.filters import Filter
from pos3.jobs.requests import Request
from pos3.plan import Plan
from pos3.state import Index

_NOTE = "completed downloads"
# Each combination of filters is one. More are not worth the reading.
_MAX_COMPLETED = 16


@dataclass(frozen=True)
class Completed:
    """A download that has brought everything that its arguments choose. ``at`` is in seconds since the epoch."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    marker: str
    skip_archived: bool
    at: float

    @property
    def _chosen(self) -> tuple[object, ...]:
        return self.include, self.exclude, self.marker, self.skip_archived

    def has_all_of(self, other: Completed) -> bool:
        """Whether everything that ``other`` chooses was brought."""
        return self._chosen == other._chosen or (not any(self._chosen) and not other.marker)

    def takes_part(self, plan: Plan) -> bool:
        """Whether the plan changes a file that the download has brought."""
        chosen = Filter(self.include, self.exclude).predicate()
        return any(chosen(action.path) for actions in (plan.copies, plan.deletes) for action in actions)

    @staticmethod
    def of(request: Request) -> Completed:
        """What a download with these arguments has brought if it is complete now."""
        chosen = request.filter
        return Completed(chosen.include, chosen.exclude, request.marker, request.skip_archived, time.time())

    @staticmethod
    def from_json(values: dict[str, Any]) -> Completed:
        return Completed(
            tuple(values["include"]), tuple(values["exclude"]), values["marker"], values["skip_archived"], values["at"]
        )


class CompletedDownloads:
    """The complete downloads of one place into one local root. Its records are what they have brought."""

    def __init__(self, index: Index):
        self._index = index

    def _all(self) -> list[Completed]:
        try:
            return [Completed.from_json(values) for values in json.loads(self._index.get_note(_NOTE) or "[]")]
        except (ValueError, LookupError, TypeError):
            return []

    def _write(self, completed: list[Completed]) -> None:
        self._index.set_note(_NOTE, json.dumps([asdict(one) for one in completed[-_MAX_COMPLETED:]]))

    def forget_changed(self, plan: Plan) -> None:
        """Forgets those of which the plan changes files. This comes before the plan is carried out."""
        known = self._all()
        left = [one for one in known if not one.takes_part(plan)]
        if len(left) < len(known):
            self._write(left)

    def add(self, request: Request) -> None:
        """A download with these arguments has brought everything."""
        new = Completed.of(request)
        self._write([*(one for one in self._all() if one._chosen != new._chosen), new])

    def covering(self, request: Request) -> Completed | None:
        """The last one that has brought everything that a download with these arguments would bring, or None."""
        wanted = Completed.of(request)
        covering = [one for one in self._all() if one.has_all_of(wanted)]
        return max(covering, key=lambda one: one.at, default=None)
