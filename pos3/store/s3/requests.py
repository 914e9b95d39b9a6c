"""Requests to one bucket, and how libcurl is set up to send and sign them.

libcurl signs, connects, keeps connections and speaks TLS; credentials, endpoint, region and trust are those of the
botocore session. Paths are sent as they stand, so that every key can be addressed.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pycurl
from botocore.httpsession import get_cert_path

from pos3.entries import Entry, storable_ns
from pos3.errors import CredentialsError, ProfileError, StoreError
from pos3.etags import is_weak, token
from pos3.redaction import add_secrets
from pos3.store.clock import ServerClock, seconds_of
from pos3.store.endpoints import shown_address
from pos3.store.retry import ATTEMPTS, Patience, UnreachableError
from pos3.store.s3.client import READ_TIMEOUT_SECONDS, Connection, session_credentials
from pos3.store.s3.endpoint_resolution import ResolvedEndpoint, resolve_endpoint
from pos3.store.s3.errors import translating
from pos3.store.s3.proxies import proxy_of, proxy_options

logger = logging.getLogger("pos3.store")

_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
# libcurl percent-encodes all others in an access key, and servers take that for another one.
_PLAIN_ACCESS_KEY = re.compile(r"[A-Za-z0-9._~-]+")
_CAN_BE_SENT = re.compile(r"[!-~]([ -~]*[!-~])?")
Sink = Callable[[bytes], object]
Source = Callable[[int], bytes]
# Reading more than this at once costs more memory for each connection and saves next to nothing.
_RECEIVE_BYTES = 256 * 1024


# Of answers that are held in memory, such as pages. A thousand keys are less than 4 MiB.
MOST_BYTES = 32 * 1024 * 1024
# Of the digits of a number of bytes.
_LONGEST_SIZE = 18


def _nothing(_size_bytes: int) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Request:
    """One request for an object. ``query`` and ``headers`` are ready to be sent.

    Args:
        method: GET, HEAD, PUT, POST or DELETE.
        body: what is sent, if it is in memory.
        source: is called for the next bytes to send, at most so many; ``source_bytes`` is how many there are in all.
        sink: takes the body of a good answer in pieces; without one, the body is in the response.
        limit_bytes: a longer answer is refused, before its body comes or when so much of it has come.
        held_bytes: how much of memory the request needs, about.
        where: what the request is for, in errors; its URL unless given.
        silence_seconds: how long the server may say nothing.
    """

    method: str
    key: str
    query: str = ""
    headers: tuple[str, ...] = ()
    body: bytes = b""
    source: Source = _nothing
    source_bytes: int = 0
    sink: Sink | None = None
    limit_bytes: int = MOST_BYTES
    held_bytes: int = 0
    where: str = ""
    silence_seconds: int = READ_TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Response:
    """A good answer."""

    status: int
    head: bytes
    blocks: Sequence[bytes] = ()

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    def header(self, name: str) -> str:
        """The value of a header, whose name is in lower case; "" without it."""
        begin = self.head.lower().find(b"\n" + name.encode() + b":")
        if begin < 0:
            return ""
        line = self.head[begin + 1 :].partition(b"\n")[0]
        return line.partition(b":")[2].strip(b" \t\r").decode("utf-8", "replace")

    @property
    def etag(self) -> str:
        return token(self.header("etag"))

    @property
    def is_weak(self) -> bool:
        """Whether the ETag proves nothing, and is no condition of a request."""
        return is_weak(self.header("etag"))

    @property
    def modified_ns(self) -> int:
        """The object's LastModified in nanoseconds since the epoch; 0 if the store does not tell."""
        return storable_ns(int(seconds_of(self.header("last-modified"))) * 1_000_000_000)

    def entry(self, path: str, where: str) -> Entry:
        """The object that a HEAD was answered for.

        Raises:
            UnreachableError: the answer tells no length, so it is of something else.
        """
        length = self.header("content-length")
        if not (length.isdecimal() and len(length) <= _LONGEST_SIZE):
            raise UnreachableError(f"{where}: the answer to HEAD has no length, so it is not of an object")
        storage_class = self.header("x-amz-storage-class")
        return Entry(path, int(length), self.modified_ns, self.etag, storage_class=storage_class)


def can_be_sent(text: str) -> bool:
    """Whether the text can stand in a header."""
    return _CAN_BE_SENT.fullmatch(text) is not None


class TooLongError(StoreError):
    """The answer is longer than was asked for."""


