"""From a profile to a boto3 session and client, and to what obstore needs to be the same caller."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config

from pos3.errors import CredentialsError
from pos3.profiles import Profile
from pos3.store.s3_errors import translating

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 20
_LONGEST_CACHED = timedelta(minutes=10)
DEFAULT_PROFILE = Profile(local_name="default", endpoint=None)


@dataclass(frozen=True)
class Connection:
    """A boto3 client with the session it came from, and the profile that made both."""

    client: Any
    session: boto3.session.Session
    profile: Profile

    @property
    def endpoint(self) -> str:
        return str(self.client.meta.endpoint_url)

    @property
    def is_aws(self) -> bool:
        return _is_aws(self.endpoint)

    @property
    def is_plain_http(self) -> bool:
        return self.endpoint.startswith("http://")


def connect(profile: Profile | None, max_connections: int) -> Connection:
    """A client of its own session; the ambient AWS configuration is read only where the profile leaves a choice."""
    settings = profile or DEFAULT_PROFILE
    with translating(f"profile {settings.local_name!r}"):
        session = boto3.session.Session(
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            aws_session_token=settings.session_token,
            region_name=settings.region,
            profile_name=settings.aws_profile,
            botocore_session=_botocore_session(settings.aws_profile),
        )
        # Servers behind one host name seldom answer to bucket.host, so path style is what works.
        style = (
            "path" if settings.addressing_style == "auto" and _names_a_server(settings) else settings.addressing_style
        )
        connection = Connection(_client(session, settings, max_connections, style), session, settings)
        if connection.is_aws or style != "auto":
            return connection
        return Connection(_client(session, settings, max_connections, "path"), session, settings)


def _botocore_session(aws_profile: str | None) -> Any:
    session = botocore.session.Session(profile=aws_profile)
    models = _service_models(session.get_config_variable("data_path"))
    # boto3 adds its own directory for each session.
    models.search_paths[:] = dict.fromkeys(models.search_paths)
    session.register_component("data_loader", models)
    return session


@functools.cache
def _service_models(data_path: str | None) -> Any:
    """What botocore knows of AWS's services, for all sessions: each would spend tens of milliseconds to parse it."""
    return botocore.loaders.create_loader(data_path)


def _names_a_server(profile: Profile) -> bool:
    """Whether it is plain, before a client is made, that the endpoint is not AWS itself."""
    endpoint = profile.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return bool(endpoint) and not _is_aws(endpoint)


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _client(session: boto3.session.Session, profile: Profile, max_connections: int, style: str) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        max_pool_connections=max_connections,
        tcp_keepalive=True,
        s3={"addressing_style": style},
        # Many S3-compatible servers reject the checksums that boto3 adds by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="pos3",
        **({"signature_version": UNSIGNED} if profile.public else {}),
    )
    # A region is needed to sign, but a custom endpoint has none: us-east-1 is what such servers take.
    region = None if session.region_name else "us-east-1"
    verify = str(Path(profile.verify).expanduser()) if isinstance(profile.verify, str) else profile.verify
    return session.client(
        "s3",
        endpoint_url=profile.endpoint,
        region_name=region,
        config=config,
        **({} if verify is True else {"verify": verify}),
    )


def obstore_config(connection: Connection, bucket: str, region: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and client options with which obstore acts as the same caller on ``bucket``."""
    profile = connection.profile
    endpoint = connection.endpoint
    config: dict[str, Any] = {"region": region}
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_SECONDS),
        "allow_http": connection.is_plain_http,
        "user_agent": "pos3",
    }
    virtual = profile.addressing_style == "virtual" or (connection.is_aws and profile.addressing_style == "auto")
    # A dot in the name would not match the certificate of bucket.host.
    virtual = virtual and "." not in bucket
    config["virtual_hosted_style_request"] = virtual
    if not connection.is_aws:
        scheme, host = endpoint.split("://", 1)
        config["endpoint"] = f"{scheme}://{bucket}.{host}" if virtual else endpoint
    if profile.public:
        config["skip_signature"] = True
    if profile.requester_pays:
        config["request_payer"] = True
    if profile.server_side_encryption or profile.sse_kms_key_id:
        config["server_side_encryption"] = profile.server_side_encryption or "aws:kms"
    if profile.sse_kms_key_id:
        config["sse_kms_key_id"] = profile.sse_kms_key_id
    if profile.verify is False:
        options["allow_invalid_certificates"] = True
    bundle = (
        profile.verify
        if isinstance(profile.verify, str)
        else connection.session._session.get_config_variable("ca_bundle")
    )
    if bundle:
        options["root_certificate"] = Path(bundle).expanduser().read_bytes()
    return config, options


def credential_provider(connection: Connection, where: str) -> Callable[[], Any]:
    """A function that gives obstore the session's credentials of this moment, refreshed by botocore.

    Raises:
        CredentialsError: there are none.
    """
    with translating(where):
        credentials = connection.session.get_credentials()
    if credentials is None:
        raise CredentialsError(
            f"{where}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, "
            "or use a profile with public=True"
        )

    def current() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        expires_at = datetime.now(UTC) + _LONGEST_CACHED
        known_expiry = getattr(credentials, "_expiry_time", None)
        if known_expiry is not None:
            expires_at = min(expires_at, known_expiry.astimezone(UTC))
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": expires_at,
        }

    return current
