"""A server for answers that no real S3 server gives on request."""

from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


class Handler(BaseHTTPRequestHandler):
    """Answers each request in a subclass's :meth:`respond`, by :meth:`answer`; says nothing on stderr."""

    protocol_version = "HTTP/1.1"
    # Head and body go out in two writes: without this, the second waits 40 ms for the client to acknowledge the first.
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        return

    def respond(self) -> None:
        raise NotImplementedError

    def body(self) -> bytes:
        """What the client sent; to be read before it is answered."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """One whole answer; `Last_Modified="..."` is the header Last-Modified."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(Handler, f"do_{_method}", lambda handler: handler.respond())


class QuietServer(ThreadingHTTPServer):
    """Says nothing about clients that leave."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients leave when they like.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ScriptedServer:
    """`with ScriptedServer(Handler) as server:` listens on a free port of 127.0.0.1, over TLS if there is a context."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None):
        self._server = QuietServer(("127.0.0.1", 0), handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.endpoint_url = f"{'http' if context is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
