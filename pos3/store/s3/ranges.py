"""PURE. Divides a listing into ranges of keys.

Their pages can be requested at the same time, and are put in order again.

The borders of ranges may be outdated. Every key belongs to exactly one range, so a bad border costs requests, but loses
no object. A range ends when a page shows the key that follows it, and the next range must begin with this key. So no
key is lost if the store does not begin where it was asked to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import lt

from pos3.errors import StoreError
from pos3.store.base import Landmarks, UnsortedListingError
from pos3.store.s3.borders import MOST_PAGES, Density, Directories, Known, Look, Run, around, fitting, next_look
from pos3.store.s3.page import Page

# Listings of directories for borders, as a share of the received pages. This number is always allowed.
_FREE_LOOKS, _PAGES_PER_LOOK = 2, 20
# For a shorter range, listing directories is not useful.
_PAGES_BEFORE_LOOK = 3
# Ranges at their longest, half way on average; a page takes a third of a megabyte.
_MOST_HELD_PAGES = 64


class StartAfterError(StoreError):
    """The store does not begin a listing where it was asked to. Its pages can only be requested one after the other."""


@dataclass(eq=False, slots=True)
class _Range:
    """The keys after ``after`` and up to ``until`` ("" for the end), which are requested page by page.

    ``last`` is the last key of its pages so far. ``looked`` is the deepest directory around it that was listed for
    borders, and ``look`` is the next directory to list. ``first_key`` is the first key of its pages. ``next_key`` is
    the first key after its end: "" if there is none, None as long as no page has shown it.
    """

    after: str
    until: str
    last: str
    looked: str | None = None
    run: Run | None = None
    steps: int = 0
    expected_pages: float = 0.0
    look: Look | None = None
    pages: deque[Page] = field(default_factory=deque)
    token: str = ""
    received_pages: int = 0
    received_keys: int = 0
    is_asked: bool = False
    first_key: str = ""
    next_key: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all its pages are there, and the first key of the next range is known."""
        return self.next_key is not None


@dataclass(frozen=True, eq=False, slots=True)
class Wanted:
    """A page to request: after ``token``, or else after ``after``. With a delimiter, it lists directories."""

    prefix: str
    after: str
    token: str
    delimiter: str
    range: _Range
    look: Look | None = None


