"""Listings that fail half-way: what was not listed whole moves and deletes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, opened
from tests.support import (
    FailPage,
    S3Site,
    contents,
    write_tree,
)


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
