"""`pos3 cache`: what lies in the cache, bounding it, checking it."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

import pos3
from tests.support import S3Site, contents
from tests.support.program import Ran, ended, run_program, start_program

DAY = 86400


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cached(rclone_site: S3Site, root: Path) -> dict[str, Path]:
    """Three downloads in the cache, the first one used longest ago."""
    rclone_site.put_all({"one/a": b"1" * 1000, "two/a": b"2" * 2000, "two/b/c": b"2", "three/a": b"3" * 3000})
    paths = {}
    for name in ("one", "two", "three"):
        with pos3.mirror(root, show_progress=False):
            paths[name] = pos3.download(rclone_site.url(name))
    return paths


def cache(command: str, root: Path, *options: str) -> Ran:
    return run_program("cache", command, "--cache-root", root, *options)


def _age(root: Path, path: Path, days: float) -> None:
    """Lets the cached root look as if it was last used so many days ago."""
    for database in (root / ".pos3").glob("*.sqlite"):
        connection = sqlite3.connect(database)
        with connection:
            if connection.execute("SELECT 1 FROM notes WHERE name = 'local' AND value = ?", (str(path),)).fetchone():
                connection.execute("UPDATE places SET used_at = ?", (time.time() - days * DAY,))
        connection.close()


def test_ls_shows_a_table_of_what_is_cached(rclone_site: S3Site, root: Path, cached: dict[str, Path]) -> None:
    ran = cache("ls", root)
    assert ran.status == 0
    header, *rows = ran.lines
    assert header.split() == ["SIZE", "FILES", "USED", "STATE", "URL", "PATH"]
    assert [row.split()[-2:] for row in rows] == [[rclone_site.url(name), str(path)] for name, path in cached.items()]
    assert rows[1].split()[:3] == ["2.0", "KiB", "2"]
    assert {row.split()[-3] for row in rows} == {"clean"}
    assert ran.stderr == "pos3 cache ls: 3 cached, 5.9 KiB\n"


def test_ls_as_json_is_one_object_a_line(rclone_site: S3Site, root: Path, cached: dict[str, Path]) -> None:
    found = cache("ls", root, "--json").objects
    assert [(item["url"], item["local"], item["files"], item["size_bytes"], item["state"]) for item in found] == [
        (rclone_site.url("one"), str(cached["one"]), 1, 1000, "clean"),
        (rclone_site.url("two"), str(cached["two"]), 2, 2001, "clean"),
        (rclone_site.url("three"), str(cached["three"]), 1, 3000, "clean"),
    ]


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_a_cache_that_does_not_exist_is_empty(root: Path, command: str) -> None:
    ran = cache(command, root)
    assert (ran.status, ran.stdout) == (0, "")
    assert not root.exists()


def test_ls_tells_what_is_dirty_and_what_is_in_use(rclone_site: S3Site, root: Path, cached: dict[str, Path]) -> None:
    (cached["one"] / "new").touch()
    program = start_program("sync", rclone_site.url("two"), "--cache-root", root, "--interval", "3600")
    assert program.stdout is not None
    program.stdout.readline()
    try:
        states = {item["url"]: item["state"] for item in cache("ls", root, "--json").objects}
        pruned = cache("prune", root, "--limit", "0")
    finally:
        program.send_signal(signal.SIGTERM)
        assert ended(program).status == 0
    assert states == {
        rclone_site.url("one"): "dirty",
        rclone_site.url("two"): "in use",
        rclone_site.url("three"): "clean",
    }
    assert [line.split("  ")[0] for line in pruned.lines] == [f"delete: {cached['three']}"]
    assert {name: path.exists() for name, path in cached.items()} == {"one": True, "two": True, "three": False}


def test_prune_removes_the_least_recently_used_until_the_limit_holds(root: Path, cached: dict[str, Path]) -> None:
    ran = cache("prune", root, "--limit", "5500")
    assert ran.status == 0
    assert [line.split("  ")[0] for line in ran.lines] == [f"delete: {cached['one']}"]
    assert ran.stderr == "pos3 cache prune: freed 1000 B\n"
    assert {name: path.exists() for name, path in cached.items()} == {"one": False, "two": True, "three": True}


def test_prune_by_age_removes_what_is_older_and_nothing_else(root: Path, cached: dict[str, Path]) -> None:
    _age(root, cached["two"], days=31)
    _age(root, cached["three"], days=29)
    ran = cache("prune", root, "--older-than", "30d")
    assert ran.status == 0
    assert [line.split("  ")[0] for line in ran.lines] == [f"delete: {cached['two']}"]
    assert not cached["two"].exists()


def test_prune_by_age_and_limit_stops_at_the_limit(root: Path, cached: dict[str, Path]) -> None:
    for name, path in cached.items():
        _age(root, path, days={"one": 50, "two": 40, "three": 1}[name])
    ran = cache("prune", root, "--older-than", "4w", "--limit", "5500", "--json")
    assert [item["local"] for item in ran.objects] == [str(cached["one"])]
    assert cached["two"].exists()


def test_prune_as_a_dry_run_removes_nothing(root: Path, cached: dict[str, Path]) -> None:
    ran = cache("prune", root, "-n", "--limit", "0")
    assert [line.split("  ")[0] for line in ran.lines] == [f"delete: {path}" for path in cached.values()]
    assert "would free 5.9 KiB" in ran.stderr
    assert all(path.exists() for path in cached.values())


def test_what_was_pruned_comes_back_with_the_next_download(
    rclone_site: S3Site, root: Path, cached: dict[str, Path]
) -> None:
    assert cache("prune", root, "--limit", "0").status == 0
    assert run_program("download", rclone_site.url("two"), "--cache-root", root).status == 0
    assert contents(cached["two"]) == {"a": b"2" * 2000, "b/c": b"2"}


@pytest.mark.parametrize("options", [[], ["--checksum"]], ids=["by status", "by content"])
def test_verify_of_an_untouched_cache_finds_nothing(root: Path, cached: dict[str, Path], options: list[str]) -> None:
    ran = cache("verify", root, *options)
    assert (ran.status, ran.stdout) == (0, "")
    assert ran.stderr == "pos3 cache verify: all files are as synced\n"


def test_verify_names_what_is_missing_and_what_has_changed(root: Path, cached: dict[str, Path]) -> None:
    (cached["two"] / "a").unlink()
    (cached["three"] / "a").write_bytes(b"x")
    ran = cache("verify", root)
    assert ran.status == 1
    assert sorted(ran.lines) == sorted(
        [f"{cached['two']}/a  (missing)", f"{cached['three']}/a  (changed since it was synced)"]
    )
    as_json = cache("verify", root, "--json")
    assert as_json.status == 1
    assert {item["path"]: item["problem"] for item in as_json.objects}[f"{cached['two']}/a"] == "missing"


def test_only_checksums_find_damage_that_the_status_does_not_show(root: Path, cached: dict[str, Path]) -> None:
    path = cached["one"] / "a"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache("verify", root).status == 0
    ran = cache("verify", root, "--checksum")
    assert ran.status == 1
    assert ran.lines == [f"{path}  (content does not match its ETag)"]
