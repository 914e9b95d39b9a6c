"""The address of one bucket, and what signs requests to it. Only this module knows addresses, regions and credentials.

libcurl signs, connects, keeps connections and uses TLS. Credentials, endpoint, region and certificates come from the
botocore session. Paths are sent without changes, so every key can be addressed.
"""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import replace
from typing import Any

import pycurl
from botocore.httpsession import get_cert_path

from pos3.errors import CredentialsError, ProfileError, StoreError
from pos3.redaction import add_secrets
from pos3.store.base import UNSIGNED, Route
from pos3.store.endpoints import shown_address
from pos3.store.s3.client import Connection, session_credentials
from pos3.store.s3.endpoint_resolution import ResolvedEndpoint, resolve_endpoint
from pos3.store.s3.errors import translating
from pos3.store.s3.proxies import proxy_of, proxy_options
from pos3.store.s3.requests import Request, can_be_sent
from pos3.store.s3.signing import Signing

logger = logging.getLogger("pos3.store")

# Suffixes of the names of directory buckets, and of their access points.
_OF_DIRECTORY_BUCKETS = ("--x-s3", "--xa-s3")
_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
# libcurl percent-encodes other characters in an access key, and servers do not accept this.
_PLAIN_ACCESS_KEY = re.compile(r"[A-Za-z0-9._~-]+")
# A larger buffer needs more memory for each connection, and is not faster.
_RECEIVE_BYTES = 256 * 1024
# Without these headers, libcurl waits before the body, and sends the type of a form.
_NO_HEADERS = ("Expect:", "Content-Type:")


class Caller:
    """Who sends a request at one moment. ``headers`` are in all requests of this caller that libcurl signs.

    Args:
        credentials: frozen credentials; None if nothing is signed.
        signing: how requests are signed.
        always: headers of every request.
    """

    def __init__(self, credentials: Any, signing: Signing, always: tuple[str, ...]):
        self.credentials = credentials
        self.signing = signing
        self.is_libcurls = credentials is None or (
            _PLAIN_ACCESS_KEY.fullmatch(credentials.access_key) is not None and credentials.secret_key.isascii()
        )
        token = credentials.token if credentials is not None else None
        tokens = (f"x-amz-security-token: {token}",) if token else ()
        self.headers = (*always, *tokens, *_NO_HEADERS)

    def is_still(self, credentials: Any, signing: Signing) -> bool:
        """Whether a caller with these credentials would sign in the same way."""
        mine = self.credentials
        is_same = mine.secret_key is credentials.secret_key and mine.token is credentials.token
        return is_same and self.signing is signing


NOBODY = Caller(None, Signing(""), ())


