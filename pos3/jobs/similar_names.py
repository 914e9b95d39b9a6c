"""Finds what exists and has a name like that of a URL which does not."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pos3.profiles import Profile
from pos3.store import Store, list_buckets, open_store
from pos3.url import Location

_MOST_LEVELS = 4
_MOST_URLS = 3


def near_urls(location: Location, profile: Profile | None) -> list[str]:
    """At most three URLs of S3 with names like that of ``location``, the most similar one first.

    If nothing lies beside ``location``, the directories above it are looked at. At most eight pages of listings are
    asked for, so that not all names of a large directory are seen.

    Raises:
        The errors of a listing, and those of a profile that cannot be used.
    """
    if location.scheme != "s3":
        return []
    store = open_store(location, profile, 1)
    try:
        return _near_keys(store, location)
    finally:
        store.hang_up()


def _near_keys(store: Store, location: Location) -> list[str]:
    key = location.key
    for _ in range(_MOST_LEVELS):
        if not key:
            break
        directory, slash, name = key.rpartition("/")
        names: list[str] = []
        # Most slips leave the first letter as it is. In a large directory, this finds what the first page lacks.
        for beginning in (name[0], ""):
            names = [entry.path for entry in store.children(directory, beginning, most_pages=1)]
            if near := _closest(name, names):
                return [f"{_bucket_url(location, location.bucket)}/{directory}{slash}{found}" for found in near]
        if names:
            break
        key = directory
    return []


def near_buckets(location: Location, profile: Profile | None) -> list[str]:
    """At most three buckets of the same caller with names like that of ``location``, the most similar one first.

    Raises:
        The errors of a list of buckets, and those of a profile that cannot be used.
    """
    if location.scheme != "s3":
        return []
    names = [bucket.name for bucket in list_buckets(profile).found]
    return [f"{_bucket_url(location, name)}/{location.key}" for name in _closest(location.bucket, names)]


def _bucket_url(location: Location, bucket: str) -> str:
    return f"s3://{location.profile}@{bucket}" if location.profile else f"s3://{bucket}"


def _closest(name: str, names: Iterable[str]) -> list[str]:
    """Those of the names that are similar, whether or not they are directories, and in letters of either case."""
    by_text = {found.rstrip("/").lower(): found for found in names}
    return [by_text[text] for text in get_close_matches(name.lower(), by_text, _MOST_URLS)]
