"""From a profile to a session, and to what libcurl needs to be the same caller."""

from __future__ import annotations

import functools
import os
import re
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.loaders
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from pos3.errors import CredentialsError
from pos3.profiles import Profile
from pos3.store.s3.errors import translating

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 20
DEFAULT_REGION = "us-east-1"
# What a server says becomes a part of the host's name.
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
DEFAULT_PROFILE = Profile(local_name="default", endpoint=None)


class Connection:
    """A session with its credentials, and a client where only that knows the endpoint or a bucket's region.

    The ambient AWS configuration is read only where the profile leaves a choice.
    """

    def __init__(self, profile: Profile | None):
        """
        Raises:
            ProfileError: the AWS profile does not exist.
        """
        self.profile = profile or DEFAULT_PROFILE
        self._lock = threading.RLock()
        self._regions: dict[str, str] = {}
        with self._translating():
            self.session = _botocore_session(self.profile.aws_profile)
            self.session.get_scoped_config()
        if self.profile.access_key is not None:
            self.session.set_credentials(self.profile.access_key, self.profile.secret_key, self.profile.session_token)
        if self.profile.region is not None:
            self.session.set_config_variable("region", self.profile.region)

    def _translating(self) -> AbstractContextManager[None]:
        return translating(f"profile {self.profile.local_name!r}")

    @functools.cached_property
    def client(self) -> Any:
        """The boto3 client. Importing boto3 and making one costs more than many a transfer."""
        with self._lock, self._translating():
            return _client(self.session, self.profile)

    @property
    def _named_endpoint(self) -> str:
        """The endpoint, as far as it is plain without a client; "" if botocore has to find it."""
        if self.profile.endpoint:
            return self.profile.endpoint
        if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            return ""
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""

    @property
    def endpoint(self) -> str:
        return self._named_endpoint or str(self.client.meta.endpoint_url)

    @property
    def shown_endpoint(self) -> str:
        """The endpoint as it may be shown."""
        return shown_address(self.endpoint)

    @property
    def region(self) -> str:
        # A region is needed to sign, but a custom endpoint has none: us-east-1 is what such servers take.
        return str(self.session.get_config_variable("region") or DEFAULT_REGION)

    def region_of(self, bucket: str) -> str:
        """The region that a bucket is in: signatures must name it, and only there requests need no redirect."""
        if not self.is_aws:
            return self.region
        if bucket not in self._regions:
            with translating(f"s3://{bucket}/"):
                try:
                    answer = self.client.head_bucket(Bucket=bucket)
                except ClientError as error:
                    # A refusal carries the region as well; a server that is too busy for an answer does not.
                    answer = error.response
                    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                        raise
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            told = str(headers.get("x-amz-bucket-region", ""))
            self._regions[bucket] = told if _REGION.fullmatch(told) else self.region
        return self._regions[bucket]

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
            verify = self.session.get_config_variable("ca_bundle") or True
        return str(Path(verify).expanduser()) if isinstance(verify, str) else verify

    def is_virtual_hosted(self, bucket: str) -> bool:
        """Whether requests go to bucket.host; a dot in the name would not match the certificate of that."""
        style = self.profile.addressing_style
        return "." not in bucket and (style == "virtual" or (style == "auto" and self.is_aws))


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


def shown_address(url: str) -> str:
    """A URL, which need have no scheme, without what may be secret in it."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{re.split('[?#]', rest.rpartition('@')[2])[0]}"


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _client(session: Any, profile: Profile) -> Any:
    import boto3.session

    config = Config(
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        tcp_keepalive=True,
        s3={"addressing_style": profile.addressing_style},
        user_agent_extra="pos3",
        **({"signature_version": UNSIGNED} if profile.public else {}),
    )
    region = None if session.get_config_variable("region") else DEFAULT_REGION
    verify = str(Path(profile.verify).expanduser()) if isinstance(profile.verify, str) else profile.verify
    return boto3.session.Session(botocore_session=session).client(
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
