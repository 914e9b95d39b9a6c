"""The buckets of one caller, and how its endpoint is reached.

botocore asks for the buckets: they are asked for once, and lie at no bucket's address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import botocore
import pycurl

from pos3.profiles import Profile
from pos3.store.base import UNSIGNED, Route
from pos3.store.clock import seconds_of
from pos3.store.endpoints import shown_address
from pos3.store.s3.client import Connection, session_credentials
from pos3.store.s3.errors import translating
from pos3.store.s3.proxies import proxy_of
from pos3.store.silence import mentioning_silence


class Bucket(NamedTuple):
    """``created`` is None where the store does not tell it."""

    name: str
    created: datetime | None


@dataclass(frozen=True)
class Buckets:
    """All buckets that a caller owns, in the order of the store.

    ``server_time`` is the time of the store's clock, in seconds since the epoch; 0 if it does not tell.
    """

    found: list[Bucket]
    server_time: float


def list_buckets(profile: Profile | None) -> Buckets:
    """See :func:`pos3.store.list_buckets`."""
    connection = Connection(profile)
    found: list[Bucket] = []
    more: dict[str, Any] = {}
    endpoint = connection.shown_endpoint
    with translating(f"the list of buckets at {endpoint}"), mentioning_silence(endpoint):
        while True:
            answer = connection.client.list_buckets(**more)
            found += [Bucket(item["Name"], item.get("CreationDate")) for item in answer.get("Buckets", ())]
            if not answer.get("ContinuationToken"):
                date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
                return Buckets(found, seconds_of(date))
            more = {"ContinuationToken": answer["ContinuationToken"]}


def route_of(profile: Profile | None) -> Route:
    """See :func:`pos3.store.route_of`."""
    connection = Connection(profile)
    name, proxy = connection.profile.local_name, proxy_of(connection.endpoint)
    is_public = connection.profile.public
    return Route(
        connection.shown_endpoint,
        region=connection.region,
        profile=name,
        credentials=UNSIGNED if is_public else session_credentials(connection, f"profile {name!r}").method,
        aws_profile=connection.profile.aws_profile or "",
        proxy=shown_address(proxy) if proxy else "",
    )


def versions() -> dict[str, str]:
    """The versions of the libraries that ask S3, by their names."""
    parts = [part.partition("/") for part in pycurl.version.split()]
    return {"botocore": botocore.__version__, **{name: number for name, _, number in parts[:3]}}
