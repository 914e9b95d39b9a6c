"""`pos3 du`: files and bytes by directory, here and in the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.base import PutBefore
from tests.support import FailPage, S3Site, write_tree
from tests.support.program import run_program

FILES = {"a": b"1", "b/c": b"22", "b/d/e": b"333", "b/d/f": b"4444", "b-1/x": b"55555"}
EXPECTED = [("b-1", 1, 5), ("b/d", 2, 7), ("b", 3, 9), ("", 5, 15)]


def test_objects_and_files_are_added_up_by_directory(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"data/{name}": data for name, data in FILES.items()})
    root = write_tree(tmp_path / "tree", FILES)
    for kind, address in (("url", s3.url("data")), ("path", str(root))):
        ran = run_program("du", "-d", "9", "--json", address)
        assert (ran.status, ran.stderr) == (0, "")
        assert ran.objects == [
            {kind: f"{address}/{name}".rstrip("/"), "files": files, "size_bytes": size}
            for name, files, size in EXPECTED
        ]


@pytest.mark.parametrize(
    ("options", "names"), [([], ["b-1", "b", ""]), (["-d", "0"], [""]), (["--depth", "2"], ["b-1", "b/d", "b", ""])]
)
def test_directories_are_shown_down_to_a_depth(rclone_site: S3Site, options: list[str], names: list[str]) -> None:
    rclone_site.put_all({f"data/{name}": data for name, data in FILES.items()})
    ran = run_program("du", *options, rclone_site.url("data/"))
    assert [line.split()[-1] for line in ran.lines] == [rclone_site.url(f"data/{name}").rstrip("/") for name in names]
    assert ran.lines[-1].split() == ["15", "B", "5", rclone_site.url("data")]


def test_a_single_object_a_single_file_and_nothing_have_a_total(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"123")
    (tmp_path / "a").write_bytes(b"123")
    for address in (rclone_site.url("data/a"), str(tmp_path / "a")):
        assert run_program("du", address).lines == [f"{'3 B':>10}  {1:>9}  {address}"]
    nothing = run_program("du", rclone_site.url("nothing"))
    assert (nothing.status, nothing.stdout.split()) == (0, ["0", "B", "0", rclone_site.url("nothing")])


def test_what_cannot_be_listed_is_an_error_and_never_a_smaller_total(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    assert run_program("du", "s3://no-such-bucket-here/x").status == 1
    ran = run_program("du", tmp_path / "nothing")
    assert (ran.status, ran.stdout) == (1, "")
    assert "no such local path" in ran.stderr
    rclone_site.put_all({f"data/{number:04}": b"1" for number in range(1001)})
    proxied(rclone_site, FailPage(page=2, status=403, error_code="AccessDenied"))
    ran = run_program("du", rclone_site.url("data"))
    assert (ran.status, ran.stdout) == (1, "")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read_is_named_with_status_1(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree", FILES)
    (root / "b").chmod(0)
    try:
        ran = run_program("du", root)
    finally:
        (root / "b").chmod(0o700)
    assert ran.status == 1
    assert f"{root}/b" in ran.stderr


@pytest.mark.parametrize("depth", ["-1", "x", "1.5"])
def test_a_depth_that_is_none_is_wrong_usage(depth: str) -> None:
    assert run_program("du", f"--depth={depth}", "s3://bucket").status == 2
