"""Where a bucket is and how its requests are signed: the same as what boto3 itself sends, setting by setting."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

import pos3
from pos3.store.s3.client import CONNECT_TIMEOUT_SECONDS, Connection
from tests.support import Asked, MotoServer, TlsProxy, contents, write_tree
from tests.support.program import ROOT
from tests.support.sessions import boto3_session
from tests.support.trees import pseudo_random

Configure = Callable[["Case"], None]
KEY = "data/ä b+c~(1)/x.txt"
BUCKET = "pos3-addresses"
DOTTED = "pos3.with.dots"
ACCOUNT = "123456789012"
ACCESS_POINT = f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/pos3-point"
OUTPOST = f"arn:aws:s3-outposts:eu-west-1:{ACCOUNT}:outpost/op-01234567890123456/accesspoint/pos3-point"
LAMBDA = f"arn:aws:s3-object-lambda:eu-west-1:{ACCOUNT}:accesspoint/pos3-lambda"
MULTI_REGION = f"arn:aws:s3::{ACCOUNT}:accesspoint/mfzwi23gnjvgw.mrap"
DIRECTORY = "pos3-addresses--use1-az4--x-s3"
SECRETS = {"test-access": "test-secret-key", "session-key": "session-secret"}
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
def configure(proxy: TlsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
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
        proxy.busy, proxy.region = 0, ""
        proxy.clear()

    return configured


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def by_boto3(case: Case, proxy: TlsProxy, refused: int = 0) -> Asked:
    """The request for the object that boto3 sends, after so many that were refused."""
    with closing(boto3_session().client("s3", **case.client)) as client:
        assert client.get_object(Bucket=case.bucket, Key=KEY)["Body"].read() == b"1"
    return [asked for asked in proxy.clear() if asked.path.endswith("x.txt")][refused]


def by_pos3(case: Case, proxy: TlsProxy, tmp_path: Path) -> list[Asked]:
    """The requests that pos3 sends to download the object, but for the one that asks for the bucket's region."""
    profile = pos3.Profile("case", **{"endpoint": None, **case.profile}) if case.profile else None
    with opened(tmp_path):
        path = pos3.download(f"s3://{case.bucket}/{KEY}", tmp_path / "x.txt", profile=profile)
    assert path.read_bytes() == b"1"
    return [asked for asked in proxy.clear() if asked.method == "GET" and not asked.query.startswith("session")]


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_requests_go_where_those_of_boto3_go_and_are_signed_for_the_same_region(
    case: Case, proxy: TlsProxy, configure: Configure, tmp_path: Path
) -> None:
    if case.bucket == MULTI_REGION:
        pytest.importorskip("awscrt")
    configure(case)
    theirs = by_boto3(case, proxy)
    *listings, ours = by_pos3(case, proxy, tmp_path)
    assert (ours.tunnel, ours.host, ours.path) == (theirs.tunnel, theirs.host, theirs.path)
    assert ours.signature[:1] + ours.signature[2:] == theirs.signature[:1] + theirs.signature[2:]
    assert ours.signature[1] == theirs.signature[1]
    # In a directory bucket, a HEAD finds the object.
    assert listings or case.bucket == DIRECTORY
    assert {(asked.host, asked.signature) for asked in (*listings, ours)} == {(ours.host, ours.signature)}
    if ours.signature[0]:
        secret = SECRETS[ours.signature[1]]
        assert [asked for asked in (theirs, ours, *listings) if not asked.is_signed_with(secret)] == []


# Endpoints of AWS itself