class Address:
    """One bucket: the address of its requests, and what signs them.

    Args:
        headers: headers of every request.
    """

    def __init__(self, connection: Connection, bucket: str, headers: tuple[str, ...]):
        self._connection = connection
        self._bucket = bucket
        self._headers = headers
        self._is_logged = False
        self._caller = NOBODY
        self._last_headers: tuple[tuple[str, ...], Caller, tuple[str, ...]] = ((), NOBODY, ())

    @functools.cached_property
    def _resolved(self) -> ResolvedEndpoint:
        return resolve_endpoint(self._connection, self._bucket)

    @functools.cached_property
    def _proxy_options(self) -> list[tuple[int, str]]:
        return proxy_options(self._connection.session, self._resolved.base_url)

    def sign_for(self, region: str) -> None:
        """Signs for another region from now on. Some servers answer with their region."""
        signing = self._resolved.signing
        if signing.chosen is None and signing.region != region:
            self._resolved = replace(self._resolved, signing=replace(signing, region=region))

    @property
    def most_attempts(self) -> int | None:
        """The maximum number of attempts for a request; None if no setting gives it."""
        return self._connection.attempts

    @property
    def endpoint(self) -> str:
        """The endpoint, without secrets."""
        return self._resolved.endpoint

    @property
    def is_of_aws(self) -> bool:
        return self._connection.is_aws

    @property
    def has_directories(self) -> bool:
        """Whether it is a directory bucket of AWS. These list only directories, in any order, and have no MD5."""
        return self._bucket.endswith(_OF_DIRECTORY_BUCKETS)

    def place(self, key: str) -> str:
        """The URL of an object or of the bucket, for errors."""
        return f"s3://{self._bucket}/{key}"

    def where(self, request: Request) -> str:
        """The purpose of a request, for errors."""
        return request.where or self.place(request.key)

    def url(self, request: Request) -> str:
        """The URL to which a request is sent."""
        return self._resolved.url(request.key, request.query)

    @functools.cached_property
    def _credentials(self) -> Any:
        """botocore's credentials; None if nothing is signed."""
        if self._connection.profile.public:
            return None
        return session_credentials(self._connection, f"s3://{self._bucket}")

    def open_handle(self, *, signs: bool) -> pycurl.Curl:
        """A handle with all settings that do not depend on the request. With ``signs``, libcurl signs its requests.

        Raises:
            CredentialsError: there are no credentials.
        """
        resolved = self._resolved
        region = resolved.signing.region
        handle = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CONNECTTIMEOUT_MS, int(self._connection.connect_timeout_seconds * 1000)),
            (pycurl.LOW_SPEED_LIMIT, 1),
            # Objects are downloaded as they are stored, without decoding.
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.BUFFERSIZE, _RECEIVE_BYTES),
            (pycurl.USERAGENT, "pos3"),
            *self._proxy_options,
        ):
            handle.setopt(option, value)
        if resolved.base_url.startswith("https:"):
            self._trust(handle)
        if not can_be_sent(region):
            raise ProfileError(
                f"the region {region!r} is not valid: it has blanks, line ends or letters beyond ASCII; check the "
                "region of the profile, or AWS_DEFAULT_REGION"
            )
        if not signs:
            handle.setopt(pycurl.PATH_AS_IS, 1)
        if not self._is_logged:
            self._is_logged = True
            logger.debug("s3://%s: %s", self._bucket, self.route)
        return handle

    @property
    def route(self) -> Route:
        """How the bucket is reached.

        Raises:
            CredentialsError, EndpointError, ProfileError
        """
        profile, proxy = self._connection.profile, proxy_of(self._resolved.base_url)
        return Route(
            self.endpoint,
            self._resolved.addressing,
            self._resolved.signing.region,
            profile.local_name,
            UNSIGNED if self._credentials is None else self._credentials.method,
            profile.aws_profile or "",
            shown_address(proxy) if proxy else "",
        )

    def _trust(self, handle: pycurl.Curl) -> None:
        bundle = self._connection.ca_bundle
        if bundle is False:
            handle.setopt(pycurl.SSL_VERIFYPEER, 0)
            handle.setopt(pycurl.SSL_VERIFYHOST, 0)
        else:
            handle.setopt(pycurl.CAINFO, str(get_cert_path(bundle)))

    def caller(self, request: Request) -> Caller:
        """The caller for a request that is sent now.

        Raises:
            CredentialsError: there are no credentials, or they contain characters that no header can have.
        """
        last, signing = self._caller, self._resolved.signing
        if self._credentials is None:
            if last.signing is not signing:
                self._caller = Caller(None, signing, self._headers)
            return self._caller
        # This refreshes expired credentials.
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:
            with translating(self.where(request)):
                raise error
        if last.credentials is not None and last.is_still(frozen, signing):
            return last
        add_secrets((frozen.secret_key, frozen.token))
        if not all(map(can_be_sent, (frozen.access_key, frozen.token or "none"))):
            raise CredentialsError(
                f"{self.where(request)}: the access key or the session token is empty or has line ends, blanks around "
                "it or letters beyond ASCII; check where they come from"
            )
        caller = self._caller = Caller(frozen, signing, self._headers)
        return caller

    def is_signed_by_libcurl(self, request: Request, caller: Caller) -> bool:
        """Whether libcurl can sign the request.

        It resolves segments such as ``..`` in a path, and would sign another key.
        """
        key = request.key
        return caller.is_libcurls and caller.signing.is_plain and not ("." in key and _DOTS.search(key))

    def headers(self, request: Request, url: str, caller: Caller, *, signs: bool) -> tuple[str, ...]:
        """The headers of a request. With ``signs``, libcurl adds those of the signature.

        Raises:
            StoreError: a value contains characters that no header can have.
        """
        if not request.headers and signs:
            return caller.headers
        # All downloads have the same headers, so a handle does not need them again.
        of_request, of_caller, last = self._last_headers
        if signs and of_request is request.headers and of_caller is caller:
            return last
        headers = (*request.headers, *self._headers)
        if not all(map(can_be_sent, headers)):
            raise StoreError(
                f"{self.where(request)}: no request can carry a header with line ends, or with letters "
                "beyond ASCII; check the encryption settings of the profile"
            )
        if signs:
            all_headers = (*request.headers, *caller.headers)
            self._last_headers = request.headers, caller, all_headers
            return all_headers
        if caller.credentials is None:
            return (*headers, *_NO_HEADERS)
        with translating(self.where(request)):
            signed = caller.signing.headers(request.method, url, headers, caller.credentials, request.body)
        return (*signed, *_NO_HEADERS)
