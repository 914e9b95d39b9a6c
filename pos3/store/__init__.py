"""Stores: one protocol for S3 (through libcurl) and for every other URL scheme (through fsspec).

A store lists, downloads, uploads and deletes objects of one bucket. It repeats requests whose failure may be temporary.
:mod:`pos3.plan` and :mod:`pos3.transfer` decide what is done, and in which order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pos3.profiles import Profile
from pos3.store.apart import carried_out
from pos3.store.base import (
    UNLIMITED,
    CancelToken,
    KeyRefusedError,
    Landmarks,
    Moved,
    RangeNotes,
    Rate,
    Route,
    Store,
    Survey,
    TellChecksum,
    UnsortedListingError,
    Version,
    directly_below,
    nothing_known,
    present_endpoint,
    twice_if_unsorted,
)
from pos3.store.endpoints import endpoint_of
from pos3.store.offline import OfflineStore
from pos3.store.retry import is_shared, is_unreachable
from pos3.store.tasks import ended
from pos3.url import Location

if TYPE_CHECKING:
    from pos3.store.s3.buckets import Buckets

__all__ = [
    "UNLIMITED",
    "CancelToken",
    "KeyRefusedError",
    "Landmarks",
    "Moved",
    "OfflineStore",
    "RangeNotes",
    "Rate",
    "Route",
    "Store",
    "Survey",
    "TellChecksum",
    "UnsortedListingError",
    "Version",
    "carried_out",
    "directly_below",
    "ended",
    "endpoint_of",
    "has_checksum",
    "is_shared",
    "is_unreachable",
    "list_buckets",
    "nothing_known",
    "open_store",
    "present_endpoint",
    "route_of",
    "twice_if_unsorted",
    "versions_of_libraries",
]


def open_store(location: Location, profile: Profile | None, max_workers: int | None) -> Store:
    """The store that holds ``location``. The SDKs of cloud providers are imported here, and not earlier.

    Args:
        max_workers: the maximum number of requests of one call at the same time; None lets the store find the number.
    Raises:
        ProfileError, CredentialsError: the profile cannot be used.
        InvalidURLError: no installed package knows the URL's scheme.
    """
    if location.scheme == "s3":
        from pos3.store.s3.store import S3Store

        return S3Store(location.bucket, profile, max_workers)
    from pos3.store.fsspec import FsspecStore

    return FsspecStore(location.scheme, location.bucket, profile)


def list_buckets(profile: Profile | None) -> Buckets:
    """All buckets that belong to the account of a profile.

    Raises:
        AccessDeniedError, CredentialsError, EndpointError, ProfileError
    """
    from pos3.store.s3 import buckets

    return buckets.list_buckets(profile)


def route_of(profile: Profile | None) -> Route:
    """How the endpoint of a profile is reached. No request is made for it.

    Raises:
        CredentialsError, ProfileError
    """
    from pos3.store.s3 import buckets

    return buckets.route_of(profile)


def versions_of_libraries() -> dict[str, str]:
    """The versions of the libraries that send requests to S3, by their names."""
    from pos3.store.s3 import buckets

    return buckets.versions()


def has_checksum(path: str, checksum: str) -> bool | None:
    """Whether a file has a checksum that a store returned; None if it cannot be computed here.

    Raises:
        OSError: the file cannot be read.
    """
    from pos3.store.s3.checksums import file_has

    return file_has(path, checksum)
