"""What lies at a URL, as one short text."""

from __future__ import annotations

import hashlib

from pos3.filters import Filter
from pos3.store import Store, UnsortedListingError
from pos3.url import Location


def fingerprint(store: Store, location: Location, chosen: Filter) -> str | None:
    """Equal exactly when the same paths with the same sizes and ETags lie there; None if nothing does.

    Costs a listing, and memory for one page of it.
    """
    try:
        return _digest(store, location, chosen)
    except UnsortedListingError:
        return _digest(store, location, chosen)


def _digest(store: Store, location: Location, chosen: Filter) -> str | None:
    takes_part = chosen.predicate()
    digest = hashlib.sha256()
    is_empty = True
    for entry in store.entries(location.key, is_prefix=location.is_prefix):
        if takes_part(entry.path):
            is_empty = False
            digest.update(repr((entry.path, entry.size_bytes, entry.etag)).encode("utf-8", "surrogatepass"))
    return None if is_empty else digest.hexdigest()
