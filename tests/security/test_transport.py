"""TLS is on unless somebody turns it off, and no answer of a server turns it off."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

import pos3
from pos3.store.s3_client import Connection
from tests.support import S3Site

PutBefore = Callable[..., object]


@pytest.mark.parametrize(
    "profile", [None, pos3.Profile("x", None), pos3.Profile("x", None, True)], ids=["none", "signed", "public"]
)
def test_aws_itself_is_reached_over_verified_tls(monkeypatch: pytest.MonkeyPatch, profile: pos3.Profile | None) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    connection = Connection(profile)
    assert connection.endpoint.startswith("https://")
    # True, or the bundle that the environment names.
    assert connection.client._endpoint.http_session._verify


PAGE = (
    b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>data/a</Key><Size>3</Size>"
    b"<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>900150983cd24fb0d6963f7d28e17f72</ETag>"
    b"</Contents></ListBucketResult>"
)


class Recorder:
    """A plain HTTP server that notes what it is asked, and answers with an object."""

    def __init__(self) -> None:
        asked: list[str] = []
        self.asked = asked

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def _answer(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "3")
                self.send_header("ETag", '"900150983cd24fb0d6963f7d28e17f72"')
                self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                self.end_headers()
                self.wfile.write(b"abc")

        Handler.do_GET = Handler._answer  # type: ignore[attr-defined]
        self.handler = Handler


class Redirecting(Recorder):
    """A TLS server that lists one object, and sends whoever wants it to another address."""

    def __init__(self, elsewhere: str) -> None:
        super().__init__()
        asked = self.asked

        class Handler(self.handler):  # type: ignore[name-defined, misc]
            def _answer(self) -> None:
                asked.append(self.path)
                lists = "list-type=2" in self.path
                self.send_response(200 if lists else 307)
                self.send_header("Location", f"{elsewhere}{self.path}")
                self.send_header("Content-Length", str(len(PAGE) if lists else 0))
                self.end_headers()
                if lists:
                    self.wfile.write(PAGE)

        Handler.do_GET = Handler._answer  # type: ignore[attr-defined]
        self.handler = Handler


class Impostor(Recorder):
    """A TLS server that lists one object, and from then on has a certificate of nobody known."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        asked, body_of = self.asked, self.handler.do_GET

        class Handler(self.handler):  # type: ignore[name-defined, misc]
            def _answer(self) -> None:
                if "list-type=2" not in self.path:
                    body_of(self)
                    return
                asked.append(self.path)
                trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
                self.send_response(200)
                self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

        Handler.do_GET = Handler._answer  # type: ignore[attr-defined]
        self.handler = Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """`serve(recorder, context)`: its URL, over TLS if there is a context."""
    servers: list[tuple[ThreadingHTTPServer, Thread]] = []

    def start(recorder: Recorder, context: ssl.SSLContext | None = None) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), recorder.handler)
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """TLS with a certificate of the authority in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


def download(endpoint: str, tmp_path: Path) -> None:
    profile = pos3.Profile("x", endpoint, access_key="k", secret_key="s", verify=str(tmp_path / "ca.pem"))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download("s3://bucket/data", profile=profile)


def test_a_redirect_from_tls_to_plain_http_is_not_followed(
    serve: Callable[..., str], context: ssl.SSLContext, tmp_path: Path
) -> None:
    plain = Recorder()
    secure = Redirecting(serve(plain))
    with pytest.raises(pos3.TransferError):
        download(serve(secure, context), tmp_path)
    assert secure.asked
    assert plain.asked == []
    assert list((tmp_path / "cache").rglob("a")) == []


def test_bodies_are_not_taken_from_whom_nobody_trusts(
    serve: Callable[..., str], context: ssl.SSLContext, tmp_path: Path
) -> None:
    impostor = Impostor(context)
    with pytest.raises(pos3.TransferError, match="TLS"):
        download(serve(impostor, context), tmp_path)
    assert all("list-type=2" in path for path in impostor.asked)
    assert list((tmp_path / "cache").rglob("a")) == []


def test_plain_http_is_used_where_the_endpoint_says_so(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    assert rclone_site.server.endpoint_url.startswith("http://")
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        assert (pos3.download(rclone_site.url("data")) / "a").read_bytes() == b"1"
