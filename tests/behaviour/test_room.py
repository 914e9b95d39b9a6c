"""A download that does not fit is refused before it begins; unused cached data makes room where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import Proxy, S3Site
from tests.support.trees import pseudo_random

MIB = 1 << 20


def fill(site: S3Site, *keys: str, size_bytes: int = MIB) -> None:
    site.put_all({key: pseudo_random(size_bytes, seed=number) for number, key in enumerate(keys)})


def test_a_download_that_does_not_fit_is_refused_with_figures_before_any_body_is_asked_for(
    rclone_site: S3Site, tmp_path: Path, disk: Path, proxied: Callable[..., Proxy]
) -> None:
    fill(rclone_site, *(f"data/{number}" for number in range(6)))
    proxy = proxied(rclone_site)
    with (
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises(pos3.NoSpaceError, match=r"needs 6\.0 MiB, and 4\.0 MiB can be used at") as caught,
    ):
        pos3.download(rclone_site.url("data"), disk / "local")
    assert rclone_site.url("data") in str(caught.value)
    assert f"{disk}/local" in str(caught.value)
    assert not any("/data/" in request.path for request in proxy.requests if request.method == "GET")
    assert list(disk.iterdir()) == []


def test_a_refused_download_leaves_what_was_there(rclone_site: S3Site, disk: Path) -> None:
    fill(rclone_site, "data/a")
    with pos3.mirror(disk / "cache", show_progress=False):
        data = pos3.download(rclone_site.url("data"))
    fill(rclone_site, "data/b", "data/c", "data/d", "data/a")
    with pos3.mirror(disk / "cache", show_progress=False), pytest.raises(pos3.NoSpaceError, match="cache_limit"):
        pos3.download(rclone_site.url("data"))
    assert {file.name: file.stat().st_size for file in data.iterdir()} == {"a": MIB}


def test_files_that_replace_others_need_room_for_one_at_a_time(rclone_site: S3Site, disk: Path) -> None:
    fill(rclone_site, "data/a", "data/b", size_bytes=MIB * 5 // 4)
    for seed in (1, 2):
        rclone_site.put_all({f"data/{name}": pseudo_random(MIB * 5 // 4, seed=seed) for name in "ab"})
        with pos3.mirror(disk / "cache", show_progress=False, max_workers=1):
            data = pos3.download(rclone_site.url("data"))
        assert (data / "a").read_bytes() == pseudo_random(MIB * 5 // 4, seed=seed)


def test_a_bounded_cache_gives_up_what_nobody_uses_for_a_download_that_would_not_fit(
    rclone_site: S3Site, disk: Path
) -> None:
    fill(rclone_site, "old/a", "used/a", "dirty/a", "new/a")
    roomy = "1GB"
    with pos3.mirror(disk / "cache", show_progress=False, cache_limit=roomy):
        old, dirty = pos3.download(rclone_site.url("old")), pos3.download(rclone_site.url("dirty"))
    (dirty / "a").write_bytes(b"changed")
    with pos3.mirror(disk / "cache", show_progress=False, cache_limit=roomy):
        used = pos3.download(rclone_site.url("used"))
        fill(rclone_site, "new/a", size_bytes=5 * MIB // 2)
        assert (pos3.download(rclone_site.url("new")) / "a").stat().st_size == 5 * MIB // 2
        assert not old.exists()
        fill(rclone_site, "more/a")
        with pytest.raises(pos3.NoSpaceError, match="in use or not pushed"):
            pos3.download(rclone_site.url("more"))
        assert (used / "a").stat().st_size == MIB
        assert (dirty / "a").read_bytes() == b"changed"
