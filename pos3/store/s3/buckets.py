"""The buckets of one caller. botocore asks for them, since they are asked for once and lie at no bucket's address."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pos3.profiles import Profile
from pos3.store.s3.client import Connection
from pos3.store.s3.errors import translating


class Bucket(NamedTuple):
    """``created`` is None where the store does not tell it."""

    name: str
    created: datetime | None


def buckets_of(connection: Connection) -> list[Bucket]:
    """All buckets that the caller owns, in the order of the store.

    Raises:
        AccessDeniedError, CredentialsError, EndpointError
    """
    found: list[Bucket] = []
    more: dict[str, Any] = {}
    with translating("the list of buckets"):
        while True:
            answer = connection.client.list_buckets(**more)
            found += [Bucket(item["Name"], item.get("CreationDate")) for item in answer.get("Buckets", ())]
            if not answer.get("ContinuationToken"):
                return found
            more = {"ContinuationToken": answer["ContinuationToken"]}


def list_buckets(profile: Profile | None) -> list[Bucket]:
    """As :func:`buckets_of`, for a profile."""
    return buckets_of(Connection(profile))
