"""Which endpoint a profile means, as a text that tells it from others. No request is made for it, and no client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pos3.profiles import Profile

# There, the same bucket name is another bucket.
_PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe", "eusc-")


def endpoint_of(scheme: str, profile: Profile | None) -> str:
    """The same text for the same endpoint, whoever asks there, and "" for AWS itself. It holds no secret.

    For S3 it is made of the profile's endpoint; else, as boto3 does, of ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``,
    or ``endpoint_url`` in the AWS configuration file. Of AWS itself, a partition such as that of China counts as an
    endpoint of its own. URLs of other schemes say all by themselves.

    Raises:
        ProfileError: the profile names an AWS profile that does not exist.
    """
    if scheme != "s3":
        return ""
    if named := _named(profile, os.environ):
        return named
    from pos3.store.s3.client import Connection

    return endpoint_in(Connection(profile).session, profile)


def endpoint_in(session: Any, profile: Profile | None) -> str:
    """What :func:`endpoint_of` gives, from a botocore session of the profile."""
    if named := _named(profile, os.environ) or _configured(session):
        return named
    region = str((profile.region if profile is not None else None) or session.get_config_variable("region") or "")
    return next((f"aws:{prefix.rstrip('-')}" for prefix in _PARTITIONS if region.startswith(prefix)), "")


def _named(profile: Profile | None, environment: Mapping[str, str]) -> str:
    if profile is not None and profile.endpoint:
        return _normal(profile.endpoint)
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    return _normal(environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or "")


def _configured(session: Any) -> str:
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return ""
    settings = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(settings.get("services"), {})
    of_s3 = services.get("s3", {})
    return _normal((of_s3.get("endpoint_url") if isinstance(of_s3, dict) else "") or settings.get("endpoint_url") or "")


def _normal(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{separator}{host.rpartition('@')[2].lower()}{slash}{path}".rstrip("/")