@pytest.mark.parametrize("named_by", ["profile", "environment"])
@pytest.mark.parametrize(
    ("endpoint", "home", "host"),
    [
        pytest.param("https://s3.eu-west-1.amazonaws.com", "eu-west-1", "s3.eu-west-1.amazonaws.com", id="same"),
        pytest.param("https://s3.us-west-2.amazonaws.com", "eu-west-1", "s3.eu-west-1.amazonaws.com", id="other"),
        pytest.param("https://s3-us-west-2.amazonaws.com/", "us-west-2", "s3.us-west-2.amazonaws.com", id="old-name"),
        pytest.param("https://s3.amazonaws.com", "eu-west-1", "s3.eu-west-1.amazonaws.com", id="global"),
        pytest.param(
            "https://s3.dualstack.us-west-2.amazonaws.com",
            "eu-west-1",
            "s3.dualstack.eu-west-1.amazonaws.com",
            id="dualstack",
        ),
        pytest.param(
            "https://s3-fips.us-east-1.amazonaws.com", "us-west-2", "s3-fips.us-west-2.amazonaws.com", id="fips"
        ),
        pytest.param(
            "https://s3-accelerate.amazonaws.com", "eu-west-1", "s3-accelerate.amazonaws.com", id="accelerate"
        ),
        pytest.param(
            "https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1", "s3.cn-north-1.amazonaws.com.cn", id="china"
        ),
    ],
)
def test_a_named_endpoint_of_aws_leads_to_the_one_of_the_buckets_region(
    proxy: TlsProxy, configure: Configure, tmp_path: Path, endpoint: str, home: str, host: str, named_by: str
) -> None:
    """What lies elsewhere is refused by AWS, and boto3 has no way from a named endpoint to another one."""
    if named_by == "profile":
        elsewhere = {"AWS_ENDPOINT_URL": "https://other.example.com"}
        case = Case(environment=elsewhere, profile={"endpoint": endpoint}, home=home)
    else:
        case = Case(environment={"AWS_ENDPOINT_URL": endpoint}, home=home)
    configure(case)
    for asked in by_pos3(case, proxy, tmp_path):
        assert asked.host == f"{BUCKET}.{host}"
        assert asked.signature[2] == home


@pytest.mark.parametrize(
    ("url", "home"),
    [
        pytest.param("https://storage.example.com", "us-east-1", id="server-of-ones-own"),
        pytest.param("https://bucket.vpce-1a2b.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1", id="private-network"),
    ],
)
def test_requests_are_signed_for_the_region_that_a_named_endpoint_says(
    proxy: TlsProxy, configure: Configure, tmp_path: Path, url: str, home: str
) -> None:
    case = Case(environment={"AWS_ENDPOINT_URL": url}, home=home)
    configure(case)
    proxy.region = "garage" if home == "us-east-1" else home
    theirs = by_boto3(case, proxy, refused=1)
    *listings, ours = by_pos3(case, proxy, tmp_path)
    assert (ours.host, ours.path, ours.signature) == (theirs.host, theirs.path, theirs.signature)
    assert ours.signature[2] == proxy.region
    # Of a server of one's own, the first answer has told it.
    assert len([asked for asked in listings if asked.signature != ours.signature]) == (home == "us-east-1")


# What cannot work


def endpoint(url: str) -> Case:
    return Case(environment={"AWS_ENDPOINT_URL": url})


