"""PURE. Where ranges of a listing can begin: at keys that were listed earlier, or at directories that were seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pos3.store.base import Landmarks

# Pages of a range whose size is a guess. Half a page of each range is lost at its end, on average; long ranges need
# more pages held in memory until their turn comes.
_FEWEST_PAGES, MOST_PAGES = 2, 12
# So many ranges for each request at the same time keep all of them busy until the end.
_RANGES_PER_REQUEST = 1.5
# So much of a range's last page stays free, a key at least: a few keys more than expected cost no further page.
_MARGIN_PAGES = 0.05


class Points(Protocol):
    """Points in the order of keys, from which ranges can begin."""

    def skip(self, steps: int) -> str:
        """The point so many steps further on; "" if no more are known."""
        ...


@dataclass(slots=True)
class Known:
    """The keys of an earlier listing that follow ``last``."""

    landmarks: Landmarks
    last: str

    def skip(self, steps: int) -> str:
        found = self.landmarks(self.last, steps)
        self.last = found or self.last
        return found


@dataclass(slots=True)
class Directories:
    """Directories; if the look ``is_cut``, more of them follow, and what lies behind the last one is apart."""

    points: Sequence[str]
    is_cut: bool
    at: int = 0

    def skip(self, steps: int) -> str:
        left = len(self.points) - self.at
        if left <= steps and not self.is_cut:
            return ""
        steps = min(steps, left)
        self.at += steps
        return self.points[self.at - 1] if steps else ""


@dataclass(slots=True)
class Density:
    """How many keys there are from one point to the next: a guess at first, then what was found."""

    keys: float
    steps: float = 1.0

    @property
    def keys_per_step(self) -> float:
        return max(self.keys, 1.0) / self.steps

    def learn(self, keys: int, steps: int) -> None:
        self.keys += keys
        self.steps += steps


@dataclass(frozen=True, slots=True)
class Look:
    """A directory whose further children are to be looked at, and how many keys each of them holds, about."""

    directory: str
    density: Density


@dataclass(eq=False, slots=True)
class Run:
    """The keys after one and up to another ("" for all that follow), with points at which ranges of them can begin.

    A range is to have ``most_pages`` of ``page_keys`` each, which also show the key behind its end. ``looked`` is the
    directory whose children the points are, if they are; ``cut`` is the look that would show further ones.
    """

    after: str
    until: str
    points: Points
    density: Density
    page_keys: int
    most_pages: int = 1
    looked: str | None = None
    cut: Look | None = None

    def steps(self) -> int:
        """How many points further on the next range is to end."""
        keys = self.density.keys_per_step
        # What has turned out to be known exactly fits exactly, with the key that shows what follows.
        free_keys = 1.0 if keys == 1.0 else max(1.0, _MARGIN_PAGES * self.page_keys)
        return max(1, int((self.most_pages * self.page_keys - free_keys) / keys))

    def pages(self, steps: int) -> float:
        """How many pages lie between so many points, about."""
        return steps * self.density.keys_per_step / self.page_keys


def fitting(pages: float, at_once: int) -> int:
    """How many pages a range is to have, where there are so many in all."""
    return min(max(int(pages / at_once / _RANGES_PER_REQUEST), _FEWEST_PAGES), MOST_PAGES)


def around(directory: str, prefix: str) -> str | None:
    """The directory around another one, or None if that lies outside of ``prefix``."""
    found = directory[: directory.rfind("/", 0, -1) + 1]
    return found if len(prefix) <= len(found) < len(directory) else None


def next_look(keys: Sequence[str], prefix: str, looked: str | None) -> Look | None:
    """The look that divides best what follows the last of ``keys``, if there is one.

    Args:
        keys: the last ones that are known, in order.
        prefix: what is listed.
        looked: the deepest directory around those keys, or around earlier ones, that has been looked at.
    """
    last = keys[-1]
    while looked is not None and not last.startswith(looked):
        looked = around(looked, prefix)
    directory = prefix
    if looked is not None:
        directory = last[: last.find("/", len(looked)) + 1]
    # Among the files of a directory there is nothing to look at, before its next sub-directory is reached.
    cut = len(directory)
    if cut < len(looked or "") or "/" not in last[cut:]:
        return None
    inside = [key for key in keys if key.startswith(directory)]
    children = {key[cut : key.find("/", cut) + 1] or key for key in inside}
    # The first and the last of them are cut, so what counts is how often one ends and the next begins.
    return Look(directory, Density(len(inside), max(1, len(children) - 1)))
