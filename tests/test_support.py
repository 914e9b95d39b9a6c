"""The test support itself: servers that can be killed, a proxy that records and breaks exactly as told."""

from __future__ import annotations

import hashlib
import importlib
import io
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
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

from pos3.store import carried_out, open_store
from pos3.url import Location
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
    odd_tree,
    on,
    write_tree,
)
from tests.support.signatures import is_signed
from tests.support.trees import deep_tree, longest_name, many_files, pseudo_random

PutBefore = Callable[..., Proxy]


def once(proxy: Proxy, **config: Any) -> Any:
    """A client that never retries, so that each fault shows."""
    return proxy.server.client(retries={"total_max_attempts": 1}, **config)


def code_of(failure: pytest.ExceptionInfo[ClientError]) -> str:
    return str(failure.value.response["Error"]["Code"])


def upload_tree(root: Path, site: S3Site, prefix: str) -> None:
    for name, data in contents(root).items():
        site.put(f"{prefix}/{name}", data)


# -- servers


def test_an_object_is_seen_the_moment_it_is_stored(s3: S3Site) -> None:
    for number in range(20):
        key = f"d{number % 3}/file-{number}"
        etag = s3.put(key, key.encode())
        assert s3.get(key) == key.encode()
        assert s3.keys()[key].etag == etag == hashlib.md5(key.encode()).hexdigest()
    s3.delete("d0/file-0")
    assert "d0/file-0" not in s3.keys()


def test_listings_are_in_byte_order_of_the_keys(s3: S3Site) -> None:
    s3.put_all(dict.fromkeys(("a0", "a/b", "a-b", "a.b/x", "data/x", "data-2/x"), b""))
    assert list(s3.keys()) == sorted(s3.keys())
    assert list(s3.keys("data")) == ["data-2/x", "data/x"]


def test_many_threads_at_once_see_their_own_writes(s3: S3Site) -> None:
    def cycle(worker: int) -> None:
        for turn in range(5):
            key = f"d{turn % 2}/f{worker}"
            s3.put(key, b"%d" % turn)
            assert s3.get(key) == b"%d" % turn
            s3.delete(key)
            assert key not in s3.keys(key)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(cycle, range(12)))
    assert s3.keys() == {}


def test_a_multipart_upload_arrives_whole(s3: S3Site) -> None:
    data = pseudo_random(12 << 20)
    config = TransferConfig(multipart_chunksize=5 << 20, multipart_threshold=5 << 20)
    s3.server.s3.upload_fileobj(io.BytesIO(data), s3.bucket, "big", Config=config)
    assert s3.get("big") == data
    assert s3.server.uploads(s3.bucket) == []


def test_an_unfinished_upload_is_seen(s3: S3Site) -> None:
    assert s3.server.uploads(s3.bucket) == []
    begun = s3.server.s3.create_multipart_upload(Bucket=s3.bucket, Key="half")
    assert s3.server.uploads(s3.bucket) == ["half"]
    s3.server.s3.abort_multipart_upload(Bucket=s3.bucket, Key="half", UploadId=begun["UploadId"])
    assert s3.server.uploads(s3.bucket) == []


def test_a_dropped_bucket_is_gone_with_all_that_it_held(s3: S3Site) -> None:
    bucket = s3.server.create_bucket(f"{s3.bucket}-more")
    s3.server.put_all(bucket, {"a/b/c": b"1", "d": b"2"})
    s3.server.s3.create_multipart_upload(Bucket=bucket, Key="half")
    s3.server.drop_bucket(bucket)
    assert bucket not in [item["Name"] for item in s3.server.s3.list_buckets()["Buckets"]]


def test_a_wrong_secret_is_refused_by_rclone(rclone_site: S3Site) -> None:
    stranger = Server(rclone_site.server.endpoint_url, rclone_site.server.access_key, "wrong")
    with pytest.raises(ClientError) as failure:
        stranger.keys(rclone_site.bucket)
    assert code_of(failure) == "SignatureDoesNotMatch"


