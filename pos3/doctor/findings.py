"""The results of a check: one value for each fact, with advice if it is bad."""

from __future__ import annotations

from dataclasses import dataclass

from pos3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    EndpointError,
    OfflineError,
    ProfileError,
    message_of,
)

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (BucketNotFoundError, "check the name of the bucket, and whether the profile is that of its endpoint"),
    (CredentialsError, "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or the profile"),
    (OfflineError, "unset POS3_OFFLINE"),
    (EndpointError, "check the endpoint (AWS_ENDPOINT_URL, or that of the profile), the network and the proxy"),
    (ProfileError, "check the profile in profiles.toml, and the AWS configuration"),
)


@dataclass(frozen=True)
class Finding:
    """One checked fact. ``advice`` says what to do, and is "" if the fact is good."""

    name: str
    is_good: bool
    told: str
    advice: str = ""


def good(name: str, told: str) -> Finding:
    return Finding(name, True, told)


def bad(name: str, told: str, advice: str) -> Finding:
    return Finding(name, False, told, advice)


def failed(name: str, error: Exception, permission: str = "") -> Finding:
    """What failed with an error.

    Args:
        permission: what the credentials must allow, such as "s3:ListBucket".
    """
    if isinstance(error, AccessDeniedError) and permission:
        advice = f"allow {permission} to these credentials"
    else:
        known = (advice for kind, advice in _ADVICE if isinstance(error, kind))
        advice = next(known, "see the message; -v shows the requests that are repeated")
    return bad(name, " ".join(message_of(error).split("\n")), advice)
