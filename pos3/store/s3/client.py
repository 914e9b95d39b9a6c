"""Makes a botocore session from a profile, and the settings that libcurl needs to send the same requests."""

from __future__ import annotations

import copy
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
from botocore.hooks import HierarchicalEmitter

from pos3.errors import CredentialsError
from pos3.profiles import Profile
from pos3.store.endpoints import named_endpoint, shown_address
from pos3.store.s3.attempts import attempts_of, has_defaults_mode
from pos3.store.s3.errors import REGION, translating
from pos3.store.silence import mentioning_silence

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 20
DEFAULT_REGION = "us-east-1"
_AWS_ENDPOINT = re.compile(
    r"https?://s3(?P<accelerate>-accelerate)?(?P<fips>-fips)?(?P<dualstack>\.dualstack)?"
    r"(?:[.-](?P<region>[a-z]+(?:-[a-z]+)+-\d+))?\.amazonaws\.com(?:\.cn)?/?"
)
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")
DEFAULT_PROFILE = Profile(local_name="default", endpoint=None)


class Connection:
    """A session with its credentials.

    It makes a boto3 client only if this is needed for the endpoint or a bucket's region.

    The AWS configuration of the environment is used only for settings that the profile does not give.
    """

    def __init__(self, profile: Profile | None):
        """Makes the session.

        Raises:
            ProfileError: the AWS profile does not exist, or a setting of AWS is wrong.
        """
        self.profile = profile or DEFAULT_PROFILE
        self.lock = threading.RLock()
        self._regions: dict[str, str] = {}
        with self._translating():
            self.session = _botocore_session(self.profile.aws_profile)
            self.session.get_scoped_config()
        if self.profile.access_key is not None:
            self.session.set_credentials(self.profile.access_key, self.profile.secret_key, self.profile.session_token)
        if self.profile.region is not None:
            self.session.set_config_variable("region", self.profile.region)
        self._named_endpoint = named_endpoint(self.session, self.profile)
        self.attempts = attempts_of(self.session)

    def _translating(self) -> AbstractContextManager[None]:
        return translating(f"profile {self.profile.local_name!r}")

    @functools.cached_property
    def client(self) -> Any:
        """The boto3 client. Importing boto3 and making a client takes longer than many transfers."""
        with self.lock, self._translating():
            return _client(self)

    @functools.cached_property
    def _of_aws(self) -> re.Match[str] | None:
        """The parts of the named endpoint, if it is one of AWS; otherwise None."""
        return _AWS_ENDPOINT.fullmatch(self._named_endpoint.lower())

    @property
    def is_aws(self) -> bool:
        """Whether it is AWS, where botocore knows the address for each region."""
        return not self._named_endpoint or self._of_aws is not None

    @property
    def tells_regions(self) -> bool:
        """Whether the server can be asked for the region of a bucket:

        AWS, also through an endpoint of a private network.
        """
        return self.is_aws or (urlsplit(self._named_endpoint).hostname or "").endswith(_AWS_HOSTS)

    @property
    def client_region(self) -> str:
        """The region of the client, for buckets whose region is not known."""
        of_aws = self._of_aws
        return of_aws["region"] if of_aws is not None and of_aws["region"] else self.region

    @functools.cached_property
    def s3_settings(self) -> dict[str, Any]:
        """botocore's settings for S3, from the configuration file. Settings of the profile replace them."""
        settings = dict(self.session.get_config_variable("s3") or {})
        if self.profile.addressing_style != "auto":
            settings["addressing_style"] = self.profile.addressing_style
        return settings

    @property
    def connect_timeout_seconds(self) -> float:
        """How long a connection may take."""
        if has_defaults_mode(self.session):
            return float(self.client.meta.config.connect_timeout)
        return CONNECT_TIMEOUT_SECONDS

    @property
    def endpoint(self) -> str:
        return self._named_endpoint or str(self.client.meta.endpoint_url)

    @property
    def shown_endpoint(self) -> str:
        """The endpoint, without secrets."""
        return shown_address(self.endpoint)

    @property
    def region(self) -> str:
        # Signing needs a region. Other servers accept us-east-1 if none is set.
        return str(self.session.get_config_variable("region") or DEFAULT_REGION)

    def region_of(self, bucket: str) -> str:
        """The region of a bucket at AWS. Signatures must name it, and requests to its address need no redirect."""
        if bucket not in self._regions:
            with translating(f"s3://{bucket}/"), mentioning_silence(self.shown_endpoint):
                try:
                    answer = self.client.head_bucket(Bucket=bucket)
                except ClientError as error:
                    # An error also contains the region, unless the server is busy.
                    answer = error.response
                    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                        raise
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            told = str(headers.get("x-amz-bucket-region", ""))
            self._regions[bucket] = told if REGION.fullmatch(told) else self.client_region
        return self._regions[bucket]

    @property
    def is_plain_http(self) -> bool:
        return self._named_endpoint.startswith("http://")

    @property
    def asks_for_checksums(self) -> bool:
        """Whether the store is asked for the checksums of objects (``response_checksum_validation`` of botocore)."""
        return bool(self.session.get_config_variable("response_checksum_validation") != "when_required")

    @property
    def sends_checksums(self) -> bool:
        """Whether bodies are sent with a checksum (``request_checksum_calculation`` of botocore).

        By default, they are sent only to AWS, because some other servers do not support the headers.
        """
        name = "request_checksum_calculation"
        is_set = os.environ.get(f"AWS_{name.upper()}") or self.session.get_scoped_config().get(name)
        return self.is_aws if not is_set else bool(self.session.get_config_variable(name) == "when_supported")

    @property
    def signs_bodies(self) -> bool:
        """Whether signatures include the hash of the body. Over TLS, this is not needed."""
        return self.is_plain_http or bool(self.s3_settings.get("payload_signing_enabled"))

    @property
    def ca_bundle(self) -> str | bool:
        """The path of the trusted certificates; True for the default ones, False for no verification."""
        verify = self.profile.verify
        if verify is True:
            verify = self.session.get_config_variable("ca_bundle") or True
        return str(Path(verify).expanduser()) if isinstance(verify, str) else verify


