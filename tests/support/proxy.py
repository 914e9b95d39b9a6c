"""An HTTP proxy in front of an S3 server that records every request and breaks those it is told to break.

The bytes that a client signs pass unchanged, the Host header included, so signatures stay valid. Bodies are
streamed: memory stays flat whatever their size. Everything runs in one thread of its own, so that a blocked
or CPU-bound test does not stall it, and a Proxy's methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.sax.saxutils import escape

from tests.support.answers import Answer
from tests.support.faults import Fault, Refusal, Sabotage
from tests.support.messages import Headers, abort, copy_body, discard, head, read_head, silence
from tests.support.request import Request
from tests.support.servers import Server

_HEAD_LIMIT = 256 * 1024


class Proxy:
    """`with Proxy(server, seed=1) as proxy:` then talk to `proxy.server` instead of `server`."""

    def __init__(self, server: Server, *faults: Fault, seed: int = 0) -> None:
        self._upstream = urlsplit(server.endpoint_url)
        self._origin = server
        self._faults: tuple[Fault, ...] = faults
        self._dice = Random(seed)
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._in_flight = 0
        self._peak = 0
        self._since_clear: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._hangs_end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="s3-proxy", daemon=True)
        self._port = 0

    # -- what tests use

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def server(self) -> Server:
        """The server as reached through this proxy."""
        return self._origin.through(self.endpoint_url)

    def inject(self, *faults: Fault) -> None:
        """From the next request on, these faults and no others; without arguments the proxy is honest."""
        self._faults = faults

    def end_hangs(self) -> None:
        """Resets the connections of all requests that hang now."""

        def end() -> None:
            self._hangs_end.set()
            self._hangs_end = asyncio.Event()

        self._loop.call_soon_threadsafe(end)

    @property
    def requests(self) -> list[Request]:
        """A copy of what was recorded so far, in order of arrival."""
        with self._lock:
            return [replace(request) for request in self._requests]

    def count(self, kind: str | None = None) -> int:
        """How many requests of this kind (None: of any kind) were recorded."""
        with self._lock:
            return sum(1 for request in self._requests if kind is None or request.kind == kind)

    @property
    def kinds(self) -> dict[str, int]:
        """How many requests of each kind were recorded."""
        tally: dict[str, int] = {}
        for request in self.requests:
            tally[request.kind] = tally.get(request.kind, 0) + 1
        return tally

    @property
    def peak(self) -> int:
        """The most requests that were under way at the same time."""
        return self._peak

    @property
    def under_way(self) -> int:
        """How many requests are under way, those of clients that have left included."""
        return self._in_flight

    @property
    def connections(self) -> int:
        """How many connections that were begun since :meth:`clear` are open."""
        return len(self._since_clear)

    def clear(self) -> None:
        """Forgets what was recorded; faults stay."""
        with self._lock:
            self._requests.clear()
            self._peak = self._in_flight
            self._since_clear = set()

    def settle(self, timeout_seconds: float = 20.0) -> None:
        """Returns when all that dead clients had sent is done, also what nobody had read yet.

        Raises:
            TimeoutError: a connection that was begun since :meth:`clear` is still open.
        """
        # Connections are accepted in the order in which they came, so this one is behind those of the dead.
        with socket.create_connection(("127.0.0.1", self._port), timeout_seconds) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        deadline = time.monotonic() + timeout_seconds
        while self._since_clear:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self._since_clear)} connection(s) open after {timeout_seconds} s")
            time.sleep(0.002)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # -- the thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._connection(reader, writer))
            for known in (connections, self._since_clear):
                known.add(task)
                task.add_done_callback(known.discard)

        listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        self._port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            listener.close()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = _Upstream(self._upstream.hostname or "127.0.0.1", self._upstream.port or 80)
        try:
            while await self._exchange(reader, writer, upstream):
                pass
            await writer.drain()
        except (_ResetError, OSError, EOFError, asyncio.LimitOverrunError):
            abort(writer)
        finally:
            upstream.close()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: _Upstream) -> bool:
        """Handles one request; whether the client may send another on this connection."""
        first, headers = await read_head(reader)
        if not first:
            return False
        method, target, _ = first.split(" ", 2)
        request = Request.parse(method, target, {name.lower(): value for name, value in headers})
        sabotage = self._judge(request)
        with self._under_way():
            return await self._carry_out(_Call(request, target, headers, sabotage), reader, writer, upstream)

    async def _carry_out(
        self, call: _Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: _Upstream
    ) -> bool:
        request, sabotage = call.request, call.sabotage
        if sabotage.delay:
            await asyncio.sleep(sabotage.delay)
        if sabotage.reset_before:
            raise _ResetError
        if sabotage.hang:
            await silence(reader, sabotage.hang, self._hangs_end)
            raise _ResetError
        if sabotage.refusal:
            if "100-continue" not in request.headers.get("expect", ""):
                await copy_body(reader, request.headers, discard)
            return await self._refuse(call, sabotage.refusal, writer)

        request.forwarded = True
        await upstream.open()
        seen = [(name, value) for name, value in call.headers if name.lower() not in sabotage.unseen]
        upstream.send_head(f"{request.method} {_asked(call.target, sabotage.query)} HTTP/1.1", seen)
        if "100-continue" in request.headers.get("expect", ""):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        async def up(data: bytes) -> None:
            request.sent += len(data)
            await upstream.write(data)

        await copy_body(reader, request.headers, up)
        status_line, headers = await upstream.read_head()
        if not status_line:
            raise _ResetError
        answer = Answer(request, sabotage, status_line, headers, upstream.reader)
        try:
            return await self._hand_over(call, answer, reader, writer)
        finally:
            if answer.is_last:
                upstream.close()

    async def _hand_over(
        self, call: _Call, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        sabotage = call.sabotage
        if sabotage.reset_after or sabotage.refusal_after:
            await answer.swallow()
        if sabotage.reset_after:
            raise _ResetError
        if sabotage.refusal_after:
            return await self._refuse(call, sabotage.refusal_after, writer)
        if sabotage.answer_delay:
            # A client that gives up earlier is let go at once.
            await silence(reader, sabotage.answer_delay, self._hangs_end)
        await answer.pass_on(writer, self._dice)
        return answer.is_framed and "close" not in call.request.headers.get("connection", "").lower()

    async def _refuse(self, call: _Call, refusal: Refusal, writer: asyncio.StreamWriter) -> bool:
        request = call.request
        waiting = "100-continue" in request.headers.get("expect", "")
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
            f"<Resource>{escape(request.path)}</Resource><RequestId>injected</RequestId></Error>"
        ).encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        request.status = refusal.status
        writer.write(head(f"HTTP/1.1 {refusal.status} {refusal.code}", headers, keep_alive=not waiting))
        if request.method != "HEAD":
            request.received += len(body)
            writer.write(body)
        await writer.drain()
        return not waiting

    def _judge(self, request: Request) -> Sabotage:
        sabotage = Sabotage()
        for fault in self._faults:
            if fault.strikes(request, self._dice):
                fault.apply(sabotage)
                sabotage.names.append(type(fault).__name__)
        request.faults = tuple(sabotage.names)
        with self._lock:
            self._requests.append(request)
        return sabotage

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[None]:
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1


def _asked(target: str, changed: dict[str, str]) -> str:
    """A request's target with some parameters changed."""
    if not changed:
        return target
    path, _, query = target.partition("?")
    parameters = {**dict(parse_qsl(query, keep_blank_values=True)), **changed}
    return f"{path}?{urlencode({name: value for name, value in parameters.items() if value or name not in changed})}"


class _ResetError(Exception):
    """The client's connection is to end with RST."""


@dataclass
class _Call:
    request: Request
    target: str
    headers: Headers
    sabotage: Sabotage


class _Upstream:
    """The connection to the server that belongs to one client connection; reused while both sides keep it."""

    reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter | None = None

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    async def open(self) -> None:
        if self._writer is not None and not self.reader.at_eof() and not self._writer.is_closing():
            return
        self.close()
        self.reader, self._writer = await asyncio.open_connection(*self._address, limit=_HEAD_LIMIT)

    def send_head(self, line: str, headers: Headers) -> None:
        assert self._writer is not None
        self._writer.write(head(line, headers, keep_alive=True))

    async def write(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def read_head(self) -> tuple[str, Headers]:
        while True:
            line, headers = await read_head(self.reader)
            if line.split(" ", 2)[1:2] != ["100"]:
                return line, headers

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
