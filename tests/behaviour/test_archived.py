"""Objects in an archive cannot be read: they are errors, or are left alone if that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

import pos3
from tests.support import S3Site, contents, write_tree
from tests.support.program import run_program


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


@pytest.fixture(params=["GLACIER", "DEEP_ARCHIVE"])
def archive(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(moto_site: S3Site, archive: str) -> S3Site:
    moto_site.put_all({"data/a": b"1", "data/b/c": b"2"})
    put(moto_site, "data/b/cold", b"3", archive)
    put(moto_site, "data/near", b"4", "GLACIER_IR")
    return moto_site


def put(site: S3Site, key: str, content: bytes, archive: str) -> None:
    site.server.s3.put_object(Bucket=site.bucket, Key=key, Body=content, StorageClass=archive)


def test_an_archived_object_is_an_error_that_says_what_to_do(site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=r"b/cold.*skip_archived=True"):
        pos3.download(site.url("data"))


def test_archived_objects_are_left_out_if_asked_for_and_named(site: S3Site, tmp_path: Path, archive: str) -> None:
    with opened(tmp_path) as mirror:
        plan = pos3.plan_download(site.url("data"), skip_archived=True)
        path = pos3.download(site.url("data"), skip_archived=True)
        kept = mirror.report().kept
    assert contents(path) == {"a": b"1", "b/c": b"2", "near": b"4"}
    assert len(plan.to_copy) == 3
    assert kept == plan.kept == (pos3.Kept("b/cold", f"archived in {archive}"),)


def test_a_local_file_stays_as_it_is_when_its_object_goes_into_an_archive(
    site: S3Site, tmp_path: Path, archive: str
) -> None:
    with opened(tmp_path):
        path = pos3.download(site.url("data"), skip_archived=True)
    put(site, "data/a", b"newer", archive)
    write_tree(path, {"b/cold": b"my own", "stale": b"5"})
    with opened(tmp_path):
        pos3.download(site.url("data"), skip_archived=True)
    assert contents(path) == {"a": b"1", "b/c": b"2", "b/cold": b"my own", "near": b"4"}


def test_a_directory_in_the_place_of_an_archived_object_stays(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"b/cold/x": b"1", "b/cold/y/z": b"2"})
    with opened(tmp_path):
        pos3.download(site.url("data"), here, skip_archived=True, adopt=True)
    assert contents(here) == {"a": b"1", "b/c": b"2", "b/cold/x": b"1", "b/cold/y/z": b"2", "near": b"4"}


def test_a_prefix_of_archived_objects_alone_is_no_error(moto_site: S3Site, tmp_path: Path, archive: str) -> None:
    put(moto_site, "data/x", b"1", archive)
    with opened(tmp_path):
        assert contents(pos3.download(moto_site.url("data"), skip_archived=True)) == {}


def test_the_command_line_plans_and_downloads_without_archived_objects(site: S3Site, tmp_path: Path) -> None:
    arguments = ("download", site.url("data"), "--local", tmp_path / "here", "--skip-archived")
    planned = run_program(*arguments, "-n")
    assert (planned.status, len(planned.lines)) == (0, 3)
    assert "b/cold: archived in" in planned.stderr
    assert run_program(*arguments).status == 0
    assert contents(tmp_path / "here") == {"a": b"1", "b/c": b"2", "near": b"4"}
