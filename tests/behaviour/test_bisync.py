"""`pos3.bisync`: both sides up to date with each other, once, from Python. tests/cli/test_sync_command.py has more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import Latency, Proxy, S3Site, contents, on, write_tree
from tests.support.program import run_code

FILES = {"a": b"1", "b/c": b"22", "b/d": b"333"}
PutBefore = Callable[..., Proxy]


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    return rclone_site


@pytest.fixture
def here(site: S3Site, tmp_path: Path) -> Path:
    """A directory that was synced with the bucket."""
    with opened(tmp_path):
        return pos3.bisync(site.url("data"), tmp_path / "here")


def test_what_each_side_has_newer_reaches_the_other(site: S3Site, here: Path, tmp_path: Path) -> None:
    write_tree(here, {"a": b"mine", "new-here": b"1"})
    site.put("data/b/c", b"theirs")
    site.put("data/new-there", b"2")
    with opened(tmp_path) as mirror:
        assert pos3.bisync(site.url("data"), here) == here
        report = mirror.report()
    expected = {"a": b"mine", "b/c": b"theirs", "b/d": b"333", "new-here": b"1", "new-there": b"2"}
    assert contents(here) == site.objects("data/") == expected
    moved = (report.uploaded_files, report.downloaded_files, report.unchanged, report.deleted_local)
    assert moved == (2, 2, 1, 0)


def test_a_conflict_is_named_and_nothing_is_changed(site: S3Site, here: Path, tmp_path: Path) -> None:
    write_tree(here, {"a": b"mine", "new": b"new"})
    site.put("data/a", b"theirs")
    with opened(tmp_path):
        plan = pos3.plan_bisync(site.url("data"), here)
        with pytest.raises(pos3.PlanRefusedError, match=r"1 file\(s\) differ") as caught:
            pos3.bisync(site.url("data"), here)
    assert str(caught.value) == plan.refusal
    assert contents(here) == FILES | {"a": b"mine", "new": b"new"}
    assert site.objects("data/") == FILES | {"a": b"theirs"}


def test_a_plan_says_what_goes_each_way_and_changes_nothing(site: S3Site, here: Path, tmp_path: Path) -> None:
    write_tree(here, {"new-here": b"1"})
    site.put("data/new-there", b"2")
    site.delete("data/a")
    (here / "b/d").unlink()
    before = contents(here), site.objects("data/")
    with opened(tmp_path):
        plan = pos3.plan_bisync(site.url("data"), here, delete_local=True, delete_remote=True)
    assert plan.download.to_copy == [(site.url("data/new-there"), str(here / "new-there"))]
    assert plan.download.to_delete == [str(here / "a")]
    assert plan.upload.to_copy == [(str(here / "new-here"), site.url("data/new-here"))]
    assert plan.upload.to_delete == [site.url("data/b/d")]
    assert plan.refusal == ""
    assert (contents(here), site.objects("data/")) == before


def test_what_changes_after_it_has_returned_is_not_pushed(site: S3Site, here: Path, tmp_path: Path) -> None:
    with opened(tmp_path):
        pos3.bisync(site.url("data"), here)
        write_tree(here, {"later": b"1"})
    assert site.objects("data/") == FILES


def test_files_that_go_last_are_pushed_after_all_others(
    site: S3Site, here: Path, tmp_path: Path, proxied: PutBefore
) -> None:
    write_tree(here, {"_SUCCESS": b"", "x": b"1", "y": b"2"})
    proxy = proxied(site)
    with opened(tmp_path):
        pos3.bisync(site.url("data"), here, upload_last="_SUCCESS")
    put = [request.key for request in proxy.requests if request.kind == "PUT"]
    assert put[-1].endswith("data/_SUCCESS")
    assert len(set(put)) == 3


def test_an_object_that_another_writer_replaces_meanwhile_is_not_deleted(
    site: S3Site, here: Path, tmp_path: Path, proxied: PutBefore
) -> None:
    (here / "a").unlink()
    write_tree(here, {"slow": b"1"})
    proxy = proxied(site, Latency(match=on("PUT", key="slow"), seconds=1.5))

    def replace() -> None:
        while not proxy.count("PUT"):
            time.sleep(0.01)
        site.put("data/a", b"theirs")

    other = threading.Thread(target=replace)
    other.start()
    with opened(tmp_path):
        pos3.bisync(site.url("data"), here, delete_remote=True)
    other.join()
    assert site.objects("data/") == FILES | {"a": b"theirs", "slow": b"1"}


@pytest.mark.parametrize("edited", [False, True], ids=["as synced", "edited"])
def test_a_directory_makes_way_for_an_object_only_if_all_of_it_was_synced(
    site: S3Site, here: Path, tmp_path: Path, edited: bool
) -> None:
    site.delete("data/b/c")
    site.delete("data/b/d")
    site.put("data/b", b"a file now")
    if edited:
        (here / "b/c").write_bytes(b"edited here")
    before = contents(here)
    with opened(tmp_path):
        if edited:
            with pytest.raises(pos3.PlanRefusedError):
                pos3.bisync(site.url("data"), here, delete_local=True, delete_remote=True)
            assert contents(here) == before
            assert site.objects("data/") == {"a": b"1", "b": b"a file now"}
        else:
            pos3.bisync(site.url("data"), here, delete_local=True, delete_remote=True)
            assert contents(here) == site.objects("data/") == {"a": b"1", "b": b"a file now"}


def test_a_name_that_cannot_be_a_key_fails_at_the_end_and_keeps_nothing_else(
    site: S3Site, here: Path, tmp_path: Path
) -> None:
    (here / "a").unlink()
    odd = os.path.join(os.fsencode(here), b"odd-\xff")
    Path(os.fsdecode(odd)).write_bytes(b"x")
    write_tree(here, {"mine": b"1"})
    site.put("data/theirs", b"2")
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="odd"):
        pos3.bisync(site.url("data"), here, delete_remote=True)
    assert site.objects("data/") == FILES | {"mine": b"1", "theirs": b"2"}
    assert (here / "theirs").read_bytes() == b"2"


def test_it_is_refused_where_the_same_mirror_pushes(site: S3Site, here: Path, tmp_path: Path) -> None:
    with opened(tmp_path):
        pos3.upload(site.url("data/b"), here / "b", delete=False)
        with pytest.raises(pos3.ConflictError, match="registered for upload already"):
            pos3.bisync(site.url("data"), here)


@pytest.mark.parametrize("verb", ["bisync", "plan_bisync"])
def test_a_local_path_is_no_place_to_sync_with(tmp_path: Path, verb: str) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="needs a remote URL"):
        getattr(pos3, verb)(tmp_path)


_KILLED = """
import os, sys, pos3
pos3.mirror(sys.argv[3], show_progress=False).__enter__()
try:
    pos3.bisync(sys.argv[1], sys.argv[2])