REFUSALS = {
    "endpoint-without-scheme": (endpoint("localhost:9000"), r"AWS_ENDPOINT_URL: .*'localhost:9000'.*https://host"),
    "endpoint-of-s3": (Case(environment={"AWS_ENDPOINT_URL_S3": "lab"}), r"AWS_ENDPOINT_URL_S3: .*'lab'"),
    "endpoint-of-another-scheme": (endpoint("s3://lab"), "'s3://lab'"),
    "endpoint-without-host": (endpoint("https:///base"), "'https:///base'"),
    "endpoint-with-a-strange-port": (endpoint("https://lab:port"), "'https://lab:port'"),
    "endpoint-with-a-secret": (endpoint("who:hunter2@lab"), "'lab'"),
    "endpoint-in-the-file": (
        Case(environment={}, config="[default]\nendpoint_url = lab:9000\n"),
        "configuration file.*'lab:9000'",
    ),
    "endpoint-in-a-section": (
        Case(environment={}, config=SERVICES.replace("https://storage", "storage")),
        r"\[services lab\].*'storage.example.com'",
    ),
    "no-such-section": (Case(environment={}, config="[default]\nservices = lab\n"), r"no section \[services lab\]"),
    "accelerated-endpoint": (
        Case(environment=NAMED, config=s3_section("use_accelerate_endpoint = true")),
        "Accelerate",
    ),
    "attempts-in-words": (Case(environment={**NAMED, "AWS_MAX_ATTEMPTS": "many"}), "AWS_MAX_ATTEMPTS.*whole number"),
    "no-attempt": (Case(environment={**NAMED, "AWS_MAX_ATTEMPTS": "0"}), "AWS_MAX_ATTEMPTS.*above 0"),
    "unknown-retry-mode": (Case(environment={**NAMED, "AWS_RETRY_MODE": "never"}), "AWS_RETRY_MODE.*'never'.*adaptive"),
    "unknown-defaults": (Case(environment={**NAMED, "AWS_DEFAULTS_MODE": "mine"}), "mine"),
    "region-with-a-blank": (Case(environment={"AWS_DEFAULT_REGION": "eu west"}), "eu west"),
    "forwarding": (
        Case(environment=NAMED, config="[default]\nproxy_use_forwarding_for_https = true\n"),
        "proxy_use_forwarding_for_https",
    ),
    "arn-of-another-region": (
        Case(ACCESS_POINT, {**EAST, "AWS_S3_USE_ARN_REGION": "false"}),
        "eu-west-1.*us-east-1",
    ),
    "arn-of-another-region-by-the-file": (
        Case(ACCESS_POINT, {}, "[default]\nregion = us-east-1\ns3_use_arn_region = false\n"),
        "eu-west-1.*us-east-1",
    ),
    "no-multi-region-access-points": (
        Case(MULTI_REGION, {**EAST, "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS": "true"}),
        "disabled",
    ),
}


@pytest.mark.parametrize(("case", "told"), [pytest.param(*values, id=name) for name, values in REFUSALS.items()])
def test_settings_that_cannot_work_are_one_clear_error_and_nothing_is_sent(
    case: Case, told: str, proxy: TlsProxy, configure: Configure, tmp_path: Path
) -> None:
    configure(case)
    with pytest.raises(pos3.ProfileError, match=told) as failure:
        by_pos3(case, proxy, tmp_path)
    assert "\n" not in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert proxy.clear() == []


