"""One libcurl handle. It carries one request after the other, and gives the response."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pycurl

from pos3.errors import EndpointError, StoreError
from pos3.redaction import redacted
from pos3.store.clock import ServerClock, seconds_of
from pos3.store.retry import BusyError, UnreachableError
from pos3.store.s3.address import NOBODY, Address, Caller
from pos3.store.s3.client import READ_TIMEOUT_SECONDS
from pos3.store.s3.errors import StrangeAnswerError, error_of_body, is_strange, is_strange_page, region_in, strange
from pos3.store.s3.requests import Request, Response, TooLongError
from pos3.store.s3.window import NO_THRESHOLD

_SEND_BYTES = 256 * 1024
# Bodies of errors are truncated at this length.
_ERROR_BYTES = 64 * 1024
# An answer whose declared length exceeds both this and its limit is not read at all.
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
_NOTHING = Request("", "")


class Server:
    """What is known about the server of one bucket. Safe to use from several threads."""

    def __init__(self, address: Address):
        self.address = address
        self.clock = ServerClock()
        self.has_answered = False
        self.is_silence_mentioned = False
        """Whether the log has said that it does not answer, since it last has."""
        self.page_seconds = 0.0
        """How long a page lets itself be waited for, at the least; 0 before the first one."""
        self.threshold = NO_THRESHOLD
        """How many requests in flight were too many."""

    def waited(self, seconds: float) -> None:
        """Records how long the server took to begin a listing page."""
        self.page_seconds = min(self.page_seconds or seconds, seconds)


class Handle:
    """A handle, and its current request."""

    __slots__ = (
        "_body",
        "_call_later",
        "_caller",
        "_failure",
        "_head",
        "_headers",
        "_is_cut",
        "_is_good",
        "_is_sent_once",
        "_limit_bytes",
        "_method",
        "_own",
        "_request",
        "_room_bytes",
        "_sent_at",
        "_server",
        "_silence_seconds",
        "_take",
        "_takes_zipped",
        "curl",
        "signs",
    )

    def __init__(self, server: Server, call_later: Callable[..., object], *, signs: bool):
        """
        Args:
            call_later: as that of the loop which drives the handle.
            signs: whether libcurl signs what it sends.
        """
        self._server = server
        self._call_later = call_later
        self.signs = signs
        self.curl = server.address.open_handle(signs=signs)
        # Answers may quote the session token, so the repr of this object does not show them.
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._headers: tuple[str, ...] = ()
        self._caller = NOBODY
        self._limit_bytes = self._silence_seconds = -1
        self._is_sent_once = self._takes_zipped = False
        self._method = ""
        self._request = _NOTHING
        self._clear(_NOTHING)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._head.append)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._receive)

    def _clear(self, request: Request) -> None:
        self._request = request
        self._head.clear()
        self._body = []
        self._failure: BaseException | None = None
        self._is_good: bool | None = None
        self._own = b""
        self._is_cut = False
        self._room_bytes = 0
        self._take: Callable[[bytes], float | None] = self._body.append
        self._sent_at = 0.0

    def _where(self) -> str:
        return self._server.address.where(self._request)

    @property
    def moved_bytes(self) -> float:
        """The bytes moved in both directions so far. It must not be called in libcurl's callbacks."""
        getinfo = self.curl.getinfo
        total: float = sum(map(getinfo, (pycurl.HEADER_SIZE, pycurl.SIZE_DOWNLOAD_T, pycurl.SIZE_UPLOAD_T)))
        return total

    @property
    def expects_answer_soon(self) -> bool:
        """Whether the server should answer this request within seconds. Some requests may take minutes."""
        return self._request.silence_seconds <= READ_TIMEOUT_SECONDS

    def begin(self, request: Request, caller: Caller) -> None:
        """Prepares the handle. The request is sent when the handle is driven.

        Raises:
            StoreError: the request cannot be sent in this form.
        """
        self._clear(request)
        self._sent_at = time.monotonic()
        curl, address = self.curl, self._server.address
        if request.method != self._method or request.method in ("PUT", "POST"):
            self._set_method(request)
        url = address.url(request)
        headers = address.headers(request, url, caller, signs=self.signs)
        if headers is not self._headers:
            curl.setopt(pycurl.HTTPHEADER, headers)
            self._headers = headers
        if self.signs and caller is not self._caller and caller.credentials is not None:
            curl.setopt(pycurl.AWS_SIGV4, f"aws:amz:{caller.signing.region}:{caller.signing.service}")
            curl.setopt(pycurl.USERNAME, caller.credentials.access_key)
            curl.setopt(pycurl.PASSWORD, caller.credentials.secret_key)
        self._caller = caller
        curl.setopt(pycurl.URL, url)
        if request.silence_seconds != self._silence_seconds:
            self._silence_seconds = request.silence_seconds
            curl.setopt(pycurl.LOW_SPEED_TIME, request.silence_seconds)
        # An error may be longer than an object, and a HEAD tells how long the object is.
        limit_bytes = 0 if request.method == "HEAD" else max(request.limit_bytes, _TOLD_BYTES)
        if limit_bytes != self._limit_bytes:
            self._limit_bytes = limit_bytes
            curl.setopt(pycurl.MAXFILESIZE_LARGE, limit_bytes)
        if request.is_sent_once is not self._is_sent_once:
            self._is_sent_once = request.is_sent_once
            curl.setopt(pycurl.FRESH_CONNECT, request.is_sent_once)
        if request.takes_zipped is not self._takes_zipped:
            self._takes_zipped = request.takes_zipped
            # libcurl adds this header without signing it, because some servers change it before they check the
            # signature.
            curl.setopt(pycurl.ACCEPT_ENCODING, "gzip") if self._takes_zipped else curl.unsetopt(pycurl.ACCEPT_ENCODING)

    def _set_method(self, request: Request) -> None:
        curl = self.curl
        self._method = request.method
        if request.method not in ("PUT", "POST"):
            # A handle keeps its last body, and would sign the hash of it in a request without a body.
            curl.setopt(pycurl.POSTFIELDS, b"")
        curl.setopt(pycurl.NOBODY, request.method == "HEAD")
        if request.source is not None:
            curl.unsetopt(pycurl.CUSTOMREQUEST)
            curl.setopt(pycurl.UPLOAD, 1)
            curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _SEND_BYTES)
            curl.setopt(pycurl.INFILESIZE_LARGE, request.source.size_bytes)
            curl.setopt(pycurl.READFUNCTION, self._send)
        elif request.method in ("PUT", "POST"):
            curl.setopt(pycurl.UPLOAD, 0)
            curl.setopt(pycurl.POSTFIELDS, request.body)
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        elif request.method == "DELETE":
            curl.setopt(pycurl.HTTPGET, 1)
            curl.setopt(pycurl.CUSTOMREQUEST, "DELETE")
        elif request.method == "GET":
            curl.unsetopt(pycurl.CUSTOMREQUEST)
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.unsetopt(pycurl.CUSTOMREQUEST)

    def _receive(self, block: bytes) -> int | None:
        # libcurl would print the exception, so it is kept, and result() raises it.
        try:
            if self._is_good is None:
                self._begin_body()
            self._room_bytes -= len(block)
            if self._room_bytes < 0:
                # The rest of an error is not needed, and a longer body than expected is refused.
                self._is_cut = True
                if not self._is_good:
                    self._body.append(block[: self._room_bytes])
                return -1
            pause_seconds = self._take(block)
            if pause_seconds:
                self._room_bytes += len(block)
                self._call_later(pause_seconds, self._resume, self._request)
                return int(pycurl.WRITEFUNC_PAUSE)
            return None
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self._failure = error
            return -1

    def _begin_body(self) -> None:
        # getinfo must not be called in a callback, so the status is read from the head.
        self._is_good = self._own_head().partition(b" ")[2].lstrip()[:1] < b"3"
        request = self._request
        self._room_bytes = request.limit_bytes if self._is_good else _ERROR_BYTES
        if self._is_good and request.sink is not None:
            request.sink.begin(Response(200, self._own_head()))
            self._take = request.sink.take
        else:
            self._take = self._body.append

    def _send(self, size_bytes: int) -> bytes | int:
        source = self._request.source
        assert source is not None
        try:
            pause_seconds = source.pause_seconds(size_bytes)
            if pause_seconds > 0:
                self._call_later(pause_seconds, self._resume, self._request)
                return int(pycurl.READFUNC_PAUSE)
            return source.read(size_bytes)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failure = error
            return int(pycurl.READFUNC_ABORT)

    def _resume(self, request: Request) -> None:
        if self._request is request:
            # If the sink raises an error, which result() raises again, libcurl reports it here, too, and ends the
            # request.
            with suppress(pycurl.error):
                self.curl.pause(pycurl.PAUSE_CONT)

    def forget(self) -> None:
        """Forgets the request, which has ended, and its data."""
        self._request, self._body, self._failure = _NOTHING, [], None
        self._take = self._body.append

    def result(self, code: int, message: str) -> Response:
        """The response, once the request has ended with libcurl's ``code``.

        Raises:
            StoreError: the answer was an error, or there was none.
            BaseException: what the sink or the source raised.
        """
        try:
            return self._result(code, message)
        except StoreError as error:
            error.url = error.url or redacted(self._server.address.place(self._request.key))
            if isinstance(error, (BusyError, UnreachableError)):
                error.operation = "" if self._request.where else self._request.method
            raise

    def _result(self, code: int, message: str) -> Response:
        if self._failure is not None:
            raise self._failure
        server, request = self._server, self._request
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        if self._is_cut or code == pycurl.E_FILESIZE_EXCEEDED:
            if status < 300:
                self._body = []
                raise TooLongError(f"{self._where()}: the answer is longer than {request.limit_bytes} bytes")
            code = pycurl.E_OK
        if code != pycurl.E_OK:
            self._raise_without_answer(code, message)
        server.has_answered = True
        server.is_silence_mentioned = False
        # Bodies are not in local variables, because some tracebacks show these.
        if self._is_strange(status):
            kind = StoreError if request.key and request.method != "DELETE" else StrangeAnswerError
            raise strange(
                kind,
                status,
                Response(status, self._own_head()).header("location"),
                server.address.endpoint,
                self._where(),
            )
        if status >= 300:
            region = region_in(b"".join(self._body), status)
            if region not in ("", self._caller.signing.region):
                server.address.sign_for(region)
                told = f"the server's region is {region}, and not {self._caller.signing.region}"
                raise BusyError(f"{self._where()}: {told}")
            raise error_of_body(status, b"".join(self._body), self._where(), server.address.endpoint)
        wait_seconds = 0.0 if request.key else self._wait_seconds()
        if wait_seconds and request.method == "GET":
            server.waited(wait_seconds)
        response = Response(status, self._own_head(), self._body, wait_seconds)
        now = time.monotonic()
        if server.clock.is_due(now):
            server.clock.saw(seconds_of(response.header("date")), self._sent_at, now)
        return response

    def _raise_without_answer(self, code: int, message: str) -> None:
        server, where = self._server, self._where()
        # A busy server may also break a handshake. A certificate that is not trusted has other error codes.
        if code in _TLS_ERRORS and not (code == pycurl.E_SSL_CONNECT_ERROR and server.has_answered):
            raise EndpointError(f"{where}: no trusted TLS connection to {server.address.endpoint}: {message}")
        # A server that breaks the connection exists.
        server.has_answered |= code not in _NOBODY_THERE
        error = UnreachableError(f"{where}: cannot reach {server.address.endpoint}: {message}")
        error.is_overload = code == pycurl.E_OPERATION_TIMEDOUT
        raise error

    def _own_head(self) -> bytes:
        """The head of the final answer: not that of a proxy's answer to CONNECT, not an early hint, and no trailers.

        It may be called when the body begins, or at the end.
        """
        if not self._own:
            heads = b"".join(self._head)
            own = heads[heads.rfind(b"\nHTTP/") + 1 :]
            end = own.find(b"\n\r\n")
            if end < 0:
                end = own.find(b"\n\n")
            self._own = own[: end + 1] if end >= 0 else own
        return self._own

    def _is_strange(self, status: int) -> bool:
        """Whether the answer is not from an S3 server."""
        request = self._request
        if status < 300:
            return request.method == "GET" and not request.key and is_strange_page(b"".join(self._body[:1]))
        # For objects, some servers answer a plain 404, and an answer to HEAD has no body.
        if request.key and request.method in ("GET", "HEAD"):
            return False
        body = b"".join(self._body)
        is_gone = request.method == "DELETE" and status == 404 and not body.strip()
        return not is_gone and is_strange(status, body)

    def _wait_seconds(self) -> float:
        sent, begun = self.curl.getinfo(pycurl.PRETRANSFER_TIME), self.curl.getinfo(pycurl.STARTTRANSFER_TIME)
        return float(begun - sent)
