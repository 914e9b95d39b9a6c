"""From a profile to a boto3 session and client, and to what libcurl needs to be the same caller."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
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

    @property
    def ca_bundle(self) -> str | bool:
        """The path of the certificates to trust; True for the usual ones, False for no check at all."""
        verify = self.profile.verify
        if verify is True:
            verify = self.session._session.get_config_variable("ca_bundle") or True
        return str(Path(verify).expanduser()) if isinstance(verify, str) else verify

    def is_virtual_hosted(self, bucket: str) -> bool:
        """Whether requests go to bucket.host; a dot in the name would not match the certificate of that."""
        style = self.profile.addressing_style
        return "." not in bucket and (style == "virtual" or (style == "auto" and self.is_aws))


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


def session_credentials(connection: Connection, where: str) -> Any:
    """botocore's credentials of the session; their ``get_frozen_credentials()`` refreshes them when it is time.

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
    return credentials
