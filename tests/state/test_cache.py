"""What lies in the cache, whether it is as it was synced, and what goes when it grows too large."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pos3
from pos3.state.cache import evict_to_limit, list_cache, verify_cache
from tests.support import S3Site, contents, write_tree


def opened(tmp_path: Path, cache_limit: int | str | None = None) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, cache_limit=cache_limit)


def filled(site: S3Site, tmp_path: Path, *keys: str, size: int = 1000) -> dict[str, Path]:
    """A cache with one root of `size` bytes for each key, the first one used longest ago."""
    paths = {}
    for key in keys:
        site.put(f"{key}/a", key.encode()[:1] * size)
        with opened(tmp_path):
            paths[key] = pos3.download(site.url(key))
    return paths


def present(paths: dict[str, Path]) -> set[str]:
    return {key for key, path in paths.items() if path.exists()}


def test_the_least_recently_used_goes_first(s3: S3Site, tmp_path: Path) -> None:
    paths = filled(s3, tmp_path, "a", "b", "c")
    with opened(tmp_path):
        pos3.download(s3.url("a"))
    with opened(tmp_path, cache_limit=2500):
        assert present(paths) == {"a", "c"}
    with opened(tmp_path, cache_limit="1kB"):
        assert present(paths) == {"a"}


def test_a_new_download_pushes_old_ones_out(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a", "b")
    rclone_site.put("c/a", b"c" * 1000)
    with opened(tmp_path, cache_limit=2000):
        paths["c"] = pos3.download(rclone_site.url("c"))
        assert present(paths) == {"b", "c"}


def test_what_this_mirror_uses_stays_until_it_ends(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a", "b")
    with opened(tmp_path, cache_limit=0):
        assert present(paths) == set()
        for key in paths:
            pos3.download(rclone_site.url(key))
        assert present(paths) == {"a", "b"}
    assert present(paths) == set()
    assert rclone_site.objects() == {"a/a": b"a" * 1000, "b/a": b"b" * 1000}


def test_what_another_process_uses_stays(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a", "b")
    script = (
        "import pos3, sys\n"
        "with pos3.mirror(sys.argv[1], show_progress=False):\n"
        "    pos3.download(sys.argv[2])\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "cache"), rclone_site.url("a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with opened(tmp_path, cache_limit=0):
            assert present(paths) == {"a"}
        assert {cached.local: cached.is_in_use for cached in list_cache(str(tmp_path / "cache"))} == {
            str(paths["a"]): True
        }
        child.kill()
        child.wait()
        with opened(tmp_path, cache_limit=0):
            assert present(paths) == set()
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("part", ["inside", "around"])
def test_a_root_inside_or_around_one_in_use_stays(rclone_site: S3Site, tmp_path: Path, part: str) -> None:
    rclone_site.put_all({"data/a": b"1", "data/sub/b": b"2"})
    with opened(tmp_path):
        whole = pos3.download(rclone_site.url("data"))
    with opened(tmp_path):
        pos3.download(rclone_site.url("data/sub"))
    with opened(tmp_path):
        pos3.download(rclone_site.url("data/sub" if part == "inside" else "data"))
        with opened(tmp_path, cache_limit=0):
            assert contents(whole)["sub/b"] == b"2"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"a": b"changed"}, id="changed-file"),
        pytest.param({"b": b"added"}, id="added-file"),
    ],
)
def test_what_was_changed_locally_stays(rclone_site: S3Site, tmp_path: Path, change: dict[str, bytes]) -> None:
    paths = filled(rclone_site, tmp_path, "a", "b")
    write_tree(paths["a"], change)
    with opened(tmp_path, cache_limit=0):
        assert present(paths) == {"a"}
    assert change.items() <= contents(paths["a"]).items()


def test_what_was_not_pushed_stays_and_what_was_goes(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        pushed = pos3.upload(s3.url("pushed"))
        write_tree(pushed, {"a": b"1"})
    with pytest.raises(KeyboardInterrupt), opened(tmp_path):  # noqa: PT012
        unpushed = pos3.upload(s3.url("unpushed"))
        write_tree(unpushed, {"a": b"1"})
        raise KeyboardInterrupt
    with opened(tmp_path, cache_limit=0):
        assert not pushed.exists()
        assert contents(unpushed) == {"a": b"1"}


def test_nothing_outside_the_cache_root_goes(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    with opened(tmp_path):
        pos3.download(rclone_site.url("data"), tmp_path / "elsewhere")
    with opened(tmp_path, cache_limit=0):
        pass
    assert contents(tmp_path / "elsewhere") == {"a": b"1"}


def test_files_that_pos3_does_not_know_stay(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a")
    foreign = write_tree(tmp_path / "cache" / "_" / rclone_site.bucket / "foreign", {"x": b"1"})
    with opened(tmp_path, cache_limit=0):
        assert present(paths) == set()
    assert contents(foreign) == {"x": b"1"}


def test_evicted_data_comes_back_whole(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a")
    with opened(tmp_path, cache_limit=0):
        pass
    assert not (tmp_path / "cache" / "_").exists()
    with opened(tmp_path) as mirror:
        assert contents(pos3.download(rclone_site.url("a"))) == {"a": b"a" * 1000}
    assert present(paths) == {"a"}
    assert mirror.report().downloaded_files == 1


def test_a_dry_run_names_what_would_go(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a", "b", "c")
    gone = evict_to_limit(str(tmp_path / "cache"), 1500, dry_run=True)
    assert [cached.url for cached in gone] == [rclone_site.url("a"), rclone_site.url("b")]
    assert present(paths) == {"a", "b", "c"}


def test_what_was_used_lately_can_be_spared(rclone_site: S3Site, tmp_path: Path) -> None:
    paths = filled(rclone_site, tmp_path, "a", "b")
    used_at = {cached.url: cached.used_at for cached in list_cache(str(tmp_path / "cache"))}
    evict_to_limit(str(tmp_path / "cache"), 0, unused_since=used_at[rclone_site.url("a")])
    assert present(paths) == {"b"}


def test_listing_shows_what_each_root_mirrors(s3: S3Site, tmp_path: Path) -> None:
    paths = filled(s3, tmp_path, "a", "b")
    s3.put("model.pt", b"123")
    with opened(tmp_path):
        model = pos3.download(s3.url("model.pt"))
    write_tree(paths["b"], {"more": b"22"})
    listed = {cached.url: cached for cached in list_cache(str(tmp_path / "cache"))}
    assert list(listed) == [s3.url("a"), s3.url("b"), s3.url("model.pt")]
    assert {
        url: (cached.local, cached.files, cached.size_bytes, cached.is_dirty) for url, cached in listed.items()
    } == {
        s3.url("a"): (str(paths["a"]), 1, 1000, False),
        s3.url("b"): (str(paths["b"]), 2, 1002, True),
        s3.url("model.pt"): (str(model), 1, 3, False),
    }


def test_verifying_finds_what_is_missing_changed_or_rotten(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"data/{name}": b"1111" for name in ("fine", "missing", "changed", "rotten")})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    cache = str(tmp_path / "cache")
    assert verify_cache(cache, read_content=True) == []
    (path / "missing").unlink()
    (path / "changed").write_bytes(b"22222")
    before = (path / "rotten").stat()
    (path / "rotten").write_bytes(b"2222")
    os.utime(path / "rotten", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert {Path(found.local).name for found in verify_cache(cache)} == {"missing", "changed"}
    assert {Path(found.local).name for found in verify_cache(cache, read_content=True)} == {
        "missing",
        "changed",
        "rotten",
    }


def test_an_absent_cache_is_empty(tmp_path: Path) -> None:
    assert list_cache(str(tmp_path / "nowhere")) == []
    assert verify_cache(str(tmp_path / "nowhere")) == []
    assert evict_to_limit(str(tmp_path / "nowhere"), 0) == []
    assert not (tmp_path / "nowhere").exists()


def test_looking_at_the_cache_changes_nothing_in_it(rclone_site: S3Site, tmp_path: Path) -> None:
    filled(rclone_site, tmp_path, "a")
    before = contents(tmp_path / "cache" / "_")
    used = [cached.used_at for cached in list_cache(str(tmp_path / "cache"))]
    verify_cache(str(tmp_path / "cache"))
    assert [cached.used_at for cached in list_cache(str(tmp_path / "cache"))] == used
    assert contents(tmp_path / "cache" / "_") == before


def test_the_mirrored_tree_holds_nothing_of_pos3_itself(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    with opened(tmp_path):
        inside = pos3.sync(rclone_site.url("data"), interval=0.1)
        write_tree(inside, {"b": b"2"})
    assert sorted(child.name for child in inside.iterdir()) == ["a", "b"]
    assert set(rclone_site.keys()) == {"data/a", "data/b"}