def test_without_the_package_for_it_a_multi_region_access_point_is_one_clear_error() -> None:
    program = f"""
        import sys
        sys.modules["awscrt"] = None
        import pos3
        with pos3.mirror(show_progress=False):
            try:
                pos3.ls("s3://{MULTI_REGION}/data")
            except pos3.ProfileError as error:
                print(error)
    """
    environment = {**os.environ, **EAST, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert ran.stderr == ""
    assert MULTI_REGION in ran.stdout
    assert "pip install awscrt" in ran.stdout


# In the cache


def test_what_an_access_point_leads_to_lies_in_a_directory_of_its_own_in_the_cache(
    proxy: TlsProxy, configure: Configure, tmp_path: Path
) -> None:
    configure(Case(ACCESS_POINT, WEST))
    place = tmp_path / "cache" / "_" / ACCESS_POINT.replace("/", ":")
    with opened(tmp_path) as mirror:
        by_alias = pos3.download(f"s3://{ACCESS_POINT.replace('/', ':')}/data")
        assert by_alias == pos3.download(f"s3://{ACCESS_POINT}/data") == place / "data"
        assert mirror.report().downloaded_files == 1
        assert pos3.url_of(place / KEY) == f"s3://{ACCESS_POINT}/{KEY}"
        assert pos3.ls(f"s3://{ACCESS_POINT}/data", recursive=True)[-1] == f"s3://{ACCESS_POINT}/{KEY}"
    assert (place / KEY).read_bytes() == b"1"


# Signatures that libcurl cannot make


@pytest.mark.parametrize(
    "bucket",
    [
        pytest.param(DIRECTORY, id="directory-bucket"),
        pytest.param(MULTI_REGION, id="multi-region-access-point"),
        pytest.param(ACCESS_POINT, id="access-point"),
    ],
)
def test_every_kind_of_request_is_signed_as_the_bucket_wants_it(
    bucket: str, proxy: TlsProxy, moto: MotoServer, configure: Configure, tmp_path: Path
) -> None:
    if bucket == MULTI_REGION:
        pytest.importorskip("awscrt")
    case = Case(bucket, WEST)
    configure(case)
    wanted = {
        DIRECTORY: ("AWS4-HMAC-SHA256", "session-key", "eu-west-1", "s3express"),
        MULTI_REGION: ("AWS4-ECDSA-P256-SHA256", "test-access", "*", "s3"),
        ACCESS_POINT: ("AWS4-HMAC-SHA256", "test-access", "eu-west-1", "s3"),
    }[bucket]
    url = f"s3://{bucket}/up"
    large = pseudo_random(9 << 20)
    tree = write_tree(tmp_path / "tree", {"small": b"1", "large": large, "odd\nname": b"2", "empty/": b""})
    with opened(tmp_path):
        pos3.upload(url, tree)
    with opened(tmp_path):
        down = pos3.download(url, tmp_path / "down")
    assert contents(down) == contents(tree)
    (tree / "large").unlink()
    (tree / "odd\nname").unlink()
    with opened(tmp_path):
        pos3.upload(url, tree)
    stored = moto.keys(f"{BUCKET}-{case.home}", "up/")
    for key in stored:
        moto.delete(f"{BUCKET}-{case.home}", key)
    assert list(stored) == ["up/empty/", "up/small"]
    asked = [one for one in proxy.clear() if not one.query.startswith("session")]
    assert {one.method for one in asked} >= {"GET", "PUT", "POST"}
    assert {one.signature for one in asked} == {wanted}
    assert [one for one in asked if not one.is_signed_with(SECRETS[wanted[1]])] == []
    tokens = {one.headers.get("x-amz-s3session-token") for one in asked}
    assert tokens == ({"session-token"} if bucket == DIRECTORY else {None})


@pytest.mark.parametrize(
    "bucket",
    [
        pytest.param(BUCKET, id="bucket"),
        pytest.param(DIRECTORY, id="directory-bucket"),
        pytest.param(MULTI_REGION, id="multi-region-access-point"),
    ],
)
@pytest.mark.parametrize("signs_bodies", [True, False], ids=["signed", "not-signed"])
def test_bodies_are_signed_over_tls_where_a_setting_says_so(
    bucket: str, signs_bodies: bool, proxy: TlsProxy, moto: MotoServer, configure: Configure, tmp_path: Path
) -> None:
    if bucket == MULTI_REGION:
        pytest.importorskip("awscrt")
    case = Case(bucket, config=s3_section(f"payload_signing_enabled = {str(signs_bodies).lower()}"))
    configure(case)
    tree = write_tree(tmp_path / "tree", {"small": b"1", "large": pseudo_random(9 << 20)})
    with opened(tmp_path):
        pos3.upload(f"s3://{bucket}/up", tree)
    for key in moto.keys(f"{BUCKET}-{case.home}", "up/"):
        moto.delete(f"{BUCKET}-{case.home}", key)
    sent = [asked for asked in proxy.clear() if asked.method == "PUT"]
    assert len(sent) > 2
    assert {asked.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD" for asked in sent} == {signs_bodies}
    assert [asked for asked in sent if not asked.is_signed_with(SECRETS[asked.signature[1]])] == []


def test_a_session_of_a_directory_bucket_is_asked_for_once(
    proxy: TlsProxy, configure: Configure, tmp_path: Path
) -> None:
    case = Case(DIRECTORY)
    configure(case)
    with opened(tmp_path):
        for number in range(3):
            pos3.download(f"s3://{DIRECTORY}/{KEY}", tmp_path / str(number))
    asked = proxy.clear()
    assert len([one for one in asked if one.query.startswith("session")]) == 1
    assert len(asked) > 3


# Attempts, times and proxies


@pytest.mark.parametrize(
    ("environment", "config"),
    [
        pytest.param({"AWS_MAX_ATTEMPTS": "1"}, "", id="one"),
        pytest.param({"AWS_MAX_ATTEMPTS": "4"}, "", id="four"),
        pytest.param({}, "[default]\nmax_attempts = 2\n", id="two-by-the-file"),
        pytest.param({"AWS_RETRY_MODE": "legacy"}, "", id="legacy"),
        pytest.param({"AWS_RETRY_MODE": "standard"}, "", id="standard"),
        pytest.param({}, "[default]\nretry_mode = standard\n", id="standard-by-the-file"),
        pytest.param({"AWS_RETRY_MODE": "adaptive"}, "", id="adaptive"),
        pytest.param({"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "2"}, "", id="mode-and-number"),
        pytest.param({"AWS_DEFAULTS_MODE": "in-region"}, "", id="defaults"),
    ],
)
def test_a_request_is_sent_as_often_as_boto3_sends_it_where_a_setting_says_so(
    proxy: TlsProxy,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    config: str,
) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    configure(Case(environment={**NAMED, **environment}, config=config))
    proxy.busy = 1000
    with closing(boto3_session().client("s3")) as client, pytest.raises(ClientError):
        client.list_objects_v2(Bucket=BUCKET)
    theirs = len(proxy.clear())
    with opened(tmp_path), pytest.raises(pos3.StoreError, match="SlowDown"):
        pos3.ls(f"s3://{BUCKET}/data")
    assert len(proxy.clear()) == theirs


@pytest.mark.parametrize("mode", ["", "legacy", "standard", "in-region", "cross-region", "mobile"])
def test_a_connection_may_take_as_long_as_the_defaults_of_botocore_say_if_they_are_asked_for(
    configure: Configure, mode: str
) -> None:
    configure(Case(environment={**NAMED, **({"AWS_DEFAULTS_MODE": mode} if mode else {})}))
    with closing(boto3_session().client("s3")) as client:
        theirs = client.meta.config.connect_timeout
    ours = Connection(None).connect_timeout_seconds
    assert ours == (theirs if mode not in ("", "legacy") else CONNECT_TIMEOUT_SECONDS)


@pytest.mark.parametrize(
    ("no_proxy", "is_used"),
    [
        pytest.param("", True, id="none"),
        pytest.param("storage.example.com", False, id="host"),
        pytest.param(".example.com", False, id="domain"),
        pytest.param("*", False, id="all"),
        pytest.param("other.example.com", True, id="another-host"),
        pytest.param("192.0.2.0/24", True, id="net-which-botocore-does-not-know"),
    ],
)
def test_what_botocore_reaches_without_a_proxy_is_reached_without_one(
    proxy: TlsProxy,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_proxy: str,
    is_used: bool,
) -> None:
    host = "192.0.2.7" if "/" in no_proxy else "storage.example.com"
    # Nobody listens there, and what is reached without the proxy ends at once.
    configure(Case(environment={**EAST, "AWS_ENDPOINT_URL": f"https://{host}:9"}))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, no_proxy)
    with opened(tmp_path):
        if is_used:
            assert f"s3://{BUCKET}/{KEY}" in pos3.ls(f"s3://{BUCKET}/data", recursive=True)
        else:
            with pytest.raises(pos3.EndpointError, match="cannot reach"):
                pos3.ls(f"s3://{BUCKET}/data")
    assert bool(proxy.clear()) is is_used


def test_a_proxy_over_tls_is_trusted_where_the_configuration_file_says_so(
    moto: MotoServer, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TlsProxy(moto, tmp_path, secured=True) as secured:
        case = Case(
            environment={"AWS_ENDPOINT_URL": "http://storage.example.com", "AWS_MAX_ATTEMPTS": "1"},
            config=f"[default]\nregion = us-east-1\nproxy_ca_bundle = {secured.bundle}\n",
        )
        configure(case)
        monkeypatch.delenv("AWS_CA_BUNDLE")
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, secured.url)
        secured.lead(BUCKET, f"{BUCKET}-{case.home}")
        assert {asked.host for asked in by_pos3(case, secured, tmp_path)} == {"storage.example.com"}
        (tmp_path / "config").write_text("[default]\nregion = us-east-1\n")
        with opened(tmp_path), pytest.raises(pos3.EndpointError):
            pos3.ls(f"s3://{BUCKET}/data")
