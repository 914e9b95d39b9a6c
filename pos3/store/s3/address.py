"""Where the requests to one bucket go, and who signs them. Nothing else knows addresses, regions and credentials.

libcurl signs, connects, keeps connections and speaks TLS; credentials, endpoint, region and trust are those of the
botocore session. Paths are sent as they stand, so that every key can be addressed.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import pycurl
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from pos3.errors import CredentialsError, ProfileError, StoreError
from pos3.shown import hide
from pos3.store.s3.client import CONNECT_TIMEOUT_SECONDS, Connection, session_credentials, shown_address
from pos3.store.s3.errors import translating
from pos3.store.s3.requests import Request, can_be_sent

logger = logging.getLogger("pos3.store")

_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
# libcurl percent-encodes all others in an access key, and servers take that for another one.
_PLAIN_ACCESS_KEY = re.compile(r"[A-Za-z0-9._~-]+")
# Reading more than this at once costs more memory for each connection and saves next to nothing.
_RECEIVE_BYTES = 256 * 1024
# Neither a pause before the body, nor the type of a form. An empty list would leave the headers as they were.
_NO_HEADERS = ("Expect:", "Content-Type:")


class Caller:
    """Who calls at one moment. ``headers`` are those of all requests of this caller that libcurl sends.

    Args:
        credentials: frozen ones; None if nothing is signed.
        always: headers of every request.
    """

    def __init__(self, credentials: Any, always: tuple[str, ...]):
        self.credentials = credentials
        self.is_libcurls = credentials is None or (
            _PLAIN_ACCESS_KEY.fullmatch(credentials.access_key) is not None and credentials.secret_key.isascii()
        )
        token = credentials.token if credentials is not None else None
        tokens = (f"x-amz-security-token: {token}",) if token else ()
        self.headers = (*always, *tokens, *_NO_HEADERS)

    def has(self, credentials: Any) -> bool:
        """Whether these are the same credentials."""
        mine = self.credentials
        return mine.secret_key is credentials.secret_key and mine.token is credentials.token


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    def payload(self, request: AWSRequest) -> str:
        # What is read from a file while it is sent has been hashed before.
        return str(request.headers.get("x-amz-content-sha256") or super().payload(request))

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        payload = self.payload(request)
        super()._modify_request_before_signing(request)
        request.headers.replace_header("X-Amz-Content-SHA256", payload)


def signed_headers(
    method: str, url: str, headers: Sequence[str], credentials: Any, region: str, body: bytes
) -> list[str]:
    """The headers of a request, with botocore's signature over its path as it stands."""
    named = dict(header.split(": ", 1) for header in headers)
    request = AWSRequest(method, url, named, body)
    _Signer(credentials, "s3", region).add_auth(request)
    return [f"{name}: {value}" for name, value in request.headers.items()]


def regional(endpoint: str, configured: str, region: str) -> str:
    """The AWS endpoint of another region than the configured one: only there a bucket answers without a redirect."""
    if region == configured:
        return endpoint
    if f".{configured}." in endpoint:
        return endpoint.replace(f".{configured}.", f".{region}.")
    return endpoint.replace("//s3.amazonaws.", f"//s3.{region}.amazonaws.")