def test_traits_tell_what_a_server_can_hold(s3: S3Site) -> None:
    if s3.server.traits.markers:
        s3.put("d/")
        assert list(s3.keys("d")) == ["d/"]
    if s3.server.traits.any_key:
        odd = {"x/../y": b"1", "x//y": b"2", "/x": b"3", "x": b"4", "x/y": b"5", "new\nline": b"6"}
        s3.put_all(odd)
        assert {key: s3.get(key) for key in s3.keys() if key != "d/"} == odd


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
    root = Path(__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
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


def test_the_environment_alone_leads_to_the_server(s3: S3Site) -> None:
    import boto3

    s3.put("here", b"1")
    listing = boto3.client("s3").list_objects_v2(Bucket=s3.bucket)
    assert [item["Key"] for item in listing["Contents"]] == ["here"]


# -- the proxy


def test_the_proxy_records_each_request_with_its_kind(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3)
    client = proxy.server.s3
    client.put_object(Bucket=s3.bucket, Key="a b/ü", Body=b"12345")
    client.head_object(Bucket=s3.bucket, Key="a b/ü")
    assert client.get_object(Bucket=s3.bucket, Key="a b/ü", Range="bytes=1-2")["Body"].read() == b"23"
    client.list_objects_v2(Bucket=s3.bucket, Prefix="a b")
    client.copy_object(Bucket=s3.bucket, Key="copy", CopySource={"Bucket": s3.bucket, "Key": "a b/ü"})
    client.delete_objects(Bucket=s3.bucket, Delete={"Objects": [{"Key": "copy"}]})
    client.delete_object(Bucket=s3.bucket, Key="a b/ü")
    client.head_bucket(Bucket=s3.bucket)
    upload = client.create_multipart_upload(Bucket=s3.bucket, Key="big")["UploadId"]
    client.upload_part(Bucket=s3.bucket, Key="big", UploadId=upload, PartNumber=1, Body=b"part")
    client.abort_multipart_upload(Bucket=s3.bucket, Key="big", UploadId=upload)
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
    assert (put.bucket, put.key, put.sent, put.status) == (s3.bucket, "a b/ü", 5, 200)
    assert (head.received, head.status) == (0, 200)
    assert (get.received, get.headers["range"], get.forwarded) == (2, "bytes=1-2", True)
    assert listing.query["prefix"] == "a b"
    assert proxy.count("GET") == 1
    assert proxy.count() == 11
    proxy.clear()
    assert proxy.requests == []


def test_signatures_stay_valid_through_the_proxy(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    proxy.server.put(rclone_site.bucket, "signed", b"1")
    assert rclone_site.get("signed") == b"1"


def test_requests_signed_by_libcurl_work_through_the_proxy(s3: S3Site, proxied: PutBefore, tmp_path: Path) -> None:
    proxied(s3)
    data = pseudo_random(9 << 20)
    (tmp_path / "file").write_bytes(data)
    store = open_store(Location("s3", s3.bucket, ""), None, 4)
    carried_out(store, lambda: store.upload("dir/file", str(tmp_path / "file"), len(data), lambda size: None))
    assert s3.get("dir/file") == data


def test_the_proxy_serves_many_threads_and_counts_how_many_at_once(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, Latency(0.05))
    client = proxy.server.s3
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=s3.bucket, Key=f"k{n}", Body=b"x" * n), range(40)))
    assert len(s3.keys()) == proxy.count("PUT") == 40
    assert 1 < proxy.peak <= 8


