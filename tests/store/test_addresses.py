"""Where a bucket is and how its requests are signed: the same as what boto3 itself sends, setting by setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

import pos3
from tests.support import Asked, MotoServer, TlsProxy

KEY = "data/ä b+c~(1)/x.txt"
BUCKET = "pos3-addresses"
DOTTED = "pos3.with.dots"
ACCOUNT = "123456789012"
ACCESS_POINT = f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/pos3-point"
OUTPOST = f"arn:aws:s3-outposts:eu-west-1:{ACCOUNT}:outpost/op-01234567890123456/accesspoint/pos3-point"
LAMBDA = f"arn:aws:s3-object-lambda:eu-west-1:{ACCOUNT}:accesspoint/pos3-lambda"
MULTI_REGION = f"arn:aws:s3::{ACCOUNT}:accesspoint/mfzwi23gnjvgw.mrap"
DIRECTORY = "pos3-addresses--use1-az4--x-s3"
EAST = {"AWS_DEFAULT_REGION": "us-east-1"}
WEST = {"AWS_DEFAULT_REGION": "eu-west-1"}


@dataclass(frozen=True)
class Case:
    """Settings, and the bucket that they are tried with.

    ``config`` is the AWS configuration file; ``profile`` holds arguments of a profile, which mean for boto3 those of
    ``client``. The bucket is in the region ``home``, and paths of the endpoint begin with ``base``.
    """

    bucket: str = BUCKET
    environment: dict[str, str] = field(default_factory=lambda: EAST)
    config: str = ""
    profile: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    home: str = "us-east-1"
    base: str = ""


def s3_section(text: str, region: str = "us-east-1") -> str:
    """A configuration file with one setting in its section of S3."""
    return f"[default]\nregion = {region}\ns3 =\n  {text}\n"


SERVICES = """
[default]
region = us-east-1
services = lab
endpoint_url = https://other.example.com
[services lab]
s3 =
  endpoint_url = https://storage.example.com