class Requests:
    """What all requests to one bucket have in common."""

    def __init__(self, connection: Connection, bucket: str, headers: tuple[str, ...]):
        self._connection = connection
        self._bucket = bucket
        self._headers = headers
        self._is_logged = False
        self.has_answered = False
        self.clock = ServerClock()
        self._hidden: tuple[str | None, str | None] = (None, None)

    @functools.cached_property
    def _resolved(self) -> ResolvedEndpoint:
        return resolve_endpoint(self._connection, self._bucket)

    @property
    def region(self) -> str:
        """What requests are signed for."""
        return self._resolved.signing.region

    def sign_for(self, region: str) -> None:
        """From now on. A server may say what its region is."""
        signing = self._resolved.signing
        if signing.chosen is None and signing.region != region:
            self._resolved = replace(self._resolved, signing=replace(signing, region=region))

    @functools.cached_property
    def _proxy_options(self) -> list[tuple[int, str]]:
        return proxy_options(self._connection.session, self._resolved.base_url)

    @property
    def endpoint(self) -> str:
        """The endpoint as it may be shown."""
        return self._resolved.endpoint

    def where(self, request: Request) -> str:
        """What the request is for, in errors."""
        return request.where or self.place(request)

    def place(self, request: Request) -> str:
        """The URL, for errors, of the object that the request is for, or the bucket."""
        return f"s3://{self._bucket}/{request.key}"

    def patience(self) -> Patience:
        """For one request. An endpoint that has never answered is more likely wrong than down, so it soon ends."""
        return Patience(self._connection.attempts or (ATTEMPTS if self.has_answered else 2))

    def open_handle(self, *, signs: bool) -> pycurl.Curl:
        """A handle with all settings that do not depend on the request; with ``signs``, libcurl signs what it sends.

        Raises:
            CredentialsError: there are none.
        """
        resolved = self._resolved
        region = resolved.signing.region
        handle = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CONNECTTIMEOUT_MS, int(self._connection.connect_timeout_seconds * 1000)),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.BUFFERSIZE, _RECEIVE_BYTES),
            (pycurl.USERAGENT, "pos3"),
            *self._proxy_options,
        ):
            handle.setopt(option, value)
        if resolved.base_url.startswith("https:"):
            self._trust(handle)
        if not can_be_sent(region):
            raise ProfileError(f"the region {region!r} is none: it has blanks, line ends or letters beyond ASCII")
        if not signs:
            handle.setopt(pycurl.PATH_AS_IS, 1)
        if not self._is_logged:
            self._is_logged = True
            self._log_how_it_is_reached()
        return handle

    def _log_how_it_is_reached(self) -> None:
        connection = self._connection
        profile = connection.profile
        told = [
            f"endpoint {self.endpoint}",
            f"{self._resolved.addressing} addressing",
            f"region {self._resolved.signing.region}",
            f"profile {profile.local_name!r}",
            "unsigned" if self._caller is None else f"credentials from {self._caller.method!r}",
        ]
        if profile.aws_profile:
            told.append(f"AWS profile {profile.aws_profile!r}")
        if proxy := proxy_of(self._resolved.base_url):
            told.append(f"proxy {shown_address(proxy)}")
        logger.debug("s3://%s: %s", self._bucket, ", ".join(told))

    def _trust(self, handle: pycurl.Curl) -> None:
        bundle = self._connection.ca_bundle
        if bundle is False:
            handle.setopt(pycurl.SSL_VERIFYPEER, 0)
            handle.setopt(pycurl.SSL_VERIFYHOST, 0)
        else:
            handle.setopt(pycurl.CAINFO, str(get_cert_path(bundle)))

    def url(self, request: Request) -> str:
        return self._resolved.url(request.key, request.query)

    @functools.cached_property
    def _caller(self) -> Any:
        """botocore's credentials; None if nothing is signed."""
        if self._connection.profile.public:
            return None
        return session_credentials(self._connection, f"s3://{self._bucket}")

    def _frozen(self, request: Request) -> Any:
        """The credentials of this moment."""
        with translating(self.where(request)):
            return self._caller.get_frozen_credentials()

    def is_signed_by_libcurl(self, request: Request) -> bool:
        """libcurl signs only paths that it has resolved, so that with such segments it would ask for another key.

        Raises:
            CredentialsError: there are none.
        """
        if not self._resolved.signing.is_plain or ("." in request.key and _DOTS.search(request.key)):
            return False
        if self._caller is None:
            return True
        frozen = self._frozen(request)
        return _PLAIN_ACCESS_KEY.fullmatch(frozen.access_key) is not None and frozen.secret_key.isascii()

    def signed(self, handle: pycurl.Curl, request: Request, url: str, *, signs: bool) -> list[str]:
        """Gives a handle that ``signs`` the credentials of this moment; returns the headers to send.

        Raises:
            CredentialsError: no request can carry them.
        """
        headers = [*self._headers, *request.headers]
        if headers and not all(map(can_be_sent, headers)):
            raise StoreError(
                f"{self.where(request)}: no request can carry a header with line ends, or with letters "
                "beyond ASCII; check the encryption settings of the profile"
            )
        if self._caller is None:
            return headers
        frozen = self._frozen(request)
        if frozen.secret_key is not self._hidden[0] or frozen.token is not self._hidden[1]:
            self._hidden = (frozen.secret_key, frozen.token)
            add_secrets(self._hidden)
        if not all(map(can_be_sent, (frozen.access_key, frozen.token or "none"))):
            raise CredentialsError(
                f"{self.where(request)}: the access key or the session token is empty or has line ends, blanks around "
                "it or letters beyond ASCII; check where they come from"
            )
        if not signs:
            with translating(self.where(request)):
                return self._resolved.signing.headers(request.method, url, headers, frozen, request.body)
        signing = self._resolved.signing
        handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{signing.region}:{signing.service}")
        handle.setopt(pycurl.USERNAME, frozen.access_key)
        handle.setopt(pycurl.PASSWORD, frozen.secret_key)
        if frozen.token:
            headers.append(f"x-amz-security-token: {frozen.token}")
        return headers
