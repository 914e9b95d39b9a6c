"""Finds the local roots of a cache that mirror a location, or one above it."""

from __future__ import annotations

from collections.abc import Iterator

from pos3.state import Index, Place, root_indexes
from pos3.url import Location


def indexes_with(cache_root: str, endpoint: str, location: Location) -> Iterator[tuple[Index, str]]:
    """The index of each local root that mirrors the location, or one above it, and the path of the location in it."""
    for root in root_indexes(cache_root):
        for place in (known.place for known in root.places()):
            below = _path_below(place, location)
            if below is not None and place.endpoint in (None, endpoint):
                yield Index(root, place), below


def _path_below(place: Place, location: Location) -> str | None:
    """The path of a location relative to a place, or None if it does not lie there."""
    url = str(location)
    if place.url == url:
        return ""
    return url[len(place.url) + 1 :] if url.startswith(f"{place.url}/") else None
