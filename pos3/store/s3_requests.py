"""Signed requests to one bucket through libcurl, many at once in one thread.

libcurl signs, connects, keeps connections and speaks TLS; credentials, endpoint, region and trust are those of the
boto3 session. Paths are sent as they stand, so that every key can be addressed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import pycurl
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from pos3.errors import EndpointError, StoreError
from pos3.store.retry import UnreachableError
from pos3.store.s3_client import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, Connection, session_credentials
from pos3.store.s3_errors import error_of_body, translating

_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
Sink = Callable[[bytes], object]
Source = Callable[[int], bytes]
# Reading more than this at once costs more memory for each connection and saves next to nothing.
_RECEIVE_BYTES = 256 * 1024
_SEND_BYTES = 256 * 1024
_TLS_ERRORS = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
    }
)


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
        limit_bytes: a longer answer is refused before its body comes; 0 for no limit.
    """

    method: str
    key: str
    query: str = ""
    headers: tuple[str, ...] = ()
    body: bytes = b""
    source: Source = _nothing
    source_bytes: int = 0
    sink: Sink | None = None
    limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """A good answer."""

    status: int
    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str:
        """The value of a header, "" without it."""
        found = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*(.*?)[ \t]*\r?$", self.head)
        return found[1].decode("utf-8", "replace") if found else ""

    @property
    def etag(self) -> str:
        return self.header("etag").strip('"')


def is_signed_by_libcurl(request: Request) -> bool:
    """libcurl signs only paths that it has resolved, so that with such segments it would ask for another key."""
    return "." not in request.key or _DOTS.search(request.key) is None


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


class TooLongError(StoreError):
    """The answer is longer than was asked for."""


class Requests:
    """What all requests to one bucket have in common."""

    def __init__(self, connection: Connection, bucket: str, region: Callable[[], str], headers: tuple[str, ...]):
        self._connection = connection
        self._bucket = bucket
        self._region = region
        self._headers = headers
        self._base = ""
        self._proxy = ""
        self._credentials: Any = None

    def where(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def open_handle(self, *, signs: bool) -> pycurl.Curl:
        """A handle with all settings that do not depend on the request; with ``signs``, libcurl signs what it sends.

        Raises:
            CredentialsError: there are none.
        """
        profile = self._connection.profile
        if not self._base:
            self._base = self._base_url()
            self._proxy = get_environ_proxies(self._base).get(urlsplit(self._base).scheme) or ""
        handle = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CONNECTTIMEOUT, CONNECT_TIMEOUT_SECONDS),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, READ_TIMEOUT_SECONDS),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.BUFFERSIZE, _RECEIVE_BYTES),
            (pycurl.USERAGENT, "pos3"),
            (pycurl.PROXY, self._proxy),
        ):
            handle.setopt(option, value)
        if self._base.startswith("https:"):
            self._trust(handle)
        if not profile.public:
            if self._credentials is None:
                self._credentials = session_credentials(self._connection, f"s3://{self._bucket}")
            if signs:
                handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{self._region()}:s3")
        if not signs:
            handle.setopt(pycurl.PATH_AS_IS, 1)
        return handle

    def _trust(self, handle: pycurl.Curl) -> None:
        bundle = self._connection.ca_bundle
        if bundle is False:
            handle.setopt(pycurl.SSL_VERIFYPEER, 0)
            handle.setopt(pycurl.SSL_VERIFYHOST, 0)
        else:
            handle.setopt(pycurl.CAINFO, str(get_cert_path(bundle)))

    def _base_url(self) -> str:
        endpoint = self._connection.endpoint.rstrip("/")
        if not self._connection.is_virtual_hosted(self._bucket):
            return f"{endpoint}/{self._bucket}/"
        scheme, host = endpoint.split("://", 1)
        return f"{scheme}://{self._bucket}.{host}/"

    def url(self, request: Request) -> str:
        query = f"?{request.query}" if request.query else ""
        return f"{self._base}{quote(request.key, safe='/~')}{query}"

    def signed(self, handle: pycurl.Curl, request: Request, url: str) -> list[str]:
        """Gives the handle the credentials of this moment; returns the headers to send."""
        headers = [*self._headers, *request.headers]
        if self._credentials is None:
            return headers
        with translating(self.where(request.key)):
            frozen = self._credentials.get_frozen_credentials()
        if not is_signed_by_libcurl(request):
            return signed_headers(request.method, url, headers, frozen, self._region(), request.body)
        handle.setopt(pycurl.USERNAME, frozen.access_key)
        handle.setopt(pycurl.PASSWORD, frozen.secret_key)
        if frozen.token:
            headers.append(f"x-amz-security-token: {frozen.token}")
        return headers


