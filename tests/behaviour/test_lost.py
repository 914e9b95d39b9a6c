"""Files of the cache that an earlier mirror had pushed, and whose objects somebody has deleted since."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.store import endpoint_of
from tests.faults.base import running
from tests.state.test_places import index_of, make_version_1
from tests.support import MotoServer, Proxy, RcloneServer, S3Site, Status, contents, on, write_tree
from tests.support.program import run_program

FOUR = {f"part-{number}": b"old" for number in range(4)}
TWO = {f"part-{number}": b"of B" for number in range(2)}
NEW = {f"part-{number}": b"new" for number in range(2)}


def machine(tmp_path: Path, name: str) -> pos3.mirror:
    """A mirror of a machine with a cache of its own."""
    return pos3.mirror(tmp_path / name, show_progress=False)


def pushed(tmp_path: Path, name: str, url: str, files: dict[str, bytes]) -> Path:
    with machine(tmp_path, name):
        return write_tree(pos3.upload(url, interval=None), files)


@pytest.fixture
def out(s3: S3Site, tmp_path: Path) -> Path:
    """The cache path of machine A, with four parts that it has pushed, of which B has left two in S3."""
    path = pushed(tmp_path, "A", s3.url("out"), FOUR)
    pushed(tmp_path, "B", s3.url("out"), TWO)
    assert s3.objects("out/") == TWO
    return path


def test_parts_that_another_machine_has_deleted_do_not_come_back(
    s3: S3Site, tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pos3")
    with machine(tmp_path, "A") as mirror:
        assert pos3.upload(s3.url("out"), interval=None) == out
        write_tree(out, NEW)
    assert s3.objects("out/") == contents(out) == NEW
    report = mirror.report()
    assert (report.uploaded_files, report.deleted_local, report.deleted_remote) == (2, 2, 0)
    assert "removed 2 files ('part-2', 'part-3')" in caplog.text
    with machine(tmp_path, "A") as mirror:
        pos3.upload(s3.url("out"), interval=None)
    assert mirror.report().is_empty


def test_a_directory_of_which_all_files_were_lost_goes_with_them(s3: S3Site, tmp_path: Path) -> None:
    path = pushed(tmp_path, "A", s3.url("out"), {"kept": b"1", "deep/down/lost": b"2"})
    s3.delete("out/deep/down/lost")
    with machine(tmp_path, "A"):
        pos3.upload(s3.url("out"), interval=None)
    assert os.listdir(path) == ["kept"]
    assert set(s3.keys("out/")) == {"out/kept"}


def test_plans_show_what_would_be_removed_here_since_its_object_is_gone(s3: S3Site, tmp_path: Path, out: Path) -> None:
    with machine(tmp_path, "A"):
        plan = pos3.plan_upload(s3.url("out"))
    lost = [str(out / "part-2"), str(out / "part-3")]
    assert plan.to_delete == lost
    assert {plan.reasons[path] for path in lost} == {"its object is gone since it was synced"}
    assert s3.url("out/part-2") not in plan.reasons
    options = ("upload", s3.url("out"), "--local", out, "--cache-root", tmp_path / "A", "-n")
    shown = json.loads(run_program(*options, "--delete", "--json").lines[0])
    assert [action["target"] for action in shown["delete"]] == lost
    shown = json.loads(run_program(*options, "--json").lines[0])
    assert {action["source"] for action in shown["copy"]} >= set(lost)
    assert contents(out) == FOUR


def pushing_all(tmp_path: Path, register: Callable[[], Path]) -> pos3.Report:
    with machine(tmp_path, "A") as mirror:
        register()
    return mirror.report()


def test_without_deletes_on_either_side_what_is_gone_is_pushed_again(s3: S3Site, tmp_path: Path, out: Path) -> None:
    url = s3.url("out")
    report = pushing_all(tmp_path, lambda: pos3.upload(url, interval=None, delete=False))
    assert report.deleted_local == 0
    assert set(s3.objects("out/")) == set(contents(out)) == set(FOUR)
    for name in ("part-2", "part-3"):
        s3.delete(f"out/{name}")
    report = pushing_all(tmp_path, lambda: pos3.sync(url, interval=None, delete_local=False))
    assert report.deleted_local == 0
    assert set(s3.objects("out/")) == set(contents(out)) == set(FOUR)


def test_what_is_deleted_while_a_sync_is_open_goes_at_its_end_if_it_is_not_its_own(s3: S3Site, tmp_path: Path) -> None:
    path = pushed(tmp_path, "A", s3.url("out"), FOUR)
    with machine(tmp_path, "A"):
        pos3.sync(s3.url("out"), interval=None)
        write_tree(path, {"mine": b"1"})
        pos3.flush()
        s3.delete("out/part-3")
        s3.delete("out/mine")
    assert set(s3.objects("out/")) == set(contents(path)) == {"part-0", "part-1", "part-2", "mine"}


def test_an_emptied_prefix_is_filled_again(s3: S3Site, tmp_path: Path) -> None:
    path = pushed(tmp_path, "A", s3.url("out"), FOUR)
    for name in FOUR:
        s3.delete(f"out/{name}")
    s3.put("out/foreign", b"1")
    report = pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None))
    assert (report.uploaded_files, report.deleted_local, report.deleted_remote) == (4, 0, 1)
    assert s3.objects("out/") == contents(path) == FOUR


def test_a_file_that_was_touched_or_changed_since_is_pushed(s3: S3Site, tmp_path: Path, out: Path) -> None:
    os.utime(out / "part-2")
    (out / "part-3").write_bytes(b"more")
    pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None))
    assert s3.objects("out/") == contents(out) == {**FOUR, "part-3": b"more"}


def test_a_directory_outside_the_cache_keeps_its_files_and_pushes_them(s3: S3Site, tmp_path: Path) -> None:
    local = write_tree(tmp_path / "local", FOUR)
    for _ in range(2):
        pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), local, interval=None))
        assert s3.objects("out/") == contents(local) == FOUR
        s3.delete("out/part-3")


def test_a_file_behind_a_link_is_pushed_and_never_removed(s3: S3Site, tmp_path: Path) -> None:
    elsewhere = write_tree(tmp_path / "elsewhere", {"x": b"1"})
    with machine(tmp_path, "A"):
        out = write_tree(pos3.upload(s3.url("out"), interval=None), {"a": b"1"})
        (out / "link").symlink_to(elsewhere)
        (out / "file").symlink_to(elsewhere / "x")
    s3.delete("out/link/x")
    s3.delete("out/file")
    pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None))
    assert s3.objects("out/") == {"a": b"1", "link/x": b"1", "file": b"1"}
    assert (out / "file").is_symlink()
    assert contents(elsewhere) == {"x": b"1"}


def test_removals_here_count_for_max_delete(s3: S3Site, tmp_path: Path, out: Path) -> None:
    write_tree(out, NEW)
    with pytest.raises(pos3.PlanRefusedError, match="would delete 2 of 4 files"):
        pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None, max_delete=1))
    assert s3.objects("out/") == NEW
    assert contents(out) == {**FOUR, **NEW}
    pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None, max_delete="50%"))
    assert contents(out) == NEW


def test_an_abnormal_end_neither_removes_nor_revives_what_is_gone(s3: S3Site, tmp_path: Path, out: Path) -> None:
    def fail() -> Path:
        pos3.upload(s3.url("out"), interval=None, sync_on_error=True)
        write_tree(out, NEW)
        raise RuntimeError("the body fails")

    with pytest.raises(RuntimeError):
        pushing_all(tmp_path, fail)
    assert s3.objects("out/") == NEW
    assert contents(out) == {**FOUR, **NEW}


@pytest.mark.parametrize("compare", ["auto", "size", "checksum"])
def test_a_push_in_between_neither_removes_nor_revives_what_is_gone(
    s3: S3Site, tmp_path: Path, out: Path, compare: pos3.Compare
) -> None:
    with machine(tmp_path, "A"):
        pos3.upload(s3.url("out"), interval=None, compare=compare)
        write_tree(out, {"new": b"1"})
        pos3.flush()
        assert set(s3.objects("out/")) == {*TWO, "new"}
        assert set(contents(out)) == {*FOUR, "new"}
    assert set(s3.objects("out/")) == set(contents(out)) == {*TWO, "new"}


def test_a_failed_push_removes_nothing(s3: S3Site, tmp_path: Path, out: Path, proxied: Callable[..., Proxy]) -> None:
    proxied(s3, Status(code=403, error_code="AccessDenied", match=on("PUT", key="out/part-1")))
    write_tree(out, NEW)
    with pytest.raises(pos3.TransferError):
        pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None))
    assert contents(out) == {**FOUR, **NEW}


KILLED = """
import os, pathlib, sys, pos3
with pos3.mirror(sys.argv[1], show_progress=False):
    out = pos3.upload(sys.argv[2], interval=None)
    (out / "new").write_bytes(b"1")
    os._exit(1)
