"""What a profile adds to requests: encryption, requester pays, refreshed credentials, a private CA."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

import pos3
from tests.support import Proxy, RcloneServer, Request, S3Site, Status, contents, on, write_tree

PutBefore = Callable[..., Proxy]
MIB = 1024 * 1024


def profile_of(site: S3Site, endpoint: str, **changes: object) -> pos3.Profile:
    keys = {"access_key": site.server.access_key, "secret_key": site.server.secret_key}
    return pos3.Profile("acme", endpoint, **(keys | changes))  # type: ignore[arg-type]


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def test_uploads_of_a_kms_profile_are_encrypted_and_come_back_whole(moto_site: S3Site, tmp_path: Path) -> None:
    profile = profile_of(moto_site, moto_site.server.endpoint_url, sse_kms_key_id="alias/mine")
    tree = write_tree(tmp_path / "tree", {"small": b"1", "large": bytes(9 * MIB), "odd\nname": b"2", "empty/": b""})
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, profile=profile)
    for key in ("data/small", "data/large", "data/odd\nname", "data/empty/"):
        head = moto_site.server.s3.head_object(Bucket=moto_site.bucket, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    with pos3.mirror(tmp_path / "other", show_progress=False) as mirror:
        fetched = contents(pos3.download(moto_site.url("data"), profile=profile))
        assert fetched["large"] == bytes(9 * MIB)
        assert (fetched["small"], fetched["odd\nname"]) == (b"1", b"2")
        assert mirror.report().downloaded_files == 3


def test_server_side_encryption_is_asked_for_by_name(moto_site: S3Site, tmp_path: Path) -> None:
    profile = profile_of(moto_site, moto_site.server.endpoint_url, server_side_encryption="AES256")
    with opened(tmp_path):
        write_tree(pos3.upload(moto_site.url("data"), profile=profile), {"a": b"1"})
    head = moto_site.server.s3.head_object(Bucket=moto_site.bucket, Key="data/a")
    assert head["ServerSideEncryption"] == "AES256"


def test_a_requester_pays_profile_says_so_in_every_request(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    moto_site.put("data/a", b"1")
    proxy = proxied(moto_site)
    profile = profile_of(moto_site, proxy.endpoint_url, requester_pays=True)
    with opened(tmp_path):
        pos3.download(moto_site.url("data"), profile=profile)
        write_tree(pos3.upload(moto_site.url("up"), profile=profile), {"a": b"1", "large": bytes(9 * MIB)})
    assert {request.kind for request in proxy.requests} >= {"LIST", "GET", "PUT", "HEAD"}
    assert {request.headers.get("x-amz-request-payer") for request in proxy.requests} == {"requester"}


def test_credentials_that_expire_are_refreshed(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of the credential process gives another key, which is valid for a second."""
    count = tmp_path / "count"
    program = tmp_path / "credentials.py"
    program.write_text(
        "import datetime, json, pathlib, sys\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{number}', 'SecretAccessKey': 'secret',\n"
        "                  'SessionToken': f'token{number}', 'Expiration': expiry.isoformat()}))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[profile rotating]\ncredential_process = {sys.executable} {program}\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    proxy = proxied(moto_site)
    profile = pos3.Profile("rotating", proxy.endpoint_url, aws_profile="rotating")
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("up"), interval=None, profile=profile)
        for number in range(3):
            (out / f"file-{number}").write_text("x")
            pos3.flush(timeout=60)
            until = datetime.now(UTC) + timedelta(seconds=1.2)
            while datetime.now(UTC) < until:
                pass
    puts = [request for request in proxy.requests if request.kind == "PUT"]
    used = [request.headers["authorization"].split("Credential=")[1].split("/")[0] for request in puts]
    assert len(used) == 3
    assert len(set(used)) == 3
    assert json.loads(count.read_text()) >= 3


