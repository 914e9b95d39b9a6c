"""A proxy that every host's TLS ends at: whatever endpoint a client believes in, it talks to one S3 server.

A test shows with it which host, path and signature a client has chosen, without a name being looked up.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import trustme

from tests.support.scripted import QuietServer
from tests.support.servers import Server
from tests.support.signatures import is_signed

_NOT_PASSED_ON = ("host", "connection", "proxy-connection", "expect", "transfer-encoding")
_SESSION = (
    b'<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials>'
    b"<AccessKeyId>session-key</AccessKeyId><SecretAccessKey>session-secret</SecretAccessKey>"
    b"<SessionToken>session-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
    b"</Credentials></CreateSessionResult>"
)


@dataclass(frozen=True)
class Asked:
    """A request as it left the client. ``tunnel`` is the host and port that the proxy was asked for."""

    tunnel: str
    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        return self.headers["host"]

    @property
    def signature(self) -> tuple[str, str, str, str]:
        """Algorithm, access key, region or set of regions, and service; empty texts without a signature."""
        signed = self.headers.get("authorization", "")
        algorithm, _, rest = signed.partition(" ")
        scope = re.search(r"Credential=([^,]+)", rest)
        if scope is None:
            return algorithm, "", "", ""
        parts = scope[1].split("/")
        regions = self.headers.get("x-amz-region-set") or parts[2]
        return algorithm, parts[0], regions, parts[-2]

    def is_signed_with(self, secret: str) -> bool:
        return is_signed(self.method, self.target, self.headers, self.body, secret)


class TlsProxy:
    """`with TlsProxy(server, directory) as proxy:` clients take `proxy.url` as their proxy and trust `proxy.bundle`.

    With `secured`, the proxy itself is reached over TLS, and only for requests over plain HTTP.

    Whatever they ask for is asked of the bucket that :meth:`lead` has named, but for sessions of directory buckets,
    which the proxy gives itself. The next `busy` other requests are answered with 503. With a `region`, what is signed
    for another one is refused as by AWS.
    """

    def __init__(self, server: Server, directory: Path, *, secured: bool = False):
        self._upstream = urlsplit(server.endpoint_url).netloc
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._named, self._bucket, self._base = "", "", ""
        self.bundle = str(directory / "authority.pem")
        self._authority.cert_pem.write_to_path(self.bundle)
        self.requests: list[Asked] = []
        self.busy = 0
        self.region = ""
        self._server: ThreadingHTTPServer = QuietServer(("127.0.0.1", 0), _handler(self))
        if secured:
            self._server.socket = self.context("127.0.0.1").wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if secured else 'http'}://127.0.0.1:{self._server.server_port}"

    def lead(self, named: str, bucket: str, base: str = "") -> None:
        """Requests for the bucket ``named``, in the host or in the path, go to ``bucket`` of the server.

        Args:
            base: what paths of the endpoint begin with.
        """
        self._named, self._bucket, self._base = named, bucket, base

    def clear(self) -> list[Asked]:
        """What was asked since the last call."""
        with self._lock:
            asked, self.requests = self.requests, []
        return asked

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def context(self, host: str) -> ssl.SSLContext:
        """TLS with a certificate for the host."""
        with self._lock:
            if host not in self._contexts:
                made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(made)
                self._contexts[host] = made
            return self._contexts[host]

    def answer(self, asked: Asked) -> tuple[int, Iterable[tuple[str, str]], bytes]:
        with self._lock:
            self.requests.append(asked)
            is_busy = self.busy > 0 and asked.method != "CONNECT"
            self.busy -= is_busy
        if is_busy:
            return 503, (), b"<Error><Code>SlowDown</Code></Error>"
        if self.region and asked.signature[2] not in ("", self.region):
            told = f"<Code>AuthorizationHeaderMalformed</Code><Region>{self.region}</Region>"
            return 400, [("x-amz-bucket-region", self.region)], f"<Error>{told}</Error>".encode()
        if asked.query.startswith("session"):
            return 200, (), _SESSION
        path = asked.path.removeprefix(self._base)
        key = f"{path}/".removeprefix(f"/{quote(self._named)}/")[:-1].removeprefix("/")
        headers = {name: value for name, value in asked.headers.items() if name not in _NOT_PASSED_ON}
        with closing(http.client.HTTPConnection(self._upstream)) as upstream:
            target = f"/{self._bucket}/{key}?{asked.query}".rstrip("?")
            upstream.request(asked.method, target, asked.body, headers)
            response = upstream.getresponse()
            return response.status, response.getheaders(), response.read()


def _handler(proxy: TlsProxy) -> type[BaseHTTPRequestHandler]:
    class Tunnel(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        tunnel = ""

        def log_message(self, *_: object) -> None:
            return

        def do_CONNECT(self) -> None:
            self.tunnel = self.path
            self.send_response(200)
            self.end_headers()
            secured = proxy.context(self.path.rpartition(":")[0]).wrap_socket(self.connection, server_side=True)
            self.request = self.connection = secured
            self.rfile, self.wfile = secured.makefile("rb"), secured.makefile("wb", 0)  # type: ignore[assignment]
            self.close_connection = False

        def finish(self) -> None:
            super().finish()
            # The server knows the connection that was before it.
            self.connection.close()

        def pass_on(self) -> None:
            target, tunnel = self.path, self.tunnel
            if not tunnel:
                # A request over plain HTTP names the whole URL.
                parts = urlsplit(target)
                tunnel, target = parts.netloc, target[len(f"{parts.scheme}://{parts.netloc}") :]
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length") or 0))
            status, answered, content = proxy.answer(Asked(tunnel, self.command, target, headers, body))
            self.send_response(status)
            length = str(len(content))
            for name, value in answered:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - as above

    return Tunnel