def _botocore_session(aws_profile: str | None) -> Any:
    events = copy.copy(_builtin_handlers())
    session = botocore.session.Session(profile=aws_profile, event_hooks=events, include_builtin_handlers=False)
    models = _service_models(session.get_config_variable("data_path"))
    # boto3 adds its own directory for each session.
    models.search_paths[:] = dict.fromkeys(models.search_paths)
    session.register_component("data_loader", models)
    return session


@functools.cache
def _builtin_handlers() -> HierarchicalEmitter:
    """botocore's own event handlers. Sessions get copies, because registering them takes as long as a request."""
    events = HierarchicalEmitter()
    botocore.session.Session(event_hooks=events)
    return events


@functools.cache
def _service_models(data_path: str | None) -> Any:
    """botocore's data about AWS services, shared by all sessions. Parsing it takes tens of milliseconds."""
    return botocore.loaders.create_loader(data_path)


def _client(connection: Connection) -> Any:
    import boto3.session

    session, profile, of_aws = connection.session, connection.profile, connection._of_aws
    s3: dict[str, Any] = {} if profile.addressing_style == "auto" else {"addressing_style": profile.addressing_style}
    options: dict[str, Any] = {"signature_version": UNSIGNED} if profile.public else {}
    if of_aws is not None:
        # botocore knows the endpoints of all regions only if none is named.
        options["ignore_configured_endpoint_urls"] = True
        options |= {f"use_{kind}_endpoint": True for kind in ("dualstack", "fips") if of_aws[kind]}
        s3 |= {"use_accelerate_endpoint": True} if of_aws["accelerate"] else {}
    # With None, botocore uses its default.
    options["connect_timeout"] = None if has_defaults_mode(session) else CONNECT_TIMEOUT_SECONDS
    if connection.attempts is None:
        options["retries"] = {"mode": "standard", "total_max_attempts": 4}
    config = Config(
        read_timeout=READ_TIMEOUT_SECONDS, tcp_keepalive=True, user_agent_extra="pos3", s3=s3 or None, **options
    )
    verify = str(Path(profile.verify).expanduser()) if isinstance(profile.verify, str) else profile.verify
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=None if connection.is_aws else connection.endpoint,
        region_name=connection.client_region,
        use_ssl=not connection.is_plain_http,
        config=config,
        **({} if verify is True else {"verify": verify}),
    )


def session_credentials(connection: Connection, where: str) -> Any:
    """botocore's credentials of the session. Their ``get_frozen_credentials()`` refreshes them when this is necessary.

    Raises:
        CredentialsError: there are no credentials.
    """
    with translating(where):
        credentials = connection.session.get_credentials()
    if credentials is None:
        raise CredentialsError(
            f"{where}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, "
            "or use a profile with public=True"
        )
    return credentials