class Ranges:
    """The listing of the keys below ``prefix`` after its first page.

    Args:
        first: a page with at least two keys that is not the last one.
        most_wanted: the maximum number of pages that are requested at the same time.
        until: the last key that is needed; "" for all. It lies after the first page.
    """

    def __init__(self, prefix: str, first: Page, landmarks: Landmarks, most_wanted: int, until: str = ""):
        self._prefix = prefix
        self._most_wanted = most_wanted
        self._most_held = min(most_wanted * MOST_PAGES // 2, _MOST_HELD_PAGES)
        self._page_keys = len(first.entries)
        # What is asked for first begins one key early: if it shows that key, and none before, then the store begins
        # where it is asked to.
        before, self._proof = (entry.path for entry in first.entries[-2:])
        # That key and the one behind the border are in its page, too.
        border = landmarks(self._proof, max(1, self._page_keys - 2))
        if _is_beyond(border, until):
            border = ""
        self._segments: list[_Range | Run] = [
            _Range(before, border or until, before, expected_pages=1.0 if border else 0.0, received_pages=1)
        ]
        if border:
            self._segments.append(Run(border, until, Known(landmarks, border), Density(1.0), self._page_keys))
        self._seam: str | None = None
        self._received = 1
        self._looks = 0
        self._wanted = 0
        self._held = 0

    @property
    def is_done(self) -> bool:
        return not self._segments

    @property
    def is_proven(self) -> bool:
        """Whether the store has shown that it begins where it is asked to."""
        return not self._proof

    def wanted(self) -> Iterator[Wanted]:
        """The pages to request now, in the order in which they are needed."""
        while self._wanted < self._most_wanted and (wanted := self._next_wanted()) is not None:
            self._wanted += 1
            yield wanted

    def _next_wanted(self) -> Wanted | None:
        at, promised = 0, 0.0
        while at < len(self._segments):
            has_room = not at or self._held + self._wanted + promised < self._most_held
            if isinstance(self._segments[at], Run):
                if not has_room:
                    return None
                self._open(at)
            segment = self._segments[at]
            assert isinstance(segment, _Range)
            if segment.look is not None and self._looks < _FREE_LOOKS + self._received // _PAGES_PER_LOOK:
                self._looks += 1
                look, segment.look = segment.look, None
                return Wanted(look.directory, segment.last, "", "/", segment, look)
            if not segment.is_asked and not segment.is_whole:
                if not has_room:
                    return None
                segment.is_asked = True
                return Wanted(self._prefix, segment.last, segment.token, "", segment)
            if at and not segment.is_whole:
                # A range that is needed earlier goes before later ones; half of what it still needs will have been
                # taken by then.
                promised += max(0.0, segment.expected_pages - segment.received_pages - 1) / 2
            at += 1
        return None

    def _open(self, at: int) -> None:
        """Makes the first part of a run a range."""
        run = self._segments[at]
        assert isinstance(run, Run)
        steps = run.steps()
        point = run.points.skip(steps)
        if point and run.after < point and not _is_beyond(point, run.until):
            opened = _Range(run.after, point, run.after, run.looked, run, steps, run.pages(steps))
            run.after = point
            self._segments.insert(at, opened)
            return
        rest = _Range(run.after, run.until, run.after, run.looked, expected_pages=run.pages(steps))
        if run.cut is not None:
            rest.looked, rest.look = around(run.cut.directory, self._prefix), run.cut
        self._segments[at] = rest

    def take(self) -> Page | None:
        """The next page in order, or None if it has not come yet.

        Raises:
            StartAfterError: a range does not begin with the key that follows the range before it.
        """
        while self._segments:
            head = self._segments[0]
            if isinstance(head, Run) or not (head.pages or head.is_whole):
                return None
            if self._seam is not None and self._seam != head.first_key:
                # A key was added or deleted at this border, or the store does not list in order.
                raise StartAfterError(f"{head.first_key!r} follows {head.after!r}, and not {self._seam!r}")
            self._seam = None
            if head.pages:
                self._held -= 1
                return head.pages.popleft()
            self._seam = head.next_key
            del self._segments[0]
        return None

    def answered(self, wanted: Wanted, page: Page) -> None:
        """Adds a page that was requested.

        Raises:
            StartAfterError: the store does not begin where it is asked to.
            UnsortedListingError: the store lists in another order.
        """
        self._wanted -= 1
        if wanted.look is not None:
            self._split(wanted.range, wanted.look, page)
            return
        found = wanted.range
        found.is_asked = False
        self._received += 1
        found.received_pages += 1
        keys = [entry.path for entry in page.entries]
        begin = 0
        # The first page of a range may be empty although more pages follow.
        begins = bool(keys or not page.next_token) and not found.first_key
        if self._proof and begins and self._segments[0] is found:
            if keys[:1] != [self._proof]:
                raise StartAfterError(f"the listing after {wanted.after!r} does not begin with {self._proof!r}")
            self._proof, begin = "", 1
        if keys and begins and keys[0] <= found.after:
            raise StartAfterError(f"the listing after {found.after!r} begins with {keys[0]!r}")
        if keys and not (found.last < keys[0] and all(map(lt, keys, keys[1:]))):
            raise UnsortedListingError(f"the listing of {self._prefix!r}: keys are not listed in order")
        end = bisect_right(keys, found.until) if found.until else len(keys)
        if keys:
            found.first_key = found.first_key or keys[0]
        found.next_key = keys[end] if end < len(keys) else None if page.next_token else ""
        if begin < end:
            found.pages.append(replace(page, entries=page.entries[begin:end]))
            self._held += 1
            found.received_keys += end - begin
            found.last = keys[end - 1]
        found.token = page.next_token
        if found.next_key == "":
            self._end_behind(found)
        if found.is_whole:
            found.look = None
            if found.run is not None and found.steps:
                found.run.density.learn(found.received_keys, found.steps)
        elif found.received_pages >= max(_PAGES_BEFORE_LOOK, 2 * found.expected_pages):
            found.look = next_look(keys, self._prefix, found.looked) if keys else None

    def _end_behind(self, found: _Range) -> None:
        """Drops ranges that were not requested yet, because a range has shown that no key follows it."""
        at = self._segments.index(found) + 1
        begun = []
        for segment in self._segments[at:]:
            if isinstance(segment, _Range) and (segment.is_asked or segment.received_pages):
                begun.append(segment)
            elif isinstance(segment, _Range):
                segment.next_key = ""
        self._segments[at:] = begun

    def look_failed(self, wanted: Wanted) -> None:
        """Lists no more directories for borders, because one such request has failed."""
        self._wanted -= 1
        self._looks = 1 << 62
        wanted.range.look = None

    def _split(self, found: _Range, look: Look, page: Page) -> None:
        """Divides the rest of a range at the directories that were found."""
        if found.is_whole:
            return
        found.looked, found.look = look.directory, None
        is_cut = bool(page.next_token)
        points = sorted(
            point for point in page.directories if point > found.last and not _is_beyond(point, found.until)
        )
        run = Run(found.last, found.until, Directories(points, is_cut), look.density, self._page_keys)
        run.looked, run.cut = look.directory, look if is_cut else None
        pages = max(run.pages(len(points)), self._received)
        run.most_pages = MOST_PAGES if is_cut else fitting(pages, self._most_wanted)
        steps = run.steps()
        point = run.points.skip(steps)
        if not point:
            return
        run.after = found.until = point
        found.run = None
        found.expected_pages = found.received_pages + run.pages(steps)
        self._segments.insert(self._segments.index(found) + 1, run)


def _is_beyond(key: str, until: str) -> bool:
    return until != "" and key >= until