@dataclass(slots=True)
class Exchange:
    """One handle, and the request that it carries at the moment."""

    requests: Requests
    handle: pycurl.Curl
    signs: bool
    request: Request = field(default_factory=lambda: Request("GET", ""))
    owner: Any = None
    # Answers may quote the session token, so they do not show.
    _head: list[bytes] = field(default_factory=list, repr=False)
    _body: list[bytes] = field(default_factory=list, repr=False)
    _failure: BaseException | None = None
    _is_good: bool | None = None
    _method: str = ""

    @classmethod
    def of(cls, requests: Requests, *, signs: bool) -> Exchange:
        made = cls(requests, requests.open_handle(signs=signs), signs)
        made.handle.setopt(pycurl.HEADERFUNCTION, made._head.append)
        return made

    def begin(self, request: Request, owner: Any) -> None:
        """Prepares the handle; the request goes out when the handle is driven."""
        self.request, self.owner = request, owner
        self._head.clear()
        self._body.clear()
        self._failure = self._is_good = None
        handle = self.handle
        if request.method != self._method or request.method in ("PUT", "POST"):
            self._set_method(request)
        url = self.requests.url(request)
        headers = self.requests.signed(handle, request, url)
        # Neither a pause before the body, nor the type of a form. An empty list would leave the headers as they were.
        headers += ["Expect:", "Content-Type:"]
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.HTTPHEADER, headers)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, request.limit_bytes)
        handle.setopt(pycurl.WRITEFUNCTION, self._body.append if request.sink is None else self._receive)

    def _set_method(self, request: Request) -> None:
        handle = self.handle
        self._method = request.method
        handle.setopt(pycurl.NOBODY, request.method == "HEAD")
        if request.source_bytes:
            handle.unsetopt(pycurl.CUSTOMREQUEST)
            handle.setopt(pycurl.UPLOAD, 1)
            handle.setopt(pycurl.UPLOAD_BUFFERSIZE, _SEND_BYTES)
            handle.setopt(pycurl.INFILESIZE_LARGE, request.source_bytes)
            handle.setopt(pycurl.READFUNCTION, self._send)
        elif request.method in ("PUT", "POST"):
            handle.setopt(pycurl.UPLOAD, 0)
            handle.setopt(pycurl.POSTFIELDS, request.body)
            handle.setopt(pycurl.CUSTOMREQUEST, request.method)
        elif request.method == "DELETE":
            handle.setopt(pycurl.HTTPGET, 1)
            handle.setopt(pycurl.CUSTOMREQUEST, "DELETE")
        elif request.method == "GET":
            handle.unsetopt(pycurl.CUSTOMREQUEST)
            handle.setopt(pycurl.HTTPGET, 1)
        else:
            handle.unsetopt(pycurl.CUSTOMREQUEST)

    def _receive(self, block: bytes) -> int | None:
        if self._is_good is None:
            # A handle cannot be asked while it is being driven.
            status = next(line for line in reversed(self._head) if line.startswith(b"HTTP/"))
            self._is_good = status.split(b" ", 2)[1] < b"300"
        if not self._is_good or self.request.sink is None:
            self._body.append(block)
            return None
        # libcurl prints what a callback raises, so it is kept for the generator instead.
        try:
            self.request.sink(block)
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self._failure = error
            return -1
        return None

    def _send(self, size_bytes: int) -> bytes | int:
        try:
            return self.request.source(size_bytes)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failure = error
            return pycurl.READFUNC_ABORT

    def result(self, code: int, message: str) -> Response:
        """The response, once the request has ended with libcurl's ``code``.

        Raises:
            StoreError: the answer was an error, or there was none.
            BaseException: what the sink raised.
        """
        if self._failure is not None:
            raise self._failure
        where = self.requests.where(self.request.key)
        if code == pycurl.E_FILESIZE_EXCEEDED:
            raise TooLongError(f"{where}: the answer is longer than {self.request.limit_bytes} bytes")
        if code in _TLS_ERRORS:
            raise EndpointError(f"{where}: no trusted TLS connection to the endpoint: {message}")
        if code != pycurl.E_OK:
            raise UnreachableError(f"{where}: cannot reach the endpoint: {message}")
        status = self.handle.getinfo(pycurl.RESPONSE_CODE)
        if status >= 300:
            # Kept out of local variables, which some tracebacks show.
            raise error_of_body(status, b"".join(self._body), where)
        return Response(status, b"".join(self._head), b"".join(self._body))
