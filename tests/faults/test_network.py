"""Busy servers, bad lines, lost answers and servers that die: what can be repeated is repeated."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pos3
from tests.faults.base import MIB, PutBefore, eventually, fetched, opened, small_files
from tests.support import (
    Fault,
    Latency,
    RcloneServer,
    ResetAfter,
    ResetBefore,
    S3Site,
    Slowdown,
    Status,
    Truncate,
    assert_same,
    contents,
    on,
    write_tree,
)
from tests.support.trees import pseudo_random

STORMS = [
    pytest.param(Slowdown(0.1), id="a-tenth-refused"),
    # One request in a thousand would meet with six refusals in turn, which is when pos3 gives up.
    pytest.param(Slowdown(0.3, spares_after=4), id="a-third-refused"),
    pytest.param(Status(429, "TooManyRequests", rate=0.1), id="a-tenth-too-many"),
    pytest.param(ResetBefore(0.1), id="a-tenth-reset-before-arrival"),
    pytest.param(ResetAfter(0.1), id="a-tenth-reset-after-arrival"),
    pytest.param(Truncate(0.1, match=on("GET", "LIST")), id="a-tenth-truncated"),
]


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("storm", STORMS)
def test_a_download_comes_through_a_storm(s3: S3Site, tmp_path: Path, proxied: PutBefore, storm: Fault) -> None:
    files = small_files(40) | {"large": pseudo_random(17 * MIB)}
    s3.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(s3, storm, seed=7)
    assert contents(fetched(s3, tmp_path)) == files
    assert any(request.faults for request in proxy.requests)


@pytest.mark.parametrize(
    "fault", [pytest.param(ResetBefore(times=3), id="reset"), pytest.param(Truncate(times=3), id="cut-off")]
)
def test_a_server_that_breaks_off_the_first_requests_is_no_wrong_endpoint(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, fault: Fault
) -> None:
    rclone_site.put("data/x", b"1")
    fault.struck = 0
    proxied(rclone_site, fault)
    assert contents(fetched(rclone_site, tmp_path)) == {"x": b"1"}
    assert fault.struck == 3


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("storm", STORMS[:-1])
def test_an_upload_comes_through_a_storm(s3: S3Site, tmp_path: Path, proxied: PutBefore, storm: Fault) -> None:
    tree = write_tree(tmp_path / "tree", small_files(40) | {"large": pseudo_random(17 * MIB)})
    s3.put("data/stale", b"")
    proxy = proxied(s3, storm, seed=7)
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=None)
    assert_same(tree, s3.server, s3.bucket, "data")
    assert s3.server.uploads(s3.bucket) == []
    assert any(request.faults for request in proxy.requests)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("kind", ["POST ?uploads", "PUT ?partNumber", "POST ?uploadId", "HEAD", "PUT", "POST ?delete"])
def test_an_answer_that_is_lost_after_the_work_was_done_does_no_harm(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, kind: str
) -> None:
    tree = write_tree(tmp_path / "tree", {"large": pseudo_random(9 * MIB), "small": b"1"})
    moto_site.put("data/stale", b"")
    proxy = proxied(moto_site, ResetAfter(times=1, match=on(kind)))
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert_same(tree, moto_site.server, moto_site.bucket, "data")
    assert sum("ResetAfter" in request.faults for request in proxy.requests) == 1
    assert moto_site.server.uploads(moto_site.bucket) == []


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Status(200, "InternalError", match=on("POST ?uploadId"), times=1), id="error-in-a-200"),
        pytest.param(Status(404, "NoSuchUpload", match=on("PUT ?partNumber"), times=1), id="part-of-no-upload"),
        pytest.param(Status(404, "NoSuchUpload", match=on("POST ?uploadId"), times=1), id="end-of-no-upload"),
        pytest.param(Status(400, "InvalidPart", match=on("POST ?uploadId"), times=1), id="invalid-part"),
    ],
)
def test_a_multipart_upload_that_came_to_nothing_is_begun_again(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, trouble: Fault
) -> None:
    tree = write_tree(tmp_path / "tree", {"large": pseudo_random(17 * MIB)})
    trouble.struck = 0
    proxied(moto_site, trouble)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert_same(tree, moto_site.server, moto_site.bucket, "data")
    assert trouble.struck == 1


def test_a_server_that_dies_in_a_download_and_comes_back_costs_nothing_but_time(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, proxied: PutBefore
) -> None:
    server, site = private_rclone
    files = small_files(80, 20_000) | {"large": pseudo_random(17 * MIB)}
    site.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(site, Latency(seconds=0.05, match=on("GET")))
    with ThreadPoolExecutor(1) as pool:
        downloaded = pool.submit(fetched, site, tmp_path)
        eventually(lambda: proxy.count("GET") >= 20)
        server.kill()
        time.sleep(0.5)
        server.restart()
        assert contents(downloaded.result(60)) == files


def test_a_server_that_dies_in_an_upload_and_comes_back_costs_nothing_but_time(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, proxied: PutBefore
) -> None:
    server, site = private_rclone
    tree = write_tree(tmp_path / "tree", small_files(80, 20_000))
    proxy = proxied(site, Latency(seconds=0.05, match=on("PUT")))

    def push() -> None:
        with opened(tmp_path):
            pos3.upload(site.url("data"), tree, interval=None)

    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(push)
        eventually(lambda: proxy.count("PUT") >= 20)
        server.kill()
        time.sleep(0.5)
        server.restart()
        pushed.result(60)
    assert_same(tree, site.server, site.bucket, "data")