"""


def test_a_recovery_removes_nothing(s3: S3Site, tmp_path: Path, out: Path) -> None:
    with running(KILLED, tmp_path / "A", s3.url("out")) as killed:
        killed.wait(60)
    [recovered] = pos3.recover(tmp_path / "A", show_progress=False)
    assert (recovered.outcome, recovered.report.deleted_local) == ("pushed", 0)
    assert contents(out) == {**FOUR, "new": b"1"}
    assert "new" in s3.objects("out/")


def test_records_of_an_older_version_are_no_reason_to_remove_a_file(s3: S3Site, tmp_path: Path, out: Path) -> None:
    index = index_of(tmp_path / "A", out, s3.url("out"), endpoint_of("s3", None))
    make_version_1(index.root, s3.url("out"), [record._replace(owner="x") for record in index.records()])
    report = pushing_all(tmp_path, lambda: pos3.upload(s3.url("out"), interval=None))
    assert report.deleted_local == 0
    assert s3.objects("out/") == contents(out) == FOUR


def test_what_was_pushed_to_another_endpoint_is_not_lost_at_this_one(
    rclone: RcloneServer, moto: MotoServer, moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone.create_bucket(moto_site.bucket)
    path = pushed(tmp_path, "A", moto_site.url("out"), FOUR)
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    rclone.put(moto_site.bucket, "out/part-0", b"old")
    pushing_all(tmp_path, lambda: pos3.upload(moto_site.url("out"), interval=None))
    assert contents(path) == FOUR
    assert len(rclone.keys(moto_site.bucket, "out/")) == 4


@pytest.mark.parametrize("option", ["--delete-local", "--quiet"])
def test_a_command_that_deletes_there_alone_brings_back_what_is_gone(
    s3: S3Site, tmp_path: Path, out: Path, option: str
) -> None:
    command = ("sync", s3.url("out"), "--cache-root", tmp_path / "A", "--delete-remote", option)
    assert run_program(*command).status == 0
    expected = set(TWO) if option == "--delete-local" else set(FOUR)
    assert set(s3.objects("out/")) == set(contents(out)) == expected
