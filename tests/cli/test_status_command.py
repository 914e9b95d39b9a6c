"""`pos3 status`: what the open mirrors of this machine push, from their journals."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, opened, running, until_printed
from tests.support import S3Site
from tests.support.program import run_program, start_program

OPEN = """
import sys, time, pos3
cache, url, local = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    pos3.upload(url, local, interval=None)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_an_open_mirror_shows_its_process_and_what_is_not_pushed_yet(rclone_site: S3Site, tmp_path: Path) -> None:
    cache = ["--cache-root", tmp_path / "cache"]
    with opened(tmp_path):
        local = pos3.upload(rclone_site.url("out"), tmp_path / "out", interval=None, exclude="*.tmp")
        (local / "a").write_bytes(b"1")
        (local / "x.tmp").write_bytes(b"no part of it")
        [before] = run_program("status", "--json", *cache).objects
        assert (before["pid"], before["host"]) == (os.getpid(), os.uname().nodename)
        assert (before["kind"], before["url"], before["path"]) == ("upload", rclone_site.url("out"), str(local))
        assert before["cache_root"] == str(tmp_path / "cache")
        assert before["begun_at"] == pytest.approx(time.time(), abs=60)
        assert (before["last_push_at"], before["unpushed_files"], before["unpushed_bytes"]) == (None, 1, 1)
        pos3.flush()
        (local / "a").write_bytes(b"22")
        (local / "b").write_bytes(b"333")
        [after] = run_program("status", "--json", *cache).objects
        assert after["last_push_at"] == pytest.approx(time.time(), abs=60)
        assert (after["unpushed_files"], after["unpushed_bytes"]) == (2, 5)
    assert run_program("status", "--json", *cache).objects == []


def test_a_push_that_finds_nothing_new_counts_as_the_last_one(rclone_site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        local = pos3.upload(rclone_site.url("out"), tmp_path / "out", interval=None)
        (local / "a").write_bytes(b"1")
        pos3.flush()
        [first] = run_program("status", "--json", "--cache-root", tmp_path / "cache").objects
        pos3.flush()
        [second] = run_program("status", "--json", "--cache-root", tmp_path / "cache").objects
    assert second["last_push_at"] > first["last_push_at"]


def test_the_table_has_a_line_for_each_registration(rclone_site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        for name in ("first", "second"):
            path = pos3.upload(rclone_site.url(name), tmp_path / name, interval=None)
            (path / "file").write_bytes(b"1")
        pos3.flush(rclone_site.url("first"))
        ran = run_program("status", "--cache-root", tmp_path / "cache")
    header, first, second = ran.lines
    assert header.split() == ["PROCESS", "SINCE", "LAST", "PUSH", "NOT", "PUSHED", "URL", "PATH"]
    assert first.split()[0] == second.split()[0] == str(os.getpid())
    assert "nothing" in first
    assert first.endswith(str(tmp_path / "first"))
    assert "never" in second
    assert "1 file, 1 B" in second
    assert "1 open mirror " in ran.stderr


def test_a_label_tells_what_the_mirror_is_for(rclone_site: S3Site, tmp_path: Path) -> None:
    options = pos3.MirrorOptions(tmp_path / "cache", show_progress=False)
    mirror = pos3.Mirror(options, label="prefect flow run 7").open()
    try:
        path = mirror.upload(rclone_site.url("out"), tmp_path / "out", interval=None)
        ran = run_program("status", "--cache-root", tmp_path / "cache")
    finally:
        mirror.close()
    assert ran.lines[1].endswith(f"{path}  (prefect flow run 7)")


def test_mirrors_of_other_caches_are_shown_as_well_and_killed_ones_are_not(rclone_site: S3Site, tmp_path: Path) -> None:
    with running(OPEN, tmp_path / "elsewhere", rclone_site.url("out"), tmp_path / "out") as child:
        until_printed(child, "ready")
        [found] = run_program("status", "--json").objects
        assert (found["pid"], found["cache_root"]) == (child.pid, str(tmp_path / "elsewhere"))
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    ran = run_program("status")
    assert (ran.status, ran.stdout) == (0, "")
    assert "0 open mirrors" in ran.stderr
    # What it has left is still there for recovery.
    assert "dropped" not in run_program("recover", "-n", "--cache-root", tmp_path / "elsewhere").stdout


def test_a_sync_with_an_interval_is_shown_and_recovered_if_it_is_killed(rclone_site: S3Site, tmp_path: Path) -> None:
    local, cache = tmp_path / "out", ["--cache-root", tmp_path / "cache"]
    local.mkdir()
    program = start_program("sync", rclone_site.url("out"), "--local", local, "--interval", "600", *cache)
    try:
        assert program.stdout is not None
        assert program.stdout.readline().strip() == str(local)
        (local / "a").write_bytes(b"1")
        [found] = run_program("status", "--json", *cache).objects
        assert (found["pid"], found["kind"], found["unpushed_files"]) == (program.pid, "sync", 1)
    finally:
        program.kill()
        program.communicate()
    ran = run_program("recover", *cache)
    assert (ran.status, rclone_site.objects("out/")) == (0, {"a": b"1"}), ran.stderr


def test_it_asks_no_store_and_changes_nothing(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site)
    with opened(tmp_path):
        local = pos3.upload(rclone_site.url("out"), tmp_path / "out", interval=None)
        (local / "a").write_bytes(b"1")
        pos3.flush()
        proxy.clear()
        journals = {path: path.read_bytes() for path in (tmp_path / "cache/.pos3/journal").iterdir()}
        assert run_program("status", "--cache-root", tmp_path / "cache").status == 0
        assert {path: path.read_bytes() for path in (tmp_path / "cache/.pos3/journal").iterdir()} == journals
        assert proxy.count() == 0


def test_a_journal_that_is_broken_is_left_out_and_left_alone(tmp_path: Path) -> None:
    journals = tmp_path / "cache" / ".pos3" / "journal"
    journals.mkdir(parents=True, mode=0o700)
    (journals / "odd.jsonl").write_text("no journal\n")
    ran = run_program("status", "--cache-root", tmp_path / "cache")
    assert (ran.status, ran.stdout) == (0, "")
    assert (journals / "odd.jsonl").read_text() == "no journal\n"