def test_a_connection_is_reused(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    client = proxy.server.client(max_pool_connections=1)
    for _ in range(100):
        client.head_bucket(Bucket=rclone_site.bucket)
    assert proxy.connected == 1


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


def test_300_mb_pass_in_flat_memory(rclone_site: S3Site, proxied: PutBefore, tmp_path: Path) -> None:
    proxy = proxied(rclone_site)
    big = tmp_path / "big"
    with big.open("wb") as out:
        block = pseudo_random(1 << 20)
        for _ in range(300):
            out.write(block)
    client = proxy.server.s3
    config = TransferConfig(multipart_threshold=1 << 30, use_threads=False)
    client.head_bucket(Bucket=rclone_site.bucket)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client.upload_file(str(big), rclone_site.bucket, "big", Config=config)
    client.download_file(rclone_site.bucket, "big", str(tmp_path / "back"), Config=config)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (tmp_path / "back").stat().st_size == 300 << 20
    assert grown < 100 * 1024


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


def test_slowdown_answers_503_and_does_not_forward(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, Slowdown(match=on("PUT", "HEAD")))
    client = once(proxy)
    with pytest.raises(ClientError) as failure:
        client.put_object(Bucket=s3.bucket, Key="a", Body=b"1" * 100_000)
    assert code_of(failure) == "SlowDown"
    with pytest.raises(ClientError) as failure:
        client.head_object(Bucket=s3.bucket, Key="a")
    assert code_of(failure) == "503"
    assert s3.keys() == {}
    assert [(request.status, request.forwarded, request.faults) for request in proxy.requests] == [
        (503, False, ("Slowdown",)),
        (503, False, ("Slowdown",)),
    ]


def test_a_rate_strikes_about_that_share(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, Slowdown(0.3), seed=4)
    client = once(proxy)
    refused = 0
    for number in range(60):
        try:
            client.put_object(Bucket=s3.bucket, Key=f"k{number}", Body=b"")
        except ClientError:
            refused += 1
    assert len(s3.keys()) == 60 - refused
    assert sum(1 for request in proxy.requests if request.faults) == refused
    assert 6 < refused < 40


def test_status_answers_any_s3_error(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, Status(403, "ExpiredToken", match=on(key=r"^secret/")))
    client = once(proxy)
    with pytest.raises(ClientError) as failure:
        client.get_object(Bucket=s3.bucket, Key="secret/x")
    assert code_of(failure) == "ExpiredToken"
    client.put_object(Bucket=s3.bucket, Key="open/x", Body=b"")


def test_reset_before_hides_the_request_from_the_server(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, ResetBefore(times=1))
    client = once(proxy)
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=s3.bucket, Key="a", Body=b"1")
    assert s3.keys() == {}
    client.put_object(Bucket=s3.bucket, Key="a", Body=b"1")
    assert [request.status for request in proxy.requests] == [None, 200]


def test_reset_after_lets_the_server_do_its_work(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, ResetAfter())
    with pytest.raises(ConnectionClosedError):
        once(proxy).put_object(Bucket=s3.bucket, Key="a", Body=b"1")
    assert s3.get("a") == b"1"
    assert proxy.requests[0].forwarded


def test_truncate_stops_a_body_short(s3: S3Site, proxied: PutBefore) -> None:
    s3.put("a", pseudo_random(600_000))
    proxy = proxied(s3, Truncate(keep=0.25))
    answer = once(proxy).get_object(Bucket=s3.bucket, Key="a")
    assert answer["ContentLength"] == 600_000
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        answer["Body"].read()
    assert proxy.requests[0].received == 150_000


def test_short_makes_a_body_look_whole_that_is_not(s3: S3Site, proxied: PutBefore) -> None:
    data = pseudo_random(600_000)
    s3.put("a", data)
    proxy = proxied(s3, Short(keep=0.25, times=1))
    client = once(proxy)
    answer = client.get_object(Bucket=s3.bucket, Key="a")
    assert answer["ContentLength"] == 150_000
    assert answer["Body"].read() == data[:150_000]
    assert client.get_object(Bucket=s3.bucket, Key="a")["Body"].read() == data


def test_trickle_takes_its_time_over_a_body(s3: S3Site, proxied: PutBefore) -> None:
    data = pseudo_random(30_000)
    s3.put("a", data)
    proxy = proxied(s3, Trickle(100_000))
    began = time.monotonic()
    assert proxy.server.get(s3.bucket, "a") == data
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


