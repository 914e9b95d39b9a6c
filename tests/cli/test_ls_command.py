"""`pos3 ls -l`, of buckets and by patterns."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path

import pytest

from tests.support import S3Site, write_tree
from tests.support.program import run_program

FILES = {"a.txt": b"1" * 1500, "b/c.txt": b"22"}


@pytest.fixture
def site(s3: S3Site) -> S3Site:
    s3.put_all({f"data/{name}": data for name, data in FILES.items()})
    return s3


def test_a_long_listing_has_size_time_and_storage_class(site: S3Site) -> None:
    ran = run_program("ls", "-l", site.url("data"))
    assert (ran.status, ran.stderr) == (0, "")
    of_object, of_prefix = ran.lines
    pattern = rf" +1\.5 KiB  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  (STANDARD)? *{re.escape(site.url('data/a.txt'))}"
    assert re.fullmatch(pattern, of_object)
    assert of_prefix.split() == [site.url("data/b")]
    assert of_prefix.index("s3://") == of_object.index("s3://")


def test_the_json_of_a_long_listing_has_all_fields(site: S3Site) -> None:
    [found] = run_program("ls", "-l", "--json", site.url("data/b/")).objects
    assert datetime.fromisoformat(found.pop("modified")).utcoffset() is not None
    assert found.pop("storage_class") in ("", "STANDARD")
    etag = hashlib.md5(FILES["b/c.txt"]).hexdigest()
    assert found == {"url": site.url("data/b/c.txt"), "size_bytes": 2, "etag": etag}


def test_a_long_listing_of_local_files_has_paths(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree", FILES)
    [first, _] = run_program("ls", "-l", "--json", root).objects
    assert (first["path"], first["size_bytes"]) == (f"{root}/a.txt", 1500)


def test_buckets_are_listed_one_url_a_line(site: S3Site) -> None:
    ran = run_program("ls", "s3://")
    assert ran.status == 0
    assert site.url() in ran.lines
    assert all(re.fullmatch(r"s3://[^/]+", line) for line in ran.lines)
    [of_bucket] = [line for line in run_program("ls", "-l", "s3://").lines if line.endswith(site.url())]
    assert re.fullmatch(rf" +([\d: -]+)? +{re.escape(site.url())}", of_bucket)
    assert {"url": site.url()} in run_program("ls", "--json", "s3://").objects


def test_a_pattern_lists_what_matches_here_and_there(site: S3Site, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree", FILES)
    assert run_program("ls", site.url("data/*/c.*")).lines == [site.url("data/b/c.txt")]
    assert run_program("ls", f"{root}/*/c.*").lines == [f"{root}/b/c.txt"]
    assert run_program("ls", site.url("data/x*")).lines == []
    ran = run_program("ls", f"{root}/x*")
    assert (ran.status, ran.stdout) == (1, "")
    assert "no such local path" in ran.stderr
