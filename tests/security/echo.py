"""A server that quotes in its refusals what a request was signed with, as AWS does with tokens and signatures."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self
from xml.sax.saxutils import escape

_PAGE = (
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>data/{key}</Key><Size>3</Size>"
    "<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>900150983cd24fb0d6963f7d28e17f72</ETag></Contents>"
    "</ListBucketResult>"
)


class EchoServer:
    """Lists one object, and refuses everything else with `code`; with `lists=False`, refuses listings as well."""

    def __init__(self, code: str, status: int, *, lists: bool = True, key: str = "a"):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                return

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                listed = lists and self.command == "GET" and "list-type=2" in self.path
                body = (_PAGE.format(key=key) if listed else self._refusal()).encode()
                self.send_response(200 if listed else status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _refusal(self) -> str:
                token = escape(self.headers.get("x-amz-security-token", ""))
                signed = escape(self.headers.get("authorization", ""))
                return (
                    f"<Error><Code>{code}</Code>"
                    f"<Message>Refused: X-Amz-Security-Token={token}&amp;x=1, {signed}</Message>"
                    f"<Token-0>{token}</Token-0><StringToSign>{signed} {token}</StringToSign></Error>"
                )

        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler._answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
