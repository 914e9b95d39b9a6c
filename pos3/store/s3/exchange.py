"""One libcurl handle at work: from a request to its response."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pycurl

from pos3.errors import EndpointError, StoreError
from pos3.redaction import redacted
from pos3.store.clock import seconds_of
from pos3.store.retry import BusyError, UnreachableError
from pos3.store.s3.errors import StrangeAnswerError, error_of_body, is_strange, is_strange_page, region_in, strange
from pos3.store.s3.requests import Request, Requests, Response, TooLongError

_SEND_BYTES = 256 * 1024
_RESOLVING_SECONDS = 0.002
# Errors are cut here.
_ERROR_BYTES = 64 * 1024
# Answers that tell a greater length than this and their limit are not read at all.
_TOLD_BYTES = 1024 * 1024
_NOBODY_THERE = frozenset(
    {
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_COULDNT_RESOLVE_PROXY,
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_OPERATION_TIMEDOUT,
    }
)
_TLS_ERRORS = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
    }
)


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
    _received_bytes: int = 0
    _is_cut: bool = False
    _method: str = ""
    _region: str = ""
    _sent_at: float = 0.0

    @classmethod
    def of(cls, requests: Requests, *, signs: bool) -> Exchange:
        made = cls(requests, requests.open_handle(signs=signs), signs)
        made.handle.setopt(pycurl.HEADERFUNCTION, made._head.append)
        made.handle.setopt(pycurl.WRITEFUNCTION, made._receive)
        return made

    def fit_for(self, request: Request) -> Exchange:
        """This one, or another in its place if the request is to be signed the other way; the connection stays."""
        signs = self.requests.is_signed_by_libcurl(request)
        if self.signs is signs:
            return self
        # The connection is not the handle's.
        self.handle.close()
        return Exchange.of(self.requests, signs=signs)

    def begin(self, request: Request, owner: Any) -> None:
        """Prepares the handle; the request goes out when the handle is driven."""
        self.request, self.owner = request, owner
        self._sent_at = time.monotonic()
        self._head.clear()
        self._body = []
        self._failure = self._is_good = None
        self._received_bytes, self._is_cut = 0, False
        handle = self.handle
        if request.method != self._method or request.method in ("PUT", "POST"):
            self._set_method(request)
        url = self.requests.url(request)
        self._region = self.requests.region
        headers = self.requests.signed(handle, request, url, signs=self.signs)
        # Neither a pause before the body, nor the type of a form. An empty list would leave the headers as they were.
        headers += ["Expect:", "Content-Type:"]
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.HTTPHEADER, headers)
        handle.setopt(pycurl.LOW_SPEED_TIME, request.silence_seconds)
        # An error may be longer than an object, and a HEAD tells how long the object is.
        handle.setopt(
            pycurl.MAXFILESIZE_LARGE, 0 if request.method == "HEAD" else max(request.limit_bytes, _TOLD_BYTES)
        )

    def _set_method(self, request: Request) -> None:
        handle = self.handle
        self._method = request.method
        if request.method not in ("PUT", "POST"):
            # A handle keeps the last body that it was given, and signs its hash even where none is sent.
            handle.setopt(pycurl.POSTFIELDS, b"")
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
            status = next((line for line in reversed(self._head) if line.startswith(b"HTTP/")), b"")
            self._is_good = status.partition(b" ")[2].lstrip()[:1] < b"3"
        before, request = self._received_bytes, self.request
        self._received_bytes += len(block)
        limit_bytes = request.limit_bytes if self._is_good else _ERROR_BYTES
        if self._received_bytes > limit_bytes:
            # The rest of an error tells no more; that of anything else was not asked for.
            self._is_cut = True
            if not self._is_good:
                self._body.append(block[: limit_bytes - before])
            return -1
        if not self._is_good or request.sink is None:
            self._body.append(block)
            return None
        # libcurl prints what a callback raises, so it is kept for the generator instead.
        try:
            request.sink(block)
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
        try:
            return self._result(code, message)
        except StoreError as error:
            error.url = error.url or redacted(self.requests.place(self.request))
            if isinstance(error, (BusyError, UnreachableError)):
                error.operation = "" if self.request.where else self.request.method
            raise

    def _result(self, code: int, message: str) -> Response:
        if self._failure is not None:
            raise self._failure
        where = self.requests.where(self.request)
        status = self.handle.getinfo(pycurl.RESPONSE_CODE)
        if self._is_cut or code == pycurl.E_FILESIZE_EXCEEDED:
            if status < 300:
                self._body = []
                raise TooLongError(f"{where}: the answer is longer than {self.request.limit_bytes} bytes")
            code = pycurl.E_OK
        # A handshake breaks off where a server is busy, too; what is not trusted has errors of its own.
        if code in _TLS_ERRORS and not (code == pycurl.E_SSL_CONNECT_ERROR and self.requests.has_answered):
            raise EndpointError(f"{where}: no trusted TLS connection to {self.requests.endpoint}: {message}")
        if code != pycurl.E_OK:
            # Whoever breaks off is there.
            self.requests.has_answered |= code not in _NOBODY_THERE
            raise UnreachableError(f"{where}: cannot reach {self.requests.endpoint}: {message}")
        self.requests.has_answered = True
        # Bodies are kept out of local variables, which some tracebacks show.
        if self._is_strange(status):
            kind = StoreError if self.request.key and self.request.method != "DELETE" else StrangeAnswerError
            raise strange(
                kind,
                status,
                Response(status, self._own_head()).header("location"),
                self.requests.endpoint,
                where,
            )
        if (region := region_in(b"".join(self._body), status)) not in ("", self._region):
            self.requests.sign_for(region)
            raise BusyError(f"{where}: the server's region is {region}, and not {self._region}")
        if status >= 300:
            raise error_of_body(status, b"".join(self._body), where, self.requests.endpoint)
        blocks, self._body = self._body, []
        response = Response(status, self._own_head(), blocks)
        now = time.monotonic()
        if self.requests.clock.is_due(now):
            self.requests.clock.saw(seconds_of(response.header("date")), self._sent_at, now)
        return response

    def _own_head(self) -> bytes:
        """The head of the answer itself: not of a proxy's to CONNECT, not of an announcement, no trailers of a body."""
        heads = b"".join(self._head)
        own = heads[heads.rfind(b"\nHTTP/") + 1 :]
        end = own.find(b"\n\r\n")
        if end < 0:
            end = own.find(b"\n\n")
        return own[: end + 1] if end >= 0 else own

    def _is_strange(self, status: int) -> bool:
        """Whether somebody else has answered than an S3 server."""
        request = self.request
        if status < 300:
            return request.method == "GET" and not request.key and is_strange_page(b"".join(self._body[:1]))
        # Of an object, a server of files may say by itself that it is not there; a HEAD is answered without words.
        if request.key and request.method in ("GET", "HEAD"):
            return False
        body = b"".join(self._body)
        is_gone = request.method == "DELETE" and status == 404 and not body.strip()
        return not is_gone and is_strange(status, body)

    @property
    def wait_seconds(self) -> float:
        """How long the last answer let itself be waited for, once the request could be sent."""
        sent, begun = self.handle.getinfo(pycurl.PRETRANSFER_TIME), self.handle.getinfo(pycurl.STARTTRANSFER_TIME)
        return float(begun - sent)


def landed(multi: pycurl.CurlMulti) -> list[tuple[pycurl.Curl, int, str]]:
    """The handles whose requests have ended since this was asked last, each with libcurl's code and message."""
    found: list[tuple[pycurl.Curl, int, str]] = []
    while True:
        queued, good, bad = multi.info_read()
        found += [(handle, pycurl.E_OK, "") for handle in good]
        found += bad
        if not queued:
            return found


def wait(multi: pycurl.CurlMulti, seconds: float) -> None:
    """Waits until something can move, or so long. A name that is being resolved has no socket to wait for."""
    if multi.select(seconds) < 0:
        time.sleep(min(seconds, _RESOLVING_SECONDS))