"""
NAMED = {**EAST, "AWS_ENDPOINT_URL": "https://storage.example.com"}
CASES = {
    "nothing-set": Case(environment={}),
    "us-east-1": Case(),
    "another-region": Case(environment=WEST, home="eu-west-1"),
    "region-of-the-file": Case(environment={}, config="[default]\nregion = eu-west-1\n", home="eu-west-1"),
    "us-east-1-regional": Case(environment={**EAST, "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"}),
    "us-east-1-regional-by-the-file": Case(environment={}, config=s3_section("us_east_1_regional_endpoint = regional")),
    "dotted-name": Case(DOTTED),
    "path-style": Case(environment={}, config=s3_section("addressing_style = path")),
    "path-style-of-another-region": Case(
        environment={}, config=s3_section("addressing_style = path", "eu-west-1"), home="eu-west-1"
    ),
    "path-style-of-the-profile": Case(
        profile={"addressing_style": "path"}, client={"config": Config(s3={"addressing_style": "path"})}
    ),
    "virtual-style": Case(environment={}, config=s3_section("addressing_style = virtual")),
    "accelerate": Case(environment={}, config=s3_section("use_accelerate_endpoint = true")),
    "accelerate-dualstack": Case(
        environment={"AWS_USE_DUALSTACK_ENDPOINT": "true"}, config=s3_section("use_accelerate_endpoint = true")
    ),
    "dualstack": Case(environment={**EAST, "AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    "dualstack-by-the-file": Case(
        environment={}, config=s3_section("use_dualstack_endpoint = true", "eu-west-1"), home="eu-west-1"
    ),
    "dualstack-of-a-dotted-name": Case(DOTTED, {**WEST, "AWS_USE_DUALSTACK_ENDPOINT": "true"}, home="eu-west-1"),
    "fips-in-us-east-1": Case(environment={**EAST, "AWS_USE_FIPS_ENDPOINT": "true"}),
    "fips-in-us-west-2": Case(
        environment={"AWS_DEFAULT_REGION": "us-west-2", "AWS_USE_FIPS_ENDPOINT": "true"}, home="us-west-2"
    ),
    "fips-by-the-file": Case(environment={}, config="[default]\nregion = us-east-1\nuse_fips_endpoint = true\n"),
    "fips-dualstack": Case(environment={**EAST, "AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    "china": Case(environment={"AWS_DEFAULT_REGION": "cn-north-1"}, home="cn-north-1"),
    "gov": Case(environment={"AWS_DEFAULT_REGION": "us-gov-west-1"}, home="us-gov-west-1"),
    "endpoint": Case(environment=NAMED),
    "endpoint-of-s3": Case(environment={**NAMED, "AWS_ENDPOINT_URL_S3": "https://s3.example.com:8443"}),
    "endpoint-with-a-path": Case(
        environment={**EAST, "AWS_ENDPOINT_URL": "https://storage.example.com/base/s3/"}, base="/base/s3"
    ),
    "endpoint-and-region": Case(environment={**NAMED, "AWS_DEFAULT_REGION": "eu-west-1"}),
    "endpoint-and-a-dotted-name": Case(DOTTED, NAMED),
    "endpoint-and-virtual-style": Case(
        environment={"AWS_ENDPOINT_URL": "https://storage.example.com"}, config=s3_section("addressing_style = virtual")
    ),
    "endpoint-with-a-path-and-virtual-style": Case(
        environment={"AWS_ENDPOINT_URL": "https://storage.example.com/base"},
        config=s3_section("addressing_style = virtual"),
        base="/base",
    ),
    "virtual-style-and-a-dotted-name": Case(
        DOTTED,
        {"AWS_ENDPOINT_URL": "https://storage.example.com"},
        s3_section("addressing_style = virtual"),
    ),
    "virtual-style-and-an-address-of-digits": Case(
        environment={"AWS_ENDPOINT_URL": "https://192.0.2.7:9000"}, config=s3_section("addressing_style = virtual")
    ),
    "virtual-style-of-the-profile": Case(
        profile={"endpoint": "https://storage.example.com", "addressing_style": "virtual"},
        client={
            "endpoint_url": "https://storage.example.com",
            "config": Config(s3={"addressing_style": "virtual"}),
        },
    ),
    "endpoint-over-plain-http": Case(environment={**EAST, "AWS_ENDPOINT_URL": "http://storage.example.com"}),
    "endpoint-and-fips": Case(environment={**NAMED, "AWS_USE_FIPS_ENDPOINT": "true"}),
    "endpoint-and-dualstack": Case(environment={**NAMED, "AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    "endpoint-in-the-file": Case(
        environment={}, config="[default]\nregion = us-east-1\nendpoint_url = https://storage.example.com\n"
    ),
    "services": Case(environment={}, config=SERVICES),
    "services-and-the-environment": Case(environment={"AWS_ENDPOINT_URL": "https://s3.example.com"}, config=SERVICES),
    "ignored-endpoints": Case(environment={**NAMED, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
    "ignored-endpoints-by-the-file": Case(
        environment=NAMED, config="[default]\nregion = us-east-1\nignore_configured_endpoint_urls = true\n"
    ),
    "not-ignored-endpoints": Case(
        environment={**NAMED, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
        config="[default]\nignore_configured_endpoint_urls = true\n",
    ),
    "ignored-services": Case(
        environment={}, config=SERVICES.replace("services = lab", "services = lab\nignore_configured_endpoint_urls = 1")
    ),
    "ignored-services-by-the-environment": Case(
        environment={"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"}, config=SERVICES
    ),
    "endpoint-of-the-profile": Case(
        environment={**EAST, "AWS_ENDPOINT_URL": "https://other.example.com"},
        profile={"endpoint": "https://storage.example.com", "region": "eu-west-1"},
        client={"endpoint_url": "https://storage.example.com", "region_name": "eu-west-1"},
    ),
    "old-signature": Case(environment={}, config=s3_section("signature_version = s3")),
    "public": Case(profile={"public": True}, client={"config": Config(signature_version=UNSIGNED)}),
    "public-at-an-endpoint": Case(
        environment=NAMED, profile={"public": True}, client={"config": Config(signature_version=UNSIGNED)}
    ),
    "access-point": Case(ACCESS_POINT, WEST),
    "access-point-of-another-region": Case(ACCESS_POINT),
    "access-point-dualstack": Case(ACCESS_POINT, {**WEST, "AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    "access-point-at-an-endpoint": Case(ACCESS_POINT, {**NAMED, "AWS_DEFAULT_REGION": "eu-west-1"}),
    "public-access-point": Case(
        ACCESS_POINT, WEST, profile={"public": True}, client={"config": Config(signature_version=UNSIGNED)}
    ),
    "access-point-alias": Case("pos3-point-abcdefghijklmnopqrstuvwx1234-s3alias"),
    "access-point-of-an-outpost": Case(OUTPOST, WEST),
    "object-lambda": Case(LAMBDA, WEST),
    "multi-region-access-point": Case(MULTI_REGION),
    "directory-bucket": Case(DIRECTORY),
    "directory-bucket-without-sessions": Case(DIRECTORY, {**EAST, "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH": "true"}),
    "directory-bucket-at-an-endpoint": Case(DIRECTORY, NAMED),
}


@pytest.fixture(scope="module")
def proxy(moto: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsProxy]:
    """moto stands for every endpoint; its buckets, one in each region, hold one object that everybody may read."""
    servers = {
        home: replace(moto.through(moto.endpoint_url), region=home) for home in {case.home for case in CASES.values()}
    }
    for home, server in servers.items():
        server.create_bucket(f"{BUCKET}-{home}")
        server.s3.put_object(Bucket=f"{BUCKET}-{home}", Key=KEY, Body=b"1", ACL="public-read")
        server.s3.put_bucket_acl(Bucket=f"{BUCKET}-{home}", ACL="public-read")
    with TlsProxy(moto, tmp_path_factory.mktemp("proxy")) as started:
        yield started
    for home, server in servers.items():
        server.drop_bucket(f"{BUCKET}-{home}")
        server.s3.close()


@pytest.fixture
def configure(proxy: TlsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], None]:
    """`configure(case)` makes its settings those of the environment."""

    def configured(case: Case) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-access")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("AWS_CA_BUNDLE", proxy.bundle)
        (tmp_path / "config").write_text(case.config)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        for name, value in case.environment.items():
            monkeypatch.setenv(name, value)
        proxy.lead(case.bucket, f"{BUCKET}-{case.home}", case.base)
        proxy.clear()

    return configured


def by_boto3(case: Case, proxy: TlsProxy) -> Asked:
    """The request for the object that boto3 sends."""
    with closing(boto3.session.Session().client("s3", **case.client)) as client:
        assert client.get_object(Bucket=case.bucket, Key=KEY)["Body"].read() == b"1"
    return next(asked for asked in proxy.clear() if asked.path.endswith("x.txt"))


def by_pos3(case: Case, proxy: TlsProxy, tmp_path: Path) -> list[Asked]:
    """The requests that pos3 sends to download the object, but for the one that asks for the bucket's region."""
    profile = pos3.Profile("case", **{"endpoint": None, **case.profile}) if case.profile else None
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(f"s3://{case.bucket}/{KEY}", tmp_path / "x.txt", profile=profile)
    assert path.read_bytes() == b"1"
    return [asked for asked in proxy.clear() if asked.method == "GET" and not asked.query.startswith("session")]


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_requests_go_where_those_of_boto3_go_and_are_signed_for_the_same_region(
    case: Case, proxy: TlsProxy, configure: Callable[[Case], None], tmp_path: Path
) -> None:
    if case.bucket == MULTI_REGION:
        pytest.importorskip("awscrt")
    configure(case)
    theirs = by_boto3(case, proxy)
    *listings, ours = by_pos3(case, proxy, tmp_path)
    assert (ours.tunnel, ours.host, ours.path) == (theirs.tunnel, theirs.host, theirs.path)
    assert ours.signature[:1] + ours.signature[2:] == theirs.signature[:1] + theirs.signature[2:]
    assert ours.signature[1] == theirs.signature[1]
    assert {(asked.host, asked.signature) for asked in listings} == {(ours.host, ours.signature)}
