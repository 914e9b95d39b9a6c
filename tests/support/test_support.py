"""What the support of the tests could get wrong without a word, so that tests would pass that should fail.

A server that is not killed, a fault that does not strike, a request that is not counted, a difference that is not
found. What fails loudly in every test is not tested here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from tests.support import (
    FailPage,
    Flip,
    Hang,
    Latency,
    OtherQuery,
    Proxy,
    RcloneServer,
    ResetAfter,
    ResetBefore,
    S3Site,
    Server,
    Short,
    SkewedClock,
    Slowdown,
    Status,
    TlsProxy,
    Trickle,
    Truncate,
    Unseen,
    assert_same,
    contents,
    on,
    write_tree,
)
from tests.support.forks import ForkServer, command_line
from tests.support.program import ROOT
from tests.support.signatures import is_signed
from tests.support.trees import longest_name, many_files, pseudo_random

PutBefore = Callable[..., Proxy]


def once(proxy: Proxy, **config: Any) -> Any:
    """A client that never retries, so that each fault shows."""
    return proxy.server.client(retries={"total_max_attempts": 1}, **config)


def code_of(failure: pytest.ExceptionInfo[ClientError]) -> str:
    return str(failure.value.response["Error"]["Code"])


# -- servers


def test_an_unfinished_upload_is_seen(s3: S3Site) -> None:
    assert s3.server.uploads(s3.bucket) == []
    begun = s3.server.s3.create_multipart_upload(Bucket=s3.bucket, Key="half")
    assert s3.server.uploads(s3.bucket) == ["half"]
    s3.server.s3.abort_multipart_upload(Bucket=s3.bucket, Key="half", UploadId=begun["UploadId"])
    assert s3.server.uploads(s3.bucket) == []


def test_a_wrong_secret_is_refused_by_rclone(rclone_site: S3Site) -> None:
    stranger = Server(rclone_site.server.endpoint_url, rclone_site.server.access_key, "wrong")
    with pytest.raises(ClientError) as failure:
        stranger.keys(rclone_site.bucket)
    assert code_of(failure) == "SignatureDoesNotMatch"


def test_a_killed_server_keeps_its_port_and_data(private_rclone: tuple[RcloneServer, S3Site]) -> None:
    server, site = private_rclone
    site.put("kept", b"data")
    address = server.endpoint_url
    server.kill()
    assert not server.alive
    with pytest.raises(BotoCoreError):
        server.client(retries={"total_max_attempts": 1}).list_objects_v2(Bucket=site.bucket)
    server.restart()
    assert server.endpoint_url == address
    assert site.get("kept") == b"data"


def test_a_server_ends_with_its_owner(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from tests.support import RcloneServer\n"
        "server = RcloneServer().start()\n"
        "print(server.endpoint_url, server._home, flush=True)\n"
        "os._exit(1)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    address, home = run.stdout.split()
    orphan = Server(address)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            orphan.client(retries={"total_max_attempts": 1}).list_buckets()
        except ClientError:
            time.sleep(0.05)
        except BotoCoreError:
            break
    else:
        pytest.fail("the server is still there")
    for path in sorted(Path(home).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(home).rmdir()


# -- the proxy


def test_the_proxy_records_each_request_with_its_kind(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    client = proxy.server.s3
    client.put_object(Bucket=rclone_site.bucket, Key="a b/ü", Body=b"12345")
    client.head_object(Bucket=rclone_site.bucket, Key="a b/ü")
    assert client.get_object(Bucket=rclone_site.bucket, Key="a b/ü", Range="bytes=1-2")["Body"].read() == b"23"
    client.list_objects_v2(Bucket=rclone_site.bucket, Prefix="a b")
    client.copy_object(Bucket=rclone_site.bucket, Key="copy", CopySource={"Bucket": rclone_site.bucket, "Key": "a b/ü"})
    client.delete_objects(Bucket=rclone_site.bucket, Delete={"Objects": [{"Key": "copy"}]})
    client.delete_object(Bucket=rclone_site.bucket, Key="a b/ü")
    client.head_bucket(Bucket=rclone_site.bucket)
    upload = client.create_multipart_upload(Bucket=rclone_site.bucket, Key="big")["UploadId"]
    client.upload_part(Bucket=rclone_site.bucket, Key="big", UploadId=upload, PartNumber=1, Body=b"part")
    client.abort_multipart_upload(Bucket=rclone_site.bucket, Key="big", UploadId=upload)
    assert [request.kind for request in proxy.requests] == [
        "PUT",
        "HEAD",
        "GET",
        "LIST",
        "COPY",
        "POST ?delete",
        "DELETE",
        "HEAD bucket",
        "POST ?uploads",
        "PUT ?partNumber",
        "DELETE ?uploadId",
    ]
    put, head, get, listing = proxy.requests[:4]
    assert (put.bucket, put.key, put.sent, put.status) == (rclone_site.bucket, "a b/ü", 5, 200)
    assert (head.received, head.status) == (0, 200)
    assert (get.received, get.headers["range"], get.forwarded) == (2, "bytes=1-2", True)
    assert listing.query["prefix"] == "a b"
    assert proxy.count("GET") == 1
    assert proxy.count() == 11
    proxy.clear()
    assert proxy.requests == []


def test_the_proxy_serves_many_threads_and_counts_how_many_at_once(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Latency(0.05))
    client = proxy.server.s3
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=rclone_site.bucket, Key=f"k{n}", Body=b"x" * n), range(40)))
    assert len(rclone_site.keys()) == proxy.count("PUT") == 40
    assert 1 < proxy.peak <= 8


def test_what_a_dead_client_had_sent_is_done_when_the_proxy_has_settled(
    rclone_site: S3Site, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Latency(seconds=0.05))
    client = proxy.server.client(signature_version="s3v4")
    for number in range(20):
        where = {"Bucket": rclone_site.bucket, "Key": f"d/{number}"}
        url = urlsplit(client.generate_presigned_url("put_object", Params=where))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 4\r\n\r\n"
        with socket.create_connection((url.hostname, url.port)) as dying:
            dying.sendall(head.encode() + b"data")
        proxy.settle()
        assert rclone_site.get(f"d/{number}") == b"data"


def test_a_client_that_stays_does_not_settle(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    client = once(proxy)
    client.head_bucket(Bucket=rclone_site.bucket)
    with pytest.raises(TimeoutError, match="1 connection"):
        proxy.settle(0.1)
    proxy.clear()
    proxy.settle(0.1)


def test_a_server_that_is_down_looks_so_through_the_proxy(
    private_rclone: tuple[RcloneServer, S3Site], proxied: PutBefore
) -> None:
    server, site = private_rclone
    proxy = proxied(site)
    client = once(proxy)
    client.put_object(Bucket=site.bucket, Key="a", Body=b"1")
    server.kill()
    with pytest.raises(BotoCoreError):
        client.get_object(Bucket=site.bucket, Key="a")
    server.restart()
    assert client.get_object(Bucket=site.bucket, Key="a")["Body"].read() == b"1"


# -- faults


def test_slowdown_answers_503_and_does_not_forward(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Slowdown(match=on("PUT", "HEAD")))
    client = once(proxy)
    with pytest.raises(ClientError) as failure:
        client.put_object(Bucket=rclone_site.bucket, Key="a", Body=b"1" * 100_000)
    assert code_of(failure) == "SlowDown"
    with pytest.raises(ClientError) as failure:
        client.head_object(Bucket=rclone_site.bucket, Key="a")
    assert code_of(failure) == "503"
    assert rclone_site.keys() == {}
    assert [(request.status, request.forwarded, request.faults) for request in proxy.requests] == [
        (503, False, ("Slowdown",)),
        (503, False, ("Slowdown",)),
    ]


def test_a_rate_strikes_about_that_share(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Slowdown(0.3), seed=4)
    client = once(proxy)
    refused = 0
    for number in range(60):
        try:
            client.put_object(Bucket=rclone_site.bucket, Key=f"k{number}", Body=b"")
        except ClientError:
            refused += 1
    assert len(rclone_site.keys()) == 60 - refused
    assert sum(1 for request in proxy.requests if request.faults) == refused
    assert 6 < refused < 40


def test_status_answers_any_s3_error(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Status(403, "ExpiredToken", match=on(key=r"^secret/")))
    client = once(proxy)
    with pytest.raises(ClientError) as failure:
        client.get_object(Bucket=rclone_site.bucket, Key="secret/x")
    assert code_of(failure) == "ExpiredToken"
    client.put_object(Bucket=rclone_site.bucket, Key="open/x", Body=b"")


def test_reset_before_hides_the_request_from_the_server(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, ResetBefore(times=1))
    client = once(proxy)
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=rclone_site.bucket, Key="a", Body=b"1")
    assert rclone_site.keys() == {}
    client.put_object(Bucket=rclone_site.bucket, Key="a", Body=b"1")
    assert [request.status for request in proxy.requests] == [None, 200]


def test_reset_after_lets_the_server_do_its_work(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, ResetAfter())
    with pytest.raises(ConnectionClosedError):
        once(proxy).put_object(Bucket=rclone_site.bucket, Key="a", Body=b"1")
    assert rclone_site.get("a") == b"1"
    assert proxy.requests[0].forwarded


def test_truncate_stops_a_body_short(rclone_site: S3Site, proxied: PutBefore) -> None:
    rclone_site.put("a", pseudo_random(600_000))
    proxy = proxied(rclone_site, Truncate(keep=0.25))
    answer = once(proxy).get_object(Bucket=rclone_site.bucket, Key="a")
    assert answer["ContentLength"] == 600_000
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        answer["Body"].read()
    assert proxy.requests[0].received == 150_000


def test_short_makes_a_body_look_whole_that_is_not(rclone_site: S3Site, proxied: PutBefore) -> None:
    data = pseudo_random(600_000)
    rclone_site.put("a", data)
    proxy = proxied(rclone_site, Short(keep=0.25, times=1))
    client = once(proxy)
    answer = client.get_object(Bucket=rclone_site.bucket, Key="a")
    assert answer["ContentLength"] == 150_000
    assert answer["Body"].read() == data[:150_000]
    assert client.get_object(Bucket=rclone_site.bucket, Key="a")["Body"].read() == data


def test_trickle_takes_its_time_over_a_body(rclone_site: S3Site, proxied: PutBefore) -> None:
    data = pseudo_random(30_000)
    rclone_site.put("a", data)
    proxy = proxied(rclone_site, Trickle(100_000))
    began = time.monotonic()
    assert proxy.server.get(rclone_site.bucket, "a") == data
    assert time.monotonic() - began > 0.2


def test_a_skewed_clock_dates_all_that_the_server_says(s3: S3Site, proxied: PutBefore) -> None:
    s3.put_all({f"k{number}": b"" for number in range(50)})
    proxy = proxied(s3, SkewedClock(600))
    ahead = {key: stored.modified - 600 for key, stored in proxy.server.keys(s3.bucket).items()}
    assert ahead == pytest.approx({key: stored.modified for key, stored in s3.keys().items()}, abs=0.01)
    head = proxy.server.s3.head_object(Bucket=s3.bucket, Key="k1")
    assert head["LastModified"].timestamp() == pytest.approx(s3.keys()["k1"].modified + 600, abs=1)
    date = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
    assert date.timestamp() == pytest.approx(time.time() + 600, abs=10)


def test_a_clock_that_is_skewed_too_much_refuses_everything(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, SkewedClock(-1000))
    with pytest.raises(ClientError) as failure:
        once(proxy).list_objects_v2(Bucket=rclone_site.bucket)
    assert code_of(failure) == "RequestTimeTooSkewed"


def test_flip_changes_one_bit_of_an_object_and_no_listing(rclone_site: S3Site, proxied: PutBefore) -> None:
    data = pseudo_random(600_000)
    rclone_site.put("a", data)
    proxy = proxied(rclone_site, Flip())
    got = proxy.server.get(rclone_site.bucket, "a")
    assert sum((here ^ there).bit_count() for here, there in zip(got, data, strict=True)) == 1
    assert proxy.server.keys(rclone_site.bucket) == rclone_site.keys()


def test_hang_gives_no_answer_a_given_number_of_times(rclone_site: S3Site, proxied: PutBefore) -> None:
    rclone_site.put("a", b"1")
    proxy = proxied(rclone_site, Hang(2))
    hasty = once(proxy, read_timeout=0.5)
    for _ in range(2):
        with pytest.raises(ReadTimeoutError):
            hasty.get_object(Bucket=rclone_site.bucket, Key="a")
    assert once(proxy).get_object(Bucket=rclone_site.bucket, Key="a")["Body"].read() == b"1"


@pytest.mark.parametrize("seconds", [0.3, 3600.0], ids=["by-itself", "when-told"])
def test_a_hang_can_end(rclone_site: S3Site, proxied: PutBefore, seconds: float) -> None:
    proxy = proxied(rclone_site, Hang(1, seconds=seconds))
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(once(proxy).head_bucket, Bucket=rclone_site.bucket)
        if seconds > 1:
            with pytest.raises(TimeoutError):
                asked.result(0.3)
            proxy.end_hangs()
        with pytest.raises(ConnectionClosedError):
            asked.result(20)
    assert time.monotonic() - began > 0.2


def test_latency_delays(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Latency(0.2))
    began = time.monotonic()
    proxy.server.s3.head_bucket(Bucket=rclone_site.bucket)
    assert time.monotonic() - began >= 0.2


def test_other_query_changes_what_the_server_sees(moto_site: S3Site, proxied: PutBefore) -> None:
    moto_site.put_all({f"k{number}": b"" for number in range(6)})
    proxy = proxied(moto_site, OtherQuery(query={"max-keys": "2", "start-after": ""}))
    page = proxy.server.s3.list_objects_v2(Bucket=moto_site.bucket, StartAfter="k4")
    assert [item["Key"] for item in page["Contents"]] == ["k0", "k1"]
    assert proxy.requests[0].query["start-after"] == "k4"


def test_a_header_that_is_unseen_reaches_the_proxy_but_not_the_server(moto_site: S3Site, proxied: PutBefore) -> None:
    moto_site.put("x", b"1")
    proxy = proxied(moto_site, Unseen(headers=("if-match",)))
    get = {"Bucket": moto_site.bucket, "Key": "x", "IfMatch": '"0000"'}
    assert proxy.server.s3.get_object(**get)["Body"].read() == b"1"
    assert proxy.requests[0].headers["if-match"] == '"0000"'
    with pytest.raises(ClientError, match="PreconditionFailed"):
        moto_site.server.s3.get_object(**get)


def test_fail_page_fails_the_nth_page_of_each_listing(moto_site: S3Site, proxied: PutBefore) -> None:
    moto_site.put_all({f"k{number}": b"" for number in range(6)})
    proxy = proxied(moto_site, FailPage(3))
    client = once(proxy)

    def pages() -> list[int]:
        seen = []
        paginator = client.get_paginator("list_objects_v2")
        try:
            for page in paginator.paginate(Bucket=moto_site.bucket, PaginationConfig={"PageSize": 2}):
                seen += [page["KeyCount"]]
        except ClientError:
            seen.append(-1)
        return seen

    assert pages() == [2, 2, -1]
    assert pages() == [2, 2, -1]
    proxy.inject()
    assert pages() == [2, 2, 2]


def test_faults_can_be_injected_and_taken_away(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    client = once(proxy)
    client.head_bucket(Bucket=rclone_site.bucket)
    proxy.inject(Slowdown())
    with pytest.raises(ClientError):
        client.head_bucket(Bucket=rclone_site.bucket)
    proxy.inject()
    client.head_bucket(Bucket=rclone_site.bucket)


def test_the_environment_points_at_the_proxy(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    boto3.client("s3").list_objects_v2(Bucket=rclone_site.bucket)
    assert proxy.count("LIST") == 1
    rclone_site.keys()
    assert proxy.count() == 1


# -- programs


def test_a_forked_program_has_all_that_one_of_its_own_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONLY_HERE", "1")
    script = (
        "import os, random, sys\n"
        "os.umask(umask := os.umask(0))\n"
        "told = sorted(os.environ), os.getcwd(), umask, sys.argv, __name__, sys.stdin.read()\n"
        "print(told, file=sys.stderr)\n"
        "print(random.random(), os.getpid())\n"
        "sys.exit(3)\n"
    )
    command, environment = ["-c", script, "an argument"], {**os.environ, "PYTHONPATH": str(ROOT)}
    own = subprocess.run(
        [sys.executable, *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    seen = set()
    for _ in range(2):
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            forked = command_line().start(command, environment, stdout.fileno(), stderr.fileno())
            assert forked.wait(60) == own.returncode == 3
            stdout.seek(0)
            stderr.seek(0)
            assert stderr.read() == own.stderr
            random, pid = stdout.read().split()
            assert int(pid) == forked.pid
            seen.add(random)
    assert len(seen) == 2


def test_a_forked_program_can_be_killed_and_is_not_forked_where_its_environment_is_read_at_the_start() -> None:
    with open(os.devnull, "wb") as nothing:
        forked = command_line().start(["-c", "import time; time.sleep(60)"], os.environ, nothing, nothing)
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(0.1)
    forked.kill()
    assert forked.wait(20) == -9
    with contextlib.closing(ForkServer([], os.environ)) as server:
        assert server.fits(os.environ)
        assert not server.fits({**os.environ, "PYTHONUTF8": "0"})
        assert not server.fits({**os.environ, "LC_ALL": "C"})


# -- trees


def test_the_longest_key_has_1024_bytes() -> None:
    assert len(f"p/{longest_name('p/')}".encode()) == 1024


def test_assert_same_names_every_difference(s3: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"same": b"1", "local": b"2", "other": b"3", "hollow/": b""})
    s3.put_all({"p/same": b"1", "p/remote": b"2", "p/other": b"4", "p-other/x": b"5"})
    with pytest.raises(AssertionError) as failure:
        assert_same(tree, s3.server, s3.bucket, "p")
    message = str(failure.value)
    assert "only local: 'local'" in message
    assert "only remote: 'remote'" in message
    assert "differs: 'other'" in message
    assert "same" not in message.split("differ:")[1]
    assert ("without a marker: 'hollow'" in message) == s3.server.traits.markers


def test_a_marker_stands_only_for_an_empty_directory(moto_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"full/x": b"1", "hollow/": b""})
    moto_site.put_all({"p/full/x": b"1", "p/hollow/": b""})
    assert_same(tree, moto_site.server, moto_site.bucket, "p")
    moto_site.put("p/full/")
    with pytest.raises(AssertionError, match="marker without an empty directory: 'full'"):
        assert_same(tree, moto_site.server, moto_site.bucket, "p")


def test_many_files_all_differ(tmp_path: Path) -> None:
    tree = many_files(tmp_path / "tree", 450, size=16)
    assert len(set(contents(tree).values())) == 450


# -- signatures


@pytest.mark.parametrize("signer", ["botocore.auth.S3SigV4Auth", "botocore.crt.auth.CrtS3SigV4AsymAuth"])
def test_a_signature_is_right_only_for_what_was_signed(signer: str) -> None:
    if ".crt." in signer:
        pytest.importorskip("awscrt")
    module, _, name = signer.rpartition(".")
    request = AWSRequest("PUT", "https://host.example.com/b/a%20b?x=1&y=", {"x-amz-meta-a": "1"}, b"body")
    make = getattr(importlib.import_module(module), name)
    make(Credentials("key", "secret"), "s3", "us-east-1").add_auth(request)
    headers = {"host": "host.example.com", **{name.lower(): value for name, value in request.headers.items()}}
    target = "/b/a%20b?x=1&y="
    assert is_signed("PUT", target, headers, b"body", "secret")
    for wrong in (
        is_signed("GET", target, headers, b"body", "secret"),
        is_signed("PUT", "/b/a%20c?x=1&y=", headers, b"body", "secret"),
        is_signed("PUT", "/b/a%20b?x=2&y=", headers, b"body", "secret"),
        is_signed("PUT", target, {**headers, "host": "other.example.com"}, b"body", "secret"),
        is_signed("PUT", target, {**headers, "x-amz-meta-a": "2"}, b"body", "secret"),
        is_signed("PUT", target, headers, b"other", "secret"),
        is_signed("PUT", target, headers, b"body", "other"),
    ):
        assert not wrong


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_for_every_host_leads_to_the_bucket_that_was_named(
    moto_site: S3Site, tmp_path: Path, scheme: str
) -> None:
    moto_site.put("data/a b", b"1")
    with TlsProxy(moto_site.server, tmp_path) as proxy:
        proxy.lead("named", moto_site.bucket, base="/base")
        proxies = urllib.request.ProxyHandler({scheme: proxy.url})
        trusting = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=proxy.bundle))
        opener = urllib.request.build_opener(proxies, trusting)
        moto_site.server.s3.put_object_acl(Bucket=moto_site.bucket, Key="data/a b", ACL="public-read")
        for url in (
            "named.example.com/data/a%20b",
            "example.com/named/data/a%20b",
            "example.com/base/named/data/a%20b",
        ):
            with opener.open(f"{scheme}://{url}", timeout=20) as answer:
                assert answer.read() == b"1"
        hosts = [(asked.host, asked.path) for asked in proxy.clear()]
        assert hosts == [
            ("named.example.com", "/data/a%20b"),
            ("example.com", "/named/data/a%20b"),
            ("example.com", "/base/named/data/a%20b"),
        ]
        proxy.busy = 1
        with pytest.raises(urllib.error.HTTPError, match="503"):
            opener.open(f"{scheme}://named.example.com/data/a%20b", timeout=20)
        assert proxy.busy == 0