def test_flip_changes_one_bit_of_an_object_and_no_listing(s3: S3Site, proxied: PutBefore) -> None:
    data = pseudo_random(600_000)
    s3.put("a", data)
    proxy = proxied(s3, Flip())
    got = proxy.server.get(s3.bucket, "a")
    assert sum((here ^ there).bit_count() for here, there in zip(got, data, strict=True)) == 1
    assert proxy.server.keys(s3.bucket) == s3.keys()


def test_hang_gives_no_answer_a_given_number_of_times(s3: S3Site, proxied: PutBefore) -> None:
    s3.put("a", b"1")
    proxy = proxied(s3, Hang(2))
    hasty = once(proxy, read_timeout=0.5)
    for _ in range(2):
        with pytest.raises(ReadTimeoutError):
            hasty.get_object(Bucket=s3.bucket, Key="a")
    assert once(proxy).get_object(Bucket=s3.bucket, Key="a")["Body"].read() == b"1"


def test_a_hang_can_end(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, Hang(1, seconds=0.3))
    began = time.monotonic()
    with pytest.raises(ConnectionClosedError):
        once(proxy).head_bucket(Bucket=s3.bucket)
    assert time.monotonic() - began > 0.2


def test_leaving_the_proxy_ends_hung_requests(rclone_site: S3Site) -> None:
    with Proxy(rclone_site.server, Hang()) as proxy:
        client = once(proxy)
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                client.head_bucket(Bucket=rclone_site.bucket)
            except BotoCoreError as failure:
                failures.append(failure)

        thread = threading.Thread(target=ask)
        thread.start()
        while not proxy.count():
            time.sleep(0.01)
    thread.join(timeout=10)
    assert len(failures) == 1


def test_latency_delays(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3, Latency(0.2))
    began = time.monotonic()
    proxy.server.s3.head_bucket(Bucket=s3.bucket)
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


def test_fail_page_fails_the_nth_page_of_each_listing(s3: S3Site, proxied: PutBefore) -> None:
    s3.put_all({f"k{number}": b"" for number in range(6)})
    proxy = proxied(s3, FailPage(3))
    client = once(proxy)

    def pages() -> list[int]:
        seen = []
        paginator = client.get_paginator("list_objects_v2")
        try:
            for page in paginator.paginate(Bucket=s3.bucket, PaginationConfig={"PageSize": 2}):
                seen += [page["KeyCount"]]
        except ClientError:
            seen.append(-1)
        return seen

    assert pages() == [2, 2, -1]
    assert pages() == [2, 2, -1]
    proxy.inject()
    assert pages() == [2, 2, 2]


def test_faults_can_be_injected_and_taken_away(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3)
    client = once(proxy)
    client.head_bucket(Bucket=s3.bucket)
    proxy.inject(Slowdown())
    with pytest.raises(ClientError):
        client.head_bucket(Bucket=s3.bucket)
    proxy.inject()
    client.head_bucket(Bucket=s3.bucket)


def test_the_environment_points_at_the_proxy(s3: S3Site, proxied: PutBefore) -> None:
    import boto3

    proxy = proxied(s3)
    boto3.client("s3").list_objects_v2(Bucket=s3.bucket)
    assert proxy.count("LIST") == 1
    s3.keys()
    assert proxy.count() == 1


# -- trees


def test_an_odd_tree_survives_a_round_of_put_and_get(s3: S3Site, tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "tree")
    deep_tree(tree / "deep", depth=20)
    upload_tree(tree, s3, "odd")
    assert_same(tree, s3.server, s3.bucket, "odd")


def test_the_longest_key_has_1024_bytes(s3: S3Site) -> None:
    name = longest_name("p/")
    assert len(f"p/{name}".encode()) == 1024
    s3.put(f"p/{name}", b"1")
    assert s3.get(f"p/{name}") == b"1"


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
