"""The name of the endpoint of a profile. It needs no request and no client."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pos3.errors import ProfileError
from pos3.profiles import Profile

# In each of these partitions, a bucket name means another bucket.
_PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe", "eusc-")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def endpoint_of(scheme: str, profile: Profile | None) -> str:
    """A text that is the same for the same endpoint, and different for another one.

    It is "" for AWS, and has no secret.

    For S3, it is made from :func:`named_endpoint`. A separate partition of AWS, such as China, is an endpoint of its
    own. URLs of other schemes contain their endpoint, so the text is "".

    Raises:
        ProfileError: the profile names an AWS profile that does not exist, or the endpoint is no URL.
    """
    if scheme != "s3":
        return ""
    if profile is not None and profile.endpoint:
        return _normal(profile.endpoint)
    from pos3.store.s3.client import Connection

    return endpoint_in(Connection(profile).session, profile)


def endpoint_in(session: Any, profile: Profile | None) -> str:
    """The same as :func:`endpoint_of`, from a botocore session of the profile."""
    if named := named_endpoint(session, profile):
        return _normal(named)
    region = str((profile.region if profile is not None else None) or session.get_config_variable("region") or "")
    return next((f"aws:{prefix.rstrip('-')}" for prefix in _PARTITIONS if region.startswith(prefix)), "")


def named_endpoint(session: Any, profile: Profile | None) -> str:
    """The URL of the endpoint that the user has set, with its scheme in lower case; "" for AWS.

    It is the endpoint of the profile. If there is none, it is looked for as by boto3: ``AWS_ENDPOINT_URL_S3``,
    ``AWS_ENDPOINT_URL``, the section ``services`` of the AWS configuration file, and ``endpoint_url`` there.

    Raises:
        ProfileError: it is no URL of HTTP, or the section does not exist.
    """
    if profile is not None and profile.endpoint:
        return _checked(profile.endpoint, f"profile {profile.local_name!r}")
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return ""
    return next((_checked(url, named_by) for named_by, url in _configured(session) if url), "")


def _configured(session: Any) -> Iterator[tuple[str, str]]:
    """Configured endpoints with the names of their settings. The first one that is not empty counts."""
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        yield variable, os.environ.get(variable, "")
    settings = session.get_scoped_config()
    section = settings.get("services")
    services = session.full_config.get("services", {})
    if section is not None and not services.get(section):
        raise ProfileError(f"the AWS configuration file has no section [services {section}], which a profile names")
    of_s3 = services.get(section, {}).get("s3", {})
    yield f"[services {section}]", of_s3.get("endpoint_url", "") if isinstance(of_s3, dict) else ""
    yield "endpoint_url of the AWS configuration file", settings.get("endpoint_url", "")


def _checked(url: str, named_by: str) -> str:
    found = _SCHEME.match(url)
    try:
        parts = urlsplit(url)
        is_url = found is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if found is None or not is_url:
        raise ProfileError(
            f"{named_by}: the endpoint {shown_address(url)!r} is no URL; write it as https://host or http://host"
        )
    return found[0].lower() + url[found.end() :]


def shown_address(url: str) -> str:
    """A URL, with or without a scheme, in which secrets are masked."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{re.split('[?#]', rest.rpartition('@')[2])[0]}"


def _normal(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{separator}{host.rpartition('@')[2].lower()}{slash}{path}".rstrip("/")
