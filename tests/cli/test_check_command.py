"""`pos3 check`: which files differ between a local path and a URL. It changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.base import PutBefore
from tests.support import S3Site, contents, write_tree
from tests.support.program import run_program

FILES = {"same": b"1", "other/deep": b"22", "larger": b"333"}


@pytest.fixture
def tree(s3: S3Site, tmp_path: Path) -> Path:
    s3.put_all({f"data/{name}": data for name, data in FILES.items()})
    return write_tree(tmp_path / "tree", FILES)


def test_equal_sides_end_with_0_and_print_nothing(s3: S3Site, tree: Path, tmp_path: Path) -> None:
    ran = run_program("check", s3.url("data"), "--local", tree, "--cache-root", tmp_path / "cache")
    assert (ran.status, ran.stdout) == (0, "")
    assert ran.stderr == f"pos3 check: no differences between {tree} and {s3.url('data')}, 3 files are equal\n"


def test_each_difference_is_told_with_status_1_and_nothing_is_changed(s3: S3Site, tree: Path, tmp_path: Path) -> None:
    s3.put("data/new", b"4")
    (tree / "mine").write_bytes(b"5")
    (tree / "larger").write_bytes(b"3333")
    (tree / "other/deep").write_bytes(b"23")
    here, there = contents(tree), s3.objects()
    options = ["--local", tree, "--cache-root", tmp_path / "cache"]
    ran = run_program("check", s3.url("data"), *options)
    assert ran.status == 1
    assert ran.lines == [
        f"differs: {tree}/larger  (different size)",
        f"only here: {tree}/mine",
        f"only in the store: {s3.url('data/new')}",
        f"differs: {tree}/other/deep  (different content)",
    ]
    assert "4 differences" in ran.stderr
    assert (contents(tree), s3.objects()) == (here, there)
    as_json = run_program("check", s3.url("data"), *options, "--json")
    assert as_json.objects[1:3] == [
        {"url": s3.url("data/mine"), "path": f"{tree}/mine", "side": "local", "reason": ""},
        {"url": s3.url("data/new"), "path": f"{tree}/new", "side": "store", "reason": ""},
    ]


def test_it_sends_no_request_that_changes_anything(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    rclone_site.put_all({"data/a": b"1", "data/b": b"2"})
    tree = write_tree(tmp_path / "tree", {"a": b"1", "c": b"3"})
    proxy = proxied(rclone_site)
    assert run_program("check", rclone_site.url("data"), "--local", tree).status == 1
    assert set(proxy.kinds) <= {"LIST", "HEAD"}


def test_filters_hide_and_sizes_alone_may_be_compared(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"data/a": b"1", "data/b.log": b"2"})
    tree = write_tree(tmp_path / "tree", {"a": b"9", "c.tmp": b"3"})
    place = [rclone_site.url("data"), "--local", tree]
    assert run_program("check", *place, "--exclude", "*.log", "--exclude", "*.tmp").lines == [
        f"differs: {tree}/a  (different content)"
    ]
    assert run_program("check", *place, "--include", "a", "--compare", "size").status == 0


def test_a_file_in_place_of_a_directory_differs(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a/b", b"1")
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    ran = run_program("check", rclone_site.url("data"), "--local", tree)
    assert ran.status == 1
    assert f"differs: {tree}/a  (a file on one side, and a directory on the other)" in ran.lines


def test_the_cache_is_what_is_compared_unless_a_path_is_given(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    cache = ["--cache-root", tmp_path / "cache"]
    downloaded = run_program("download", rclone_site.url("data"), *cache)
    assert run_program("check", rclone_site.url("data"), *cache).status == 0
    Path(downloaded.lines[0], "a").write_bytes(b"22")
    assert run_program("check", rclone_site.url("data"), *cache).status == 1


@pytest.mark.parametrize("command", ["check", "doctor", "status"])
def test_what_only_looks_evicts_nothing_from_the_cache(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    rclone_site.put("data/a", b"1")
    cache = ["--cache-root", tmp_path / "cache"]
    [path] = run_program("download", rclone_site.url("data"), *cache).lines
    monkeypatch.setenv("POS3_CACHE_LIMIT", "0")
    urls = [] if command == "status" else [rclone_site.url("data")]
    assert run_program(command, *urls, *cache).status == 0
    assert contents(Path(path)) == {"a": b"1"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["s3://{bucket}/data", "--local", "{tmp}/typo"], "no such local path", id="no local path"),
        pytest.param(["s3://{bucket}/nothing", "--local", "{tmp}"], "nothing", id="nothing at the URL"),
        pytest.param(["{tmp}"], "url must be an s3:// URL", id="no URL"),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    rclone_site: S3Site, tmp_path: Path, arguments: list[str], told: str
) -> None:
    rclone_site.put("data/a", b"1")
    given = [argument.format(bucket=rclone_site.bucket, tmp=tmp_path) for argument in arguments]
    ran = run_program("check", *given)
    assert (ran.status, ran.stdout) == (1, "")
    assert told in ran.stderr