class TlsServer(RcloneServer):
    """rclone's server behind a certificate of a private authority."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.bundle, self._certificate, self._key = home / "ca.pem", home / "cert.pem", home / "key.pem"
        authority.cert_pem.write_to_path(str(self.bundle))
        issued.private_key_and_cert_chain_pem.write_to_path(str(self._certificate))
        issued.private_key_pem.write_to_path(str(self._key))

    def command(self, port: int) -> list[str]:
        return [*super().command(port), f"--cert={self._certificate}", f"--key={self._key}"]


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with TlsServer(tmp_path) as server:
        (server.data / "bucket" / "data").mkdir(parents=True)
        (server.data / "bucket" / "data" / "a").write_bytes(b"1")
        yield server


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
@pytest.mark.parametrize("trust", ["bundle", "off"])
def test_a_private_authority_is_trusted_where_the_profile_says_so(
    tls_server: TlsServer, tmp_path: Path, trust: str
) -> None:
    verify = str(tls_server.bundle) if trust == "bundle" else False
    keys = {"access_key": tls_server.access_key, "secret_key": tls_server.secret_key}
    profile = pos3.Profile("private", tls_server.endpoint_url, verify=verify, **keys)
    with opened(tmp_path):
        assert contents(pos3.download("s3://bucket/data", profile=profile)) == {"a": b"1"}
        write_tree(pos3.upload("s3://bucket/up", profile=profile), {"b": b"2"})
    assert (tls_server.data / "bucket" / "up" / "b").read_bytes() == b"2"


def test_a_certificate_of_nobody_known_is_refused_and_named(tls_server: TlsServer, tmp_path: Path) -> None:
    keys = {"access_key": tls_server.access_key, "secret_key": tls_server.secret_key}
    with opened(tmp_path), pytest.raises(pos3.EndpointError, match="TLS"):
        pos3.download("s3://bucket/data", profile=pos3.Profile("private", tls_server.endpoint_url, **keys))


@pytest.fixture
def north(moto_site: S3Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, str]]:
    """moto stands for AWS: all names lead to it, as through an HTTP proxy. A bucket of it is in eu-north-1."""
    bucket = f"{moto_site.bucket}-north"
    where = {"LocationConstraint": "eu-north-1"}
    moto_site.server.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with Proxy(moto_site.server) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint_url)
        monkeypatch.setenv("http_proxy", proxy.endpoint_url)
        yield proxy, bucket


def signed_for(request: Request) -> str:
    """The region in the signature of a request."""
    return request.headers["authorization"].split("/s3/aws4_request")[0].rpartition("/")[2]


def test_a_bucket_of_another_aws_region_is_found_and_signed_for(
    moto_site: S3Site, tmp_path: Path, north: tuple[Proxy, str]
) -> None:
    proxy, bucket = north
    profile = profile_of(moto_site, "http://s3.us-east-1.amazonaws.com")
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    with opened(tmp_path):
        pos3.upload(f"s3://{bucket}/data", tree, profile=profile)
    assert moto_site.server.get(bucket, "data/a") == b"1"
    [asked, *rest] = proxy.requests
    assert (asked.method, signed_for(asked)) == ("HEAD", "us-east-1")
    assert {request.headers["host"] for request in rest} == {f"{bucket}.s3.eu-north-1.amazonaws.com"}
    assert {signed_for(request) for request in rest} == {"eu-north-1"}


def test_a_region_that_a_busy_server_does_not_tell_is_asked_for_again(
    moto_site: S3Site, tmp_path: Path, north: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for the usual one, it would make every later request of the mirror fail."""
    proxy, bucket = north
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    moto_site.server.put(bucket, "data/a", b"1")
    proxy.inject(Status(code=503, error_code="SlowDown", match=on(method="HEAD")))
    profile = profile_of(moto_site, "http://s3.us-east-1.amazonaws.com")
    with opened(tmp_path):
        with pytest.raises(pos3.StoreError, match=f"s3://{bucket}.*(SlowDown|503)"):
            pos3.ls(f"s3://{bucket}/data", profile=profile)
        assert {request.method for request in proxy.requests} == {"HEAD"}
        proxy.inject()
        proxy.clear()
        assert pos3.ls(f"s3://{bucket}/data", profile=profile) == [f"s3://{bucket}/data/a"]
    [asked, *rest] = proxy.requests
    assert asked.method == "HEAD"
    assert {signed_for(request) for request in rest} == {"eu-north-1"}