except pos3.TransferError:
    pass
open(os.path.join(sys.argv[2], "later"), "w").write("1")
os.kill(os.getpid(), 9)
"""


def test_a_process_that_is_killed_afterwards_leaves_nothing_to_recover(
    site: S3Site, here: Path, tmp_path: Path
) -> None:
    write_tree(here, {"mine": b"1"})
    ran = run_code(_KILLED, site.url("data"), here, tmp_path / "cache")
    assert ran.status == -9, ran.stderr
    assert site.objects("data/") == FILES | {"mine": b"1"}
    assert pos3.recover(tmp_path / "cache", show_progress=False) == []
    assert site.objects("data/") == FILES | {"mine": b"1"}


_KILLED_UPLOAD = """
import os, sys, pos3
pos3.mirror(sys.argv[3], show_progress=False).__enter__()
here = pos3.upload(sys.argv[1], sys.argv[2], interval=None)
(here / "left").write_text("1")
os.kill(os.getpid(), 9)
"""


def test_it_pushes_what_a_killed_upload_has_left(site: S3Site, here: Path, tmp_path: Path) -> None:
    assert run_code(_KILLED_UPLOAD, site.url("data"), here, tmp_path / "cache").status == -9
    with opened(tmp_path):
        pos3.bisync(site.url("data"), here)
    assert site.objects("data/") == contents(here) == FILES | {"left": b"1"}
    assert pos3.recover(tmp_path / "cache", show_progress=False) == []
