"""Listings that fail half-way: what was not listed whole moves and deletes nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import pos3
from tests.faults.base import TRANSFER, PutBefore, eventually, opened, run_python
from tests.support import (
    FailPage,
    Fault,
    Hang,
    Latency,
    MotoServer,
    OtherQuery,
    ResetBefore,
    S3Site,
    Status,
    contents,
    later_pages,
    on,
    write_tree,
)

# A store that is asked for several pages at once, as it keeps waiting.
AT_ONCE = (Latency(seconds=0.03, match=on("LIST")), OtherQuery(query={"max-keys": "10"}))


def behind(key: str) -> Fault:
    """Whatever is asked for behind a key, and not by continuation, stays forbidden."""
    return Status(403, "AccessDenied", match=lambda request: request.query.get("start-after", "") > key)


@pytest.fixture
def ten_pages(moto: MotoServer, moto_site: S3Site) -> S3Site:
    """A bucket with 100 objects below `data/`, in 20 directories."""
    moto.put_empty(moto_site.bucket, [f"data/{number // 5:02}/{number:03}" for number in range(100)])
    return moto_site


def test_a_page_that_fails_for_the_moment_is_fetched_again(
    three_pages: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxied(three_pages, FailPage(page=2, status=503, error_code="SlowDown", times=2))
    with opened(tmp_path):
        plan = pos3.plan_download(three_pages.url("data"), tmp_path / "local")
    assert len(plan.to_copy) == 3000


def test_a_page_that_stays_forbidden_means_that_nothing_is_moved_or_deleted(
    three_pages: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    stale = {"stale": b"1", "0000": b"local"}
    local, tree = write_tree(tmp_path / "local", stale), write_tree(tmp_path / "tree", stale)
    proxy = proxied(three_pages, FailPage(page=2, status=403, error_code="AccessDenied"))
    with opened(tmp_path), pytest.raises(pos3.AccessDeniedError, match="data"):
        pos3.download(three_pages.url("data"), local, adopt=True)
    with pytest.raises(pos3.AccessDeniedError, match="data"), opened(tmp_path):
        pos3.upload(three_pages.url("data"), tree, interval=None)
    assert contents(local) == contents(tree) == stale
    assert set(proxy.kinds) == {"LIST"}
    assert len(three_pages.keys("data/")) == 3000


@pytest.mark.parametrize("known", [True, False], ids=["known-keys", "unknown-keys"])
def test_a_range_that_stays_forbidden_means_that_nothing_is_moved_or_deleted(
    ten_pages: S3Site, tmp_path: Path, proxied: PutBefore, known: bool
) -> None:
    local = tmp_path / "local"
    if known:
        with opened(tmp_path):
            pos3.download(ten_pages.url("data"), local)
    (write_tree(local, {"stale": b"1"}) / "00/000").unlink(missing_ok=True)
    before = contents(local)
    proxy = proxied(ten_pages, *AT_ONCE, behind("data/07"))
    with opened(tmp_path), pytest.raises(pos3.AccessDeniedError, match="data"):
        pos3.download(ten_pages.url("data"), local, adopt=True)
    with pytest.raises(pos3.AccessDeniedError, match="data"), opened(tmp_path):
        pos3.upload(ten_pages.url("data"), local, interval=None)
    assert contents(local) == before
    assert set(proxy.kinds) == {"LIST"}
    assert len(ten_pages.keys("data/")) == 100


@pytest.mark.parametrize("known", [True, False], ids=["known-keys", "unknown-keys"])
def test_ranges_that_fail_for_the_moment_are_fetched_again(
    ten_pages: S3Site, tmp_path: Path, proxied: PutBefore, known: bool
) -> None:
    local = tmp_path / "local"
    with opened(tmp_path):
        pos3.download(ten_pages.url("data"), local if known else tmp_path / "other")
    proxied(ten_pages, *AT_ONCE, ResetBefore(rate=0.3, match=later_pages, times=6), seed=3)
    with opened(tmp_path):
        plan = pos3.plan_download(ten_pages.url("data"), local)
        assert len(plan.to_copy) == (0 if known else 100)
        assert not plan.to_delete


def test_ctrl_c_ends_a_listing_whose_ranges_hang(ten_pages: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(ten_pages, *AT_ONCE, Hang(times=None, match=later_pages))
    program = run_python(TRANSFER, "download", tmp_path / "cache", ten_pages.url("data"), "")
    try:
        eventually(lambda: proxy.count("LIST") > 1, 40)
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=10)
    finally:
        program.kill()
    assert program.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in output
