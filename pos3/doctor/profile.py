"""Checks a profile: whether its endpoint accepts its credentials. It requests only the list of buckets."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pos3.doctor.findings import Finding, bad, failed, good
from pos3.errors import AccessDeniedError, Pos3Error
from pos3.profiles import Profile
from pos3.store import Route, list_buckets, route_of

# S3 refuses requests that are fifteen minutes off.
_MOST_SKEW_SECONDS = 60


def check_profile(profile: Profile | None) -> Iterator[Finding]:
    """Findings about a profile, or about the environment. After the first bad one, no further check is made."""
    try:
        route = route_of(profile)
        yield from route_findings(route)
        began = time.time()
        buckets = list_buckets(profile)
    except AccessDeniedError:
        yield good("buckets", "the endpoint answers; the list of buckets is not allowed to these credentials")
        return
    except Pos3Error as error:
        yield failed("endpoint", error)
        return
    took_seconds = time.time() - began
    yield good("buckets", f"{len(buckets.found)} in {took_seconds * 1000:.0f} ms")
    yield from clock_findings(buckets.server_time, began + took_seconds / 2)


def route_findings(route: Route) -> Iterator[Finding]:
    """How a store is reached. No part of it is secret."""
    told = [
        route.endpoint,
        *([f"region {route.region}"] if route.region else []),
        *([f"{route.addressing} addressing"] if route.addressing else []),
        *([f"proxy {route.proxy}"] if route.proxy else []),
    ]
    yield good("endpoint", ", ".join(told))
    if route.credentials:
        names = [route.credentials, f"profile {route.profile!r}"]
        names += [f"AWS profile {route.aws_profile!r}"] if route.aws_profile else []
        yield good("credentials", ", ".join(names))


def clock_findings(server_time: float, local_time: float) -> Iterator[Finding]:
    """The difference between the clocks; nothing if the store does not report its time.

    Args:
        server_time, local_time: the same moment by both clocks, in seconds since the epoch.
    """
    if not server_time:
        return
    ahead_seconds = local_time - server_time
    shown = f"{abs(ahead_seconds):.0f} s {'ahead of' if ahead_seconds > 0 else 'behind'} the store's"
    # A store tells whole seconds.
    if abs(ahead_seconds) < 2:
        yield good("clock", "as the store's, to the second or two")
    elif abs(ahead_seconds) <= _MOST_SKEW_SECONDS:
        yield good("clock", shown)
    else:
        yield bad("clock", shown, "set this machine's clock right (NTP): S3 refuses what is 15 minutes off")
