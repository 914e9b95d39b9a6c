"""Finds the local roots of a cache that mirror a location, or one above it."""

from __future__ import annotations

from collections.abc import Iterator

from pos3.state import Index, Place, root_indexes
from pos3.store import present_endpoint
from pos3.url import Location


def indexes_with(
    cache_root: str, endpoint: str, location: Location, *, of_any_time: bool = False
) -> Iterator[tuple[Index, str]]:
    """The index of each local root that mirrors the location, or one above it, and the path of the location in it.

    Args:
        of_any_time: also roots with the state of another time than that of ``endpoint``.
    """
    for root in root_indexes(cache_root):
        for place in (known.place for known in root.places()):
            below = _path_below(place, location)
            known = present_endpoint(place.endpoint) if of_any_time and place.endpoint else place.endpoint
            if below is not None and known in (None, present_endpoint(endpoint) if of_any_time else endpoint):
                yield Index(root, place), below


def _path_below(place: Place, location: Location) -> str | None:
    """The path of a location relative to a place, or None if it does not lie there."""
    url = str(location)
    if place.url == url:
        return ""
    return url[len(place.url) + 1 :] if url.startswith(f"{place.url}/") else None
