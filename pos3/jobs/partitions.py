"""Divides the objects at a URL into parts, by one listing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from pos3.errors import InvalidArgumentError, RemoteNotFoundError
from pos3.jobs.fingerprints import is_never_content
from pos3.parts import Block, Part, cut_by_count, cut_by_size
from pos3.reports import parse_bytes
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location

Cut = Callable[[Iterable[tuple[str, int, int]]], list[Block]]


def check_division(parts: object, max_bytes: object) -> Cut:
    """How :meth:`pos3.Mirror.partition` is to cut a listing.

    Raises:
        InvalidArgumentError: not exactly one of both is given, or it is no such number.
    """
    if (parts is None) == (max_bytes is None):
        raise InvalidArgumentError(
            "partition() needs either parts=..., the number of parts, or max_bytes=..., the most bytes of one part"
        )
    if parts is not None:
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            raise InvalidArgumentError(f"parts={parts!r}: expected a whole number of at least 1", argument="parts")
        return partial(cut_by_count, count=parts)
    return partial(cut_by_size, max_bytes=_checked_bytes(max_bytes))


def _checked_bytes(max_bytes: object) -> int:
    expected = f"max_bytes={max_bytes!r}: expected a number of bytes above 0, or a size such as '10GB'"
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, (int, str)):
        raise InvalidArgumentError(expected, argument="max_bytes")
    try:
        size_bytes = parse_bytes(max_bytes)
    except (ValueError, OverflowError):
        size_bytes = 0
    if size_bytes < 1:
        raise InvalidArgumentError(expected, argument="max_bytes")
    return size_bytes


def parts_of(store: Store, location: Location, whole: Part, cut: Cut) -> list[Part]:
    """The parts of the objects at ``location``, in order.

    Args:
        whole: the part with all of them; it has the URL and the patterns.

    Raises:
        RemoteNotFoundError: there are no objects.
    """
    listing = _Listing(store, location, whole.filter.predicate())
    blocks = twice_if_unsorted(lambda: cut(listing.objects()))
    if not listing.has_objects:
        raise RemoteNotFoundError(
            f"{whole.url}: there is no object at this URL, and none below it. Check the URL", url=whole.url
        )
    # With a slash at its end, the URL stays that of the prefix, also if an object of its name comes later.
    url = whole.url if listing.is_object or location.is_prefix else f"{whole.url}/"
    untils = [block.until for block in blocks[:-1]]
    return [
        replace(
            whole,
            url=url,
            after=after,
            until=until,
            index=index,
            count=len(blocks),
            files=block.files,
            size_bytes=block.size_bytes,
        )
        for index, (after, until, block) in enumerate(zip(["", *untils], [*untils, ""], blocks, strict=True))
    ]


class _Listing:
    """One listing, of which it remembers what was found."""

    def __init__(self, store: Store, location: Location, takes_part: Callable[[str], bool]):
        self._store = store
        self._location = location
        self._takes_part = takes_part
        self.has_objects = False
        self.is_object = False

    def objects(self) -> Iterator[tuple[str, int, int]]:
        """The path, the bytes and the number of files of what takes part."""
        takes_part = self._takes_part
        for entry in self._store.entries(self._location.key, is_prefix=self._location.is_prefix):
            path = entry[0]
            if not self.has_objects:
                self.has_objects, self.is_object = True, not path
            if takes_part(path) and not is_never_content(path):
                yield path, entry[1], 0 if path[-1:] == "/" else 1
