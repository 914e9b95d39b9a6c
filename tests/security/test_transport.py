"""TLS is on unless somebody turns it off, and no answer of a server turns it off."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest
import trustme

import pos3
from pos3.store.s3.client import Connection
from tests.support import Handler, S3Site, ScriptedServer

PutBefore = Callable[..., object]


@pytest.mark.parametrize(
    "profile", [None, pos3.Profile("x", None), pos3.Profile("x", None, True)], ids=["none", "signed", "public"]
)
def test_aws_itself_is_reached_over_verified_tls(monkeypatch: pytest.MonkeyPatch, profile: pos3.Profile | None) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    connection = Connection(profile)
    assert connection.endpoint.startswith("https://")
    # True, or the bundle that the environment names.
    assert connection.client._endpoint.http_session._verify


PAGE = (
    b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>data/a</Key><Size>3</Size>"
    b"<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>900150983cd24fb0d6963f7d28e17f72</ETag>"
    b"</Contents></ListBucketResult>"
)


class Recorder(Handler):
    """Notes what it is asked, and answers with an object."""

    asked: list[str]

    def respond(self) -> None:
        self.asked.append(self.path)
        if "list-type=2" in self.path:
            self.listed()
        else:
            self.fetched()

    def listed(self) -> None:
        self.answer(200, PAGE, Connection="close")

    def fetched(self) -> None:
        dated = "Thu, 01 Jan 2026 00:00:00 GMT"
        self.answer(200, b"abc", ETag='"900150983cd24fb0d6963f7d28e17f72"', Last_Modified=dated, Connection="close")


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """`serve(handler, context)`: its URL, over TLS if there is a context."""
    with ExitStack() as stack:
        yield lambda handler, context=None: stack.enter_context(ScriptedServer(handler, context)).endpoint_url


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """TLS with a certificate of the authority in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def download(endpoint: str, tmp_path: Path) -> None:
    profile = pos3.Profile("x", endpoint, access_key="k", secret_key="s", verify=str(tmp_path / "ca.pem"))
    with opened(tmp_path):
        pos3.download("s3://bucket/data", profile=profile)


def test_a_redirect_from_tls_to_plain_http_is_not_followed(
    serve: Callable[..., str], context: ssl.SSLContext, tmp_path: Path
) -> None:
    class Plain(Recorder):
        asked: ClassVar = []

    elsewhere = serve(Plain)

    class Redirecting(Recorder):
        asked: ClassVar = []

        def fetched(self) -> None:
            self.answer(307, Location=f"{elsewhere}{self.path}", Connection="close")

    with pytest.raises(pos3.TransferError):
        download(serve(Redirecting, context), tmp_path)
    assert Redirecting.asked
    assert Plain.asked == []
    assert list((tmp_path / "cache").rglob("a")) == []


def test_bodies_are_not_taken_from_whom_nobody_trusts(
    serve: Callable[..., str], context: ssl.SSLContext, tmp_path: Path
) -> None:
    class Impostor(Recorder):
        """Lists one object, and from then on has a certificate of nobody known."""

        asked: ClassVar = []

        def listed(self) -> None:
            trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
            super().listed()

    # Who could take up a session again has the keys of the server that was trusted, and is no impostor.
    context.num_tickets = 0
    with pytest.raises(pos3.TransferError, match="TLS"):
        download(serve(Impostor, context), tmp_path)
    assert all("list-type=2" in path for path in Impostor.asked)
    assert list((tmp_path / "cache").rglob("a")) == []


def test_a_handshake_that_breaks_off_is_tried_again_once_the_server_has_answered(
    serve: Callable[..., str], context: ssl.SSLContext, tmp_path: Path
) -> None:
    class Busy(Recorder):
        """Lists one object, and then breaks off some handshakes, as a server does that is too busy for them."""

        asked: ClassVar = []
        broken = 0

        def listed(self) -> None:
            context.sni_callback = self.handshake
            super().listed()

        @classmethod
        def handshake(cls, *_: object) -> int | None:
            if cls.broken >= 2:
                return None
            cls.broken += 1
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR

    download(serve(Busy, context), tmp_path)
    assert Busy.broken == 2
    [file] = (tmp_path / "cache" / "x").rglob("a")
    assert file.read_bytes() == b"abc"


def test_a_handshake_that_breaks_off_with_whom_nobody_has_talked_is_an_error_at_once(
    serve: Callable[..., str], tmp_path: Path
) -> None:
    """Most likely nobody speaks TLS there."""

    class Plain(Recorder):
        asked: ClassVar = []

    profile = pos3.Profile("x", serve(Plain).replace("http://", "https://"), access_key="k", secret_key="s")
    began = time.monotonic()
    with opened(tmp_path), pytest.raises(pos3.EndpointError, match="TLS"):
        pos3.download("s3://bucket/data", profile=profile)
    assert time.monotonic() - began < 2


def test_plain_http_is_used_where_the_endpoint_says_so(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    assert rclone_site.server.endpoint_url.startswith("http://")
    with opened(tmp_path):
        assert (pos3.download(rclone_site.url("data")) / "a").read_bytes() == b"1"