class Address:
    """One bucket: where its requests go, and who signs them.

    Args:
        headers: of every request.
    """

    def __init__(self, connection: Connection, bucket: str, headers: tuple[str, ...]):
        self._connection = connection
        self._bucket = bucket
        self._headers = headers
        self._base = ""
        self._proxy = ""
        self._caller: Caller | None = None

    @property
    def endpoint(self) -> str:
        """The endpoint as it may be shown."""
        return self._connection.shown_endpoint

    def place(self, key: str) -> str:
        """The URL, for errors, of an object, or of the bucket."""
        return f"s3://{self._bucket}/{key}"

    def url(self, request: Request) -> str:
        """The URL that a request is sent to, once a handle has been opened."""
        query = f"?{request.query}" if request.query else ""
        return f"{self._base}{quote(request.key, safe='/~')}{query}"

    @property
    def _region(self) -> str:
        return self._connection.region_of(self._bucket)

    def _base_url(self) -> str:
        endpoint = self._connection.endpoint.rstrip("/")
        if self._connection.is_aws:
            endpoint = regional(endpoint, self._connection.region, self._region)
        if not self._connection.is_virtual_hosted(self._bucket):
            return f"{endpoint}/{self._bucket}/"
        scheme, host = endpoint.split("://", 1)
        return f"{scheme}://{self._bucket}.{host}/"

    @functools.cached_property
    def _credentials(self) -> Any:
        """botocore's credentials; None if nothing is signed."""
        if self._connection.profile.public:
            return None
        return session_credentials(self._connection, f"s3://{self._bucket}")

    def open_handle(self, *, signs: bool) -> pycurl.Curl:
        """A handle with all settings that do not depend on the request; with ``signs``, libcurl signs what it sends.

        Raises:
            CredentialsError: there are none.
        """
        is_first = not self._base
        if is_first:
            base = self._base_url()
            self._proxy = get_environ_proxies(base).get(urlsplit(base).scheme) or ""
            self._base = base
        handle = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CONNECTTIMEOUT, CONNECT_TIMEOUT_SECONDS),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.BUFFERSIZE, _RECEIVE_BYTES),
            (pycurl.USERAGENT, "pos3"),
            (pycurl.PROXY, self._proxy),
        ):
            handle.setopt(option, value)
        if self._base.startswith("https:"):
            self._trust(handle)
        if not can_be_sent(self._region):
            raise ProfileError(f"the region {self._region!r} is none: it has blanks, line ends or letters beyond ASCII")
        if self._credentials is not None and signs:
            handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{self._region}:s3")
        if not signs:
            handle.setopt(pycurl.PATH_AS_IS, 1)
        if is_first:
            self._log_how_it_is_reached()
        return handle

    def _log_how_it_is_reached(self) -> None:
        connection = self._connection
        profile = connection.profile
        told = [
            f"endpoint {connection.shown_endpoint}",
            f"{'virtual-hosted' if connection.is_virtual_hosted(self._bucket) else 'path'} addressing",
            f"region {self._region}",
            f"profile {profile.local_name!r}",
            "unsigned" if self._credentials is None else f"credentials from {self._credentials.method!r}",
        ]
        if profile.aws_profile:
            told.append(f"AWS profile {profile.aws_profile!r}")
        if self._proxy:
            told.append(f"proxy {shown_address(self._proxy)}")
        logger.debug("s3://%s: %s", self._bucket, ", ".join(told))

    def _trust(self, handle: pycurl.Curl) -> None:
        bundle = self._connection.ca_bundle
        if bundle is False:
            handle.setopt(pycurl.SSL_VERIFYPEER, 0)
            handle.setopt(pycurl.SSL_VERIFYHOST, 0)
        else:
            handle.setopt(pycurl.CAINFO, str(get_cert_path(bundle)))

    def caller(self, where: str) -> Caller:
        """Who calls at this moment.

        Args:
            where: what the request is for, in errors.
        Raises:
            CredentialsError: there are none, or no request can carry them.
        """
        last = self._caller
        if self._credentials is None:
            self._caller = last or Caller(None, self._headers)
            return self._caller
        # Those that have expired are refreshed by it.
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            with translating(where):
                raise error
        if last is not None and last.has(frozen):
            return last
        hide((frozen.secret_key, frozen.token))
        if not all(map(can_be_sent, (frozen.access_key, frozen.token or "none"))):
            raise CredentialsError(
                f"{where}: the access key or the session token is empty or has line ends, blanks around "
                "it or letters beyond ASCII; check where they come from"
            )
        self._caller = Caller(frozen, self._headers)
        return self._caller

    def is_signed_by_libcurl(self, request: Request, caller: Caller) -> bool:
        """libcurl signs only paths that it has resolved, so that with such segments it would ask for another key."""
        key = request.key
        return caller.is_libcurls and not ("." in key and _DOTS.search(key))

    def headers(self, request: Request, url: str, caller: Caller, where: str, *, signs: bool) -> tuple[str, ...]:
        """The headers to send; with ``signs``, libcurl adds those of the signature.

        Raises:
            StoreError: no request can carry them.
        """
        if not request.headers and signs:
            return caller.headers
        headers = (*request.headers, *self._headers)
        if not all(map(can_be_sent, headers)):
            raise StoreError(
                f"{where}: no request can carry a header with line ends, or with letters "
                "beyond ASCII; check the encryption settings of the profile"
            )
        if signs:
            return (*request.headers, *caller.headers)
        if caller.credentials is None:
            return (*headers, *_NO_HEADERS)
        signed = signed_headers(request.method, url, headers, caller.credentials, self._region, request.body)
        return (*signed, *_NO_HEADERS)
