"""Rates of transfers: all files of a mirror share one, each way, and what waits for it takes no memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.entries import Entry
from pos3.store import open_store
from pos3.transfer.rate import ByteRate
from pos3.url import parse
from tests.faults.base import PutBefore, opened
from tests.support import S3Site, Truncate, contents, on, write_tree
from tests.support.program import ROOT, run_program
from tests.support.trees import pseudo_random

MIB = 1 << 20
MIXED = {
    **{f"small/{number:02}": pseudo_random(40_000, seed=number) for number in range(20)},
    "middle": pseudo_random(MIB, seed=100),
    "large": pseudo_random(18 * MIB, seed=101),
}
MIXED_BYTES = sum(map(len, MIXED.values()))


def test_small_files_and_the_ranges_of_a_large_one_are_downloaded_at_one_rate_together(
    s3: S3Site, tmp_path: Path
) -> None:
    s3.put_all({f"data/{name}": data for name, data in MIXED.items()})
    rate = MIXED_BYTES
    with opened(tmp_path, max_download_bytes_per_second=rate):
        began = time.monotonic()
        path = pos3.download(s3.url("data"))
        took_seconds = time.monotonic() - began
    assert contents(path) == MIXED
    assert 0.98 < took_seconds < 4


def test_other_stores_keep_to_the_rate_as_well(tmp_path: Path) -> None:
    import fsspec

    data = pseudo_random(MIB)
    fsspec.filesystem("memory").pipe("/at-a-rate/data/a", data)
    with opened(tmp_path, max_download_bytes_per_second=MIB):
        began = time.monotonic()
        assert contents(pos3.download("memory://at-a-rate/data")) == {"a": data}
        assert time.monotonic() - began > 0.98


def test_a_rate_of_downloads_leaves_uploads_alone(rclone_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": pseudo_random(MIB)})
    with opened(tmp_path, max_download_bytes_per_second=10_000):
        began = time.monotonic()
        pos3.upload(rclone_site.url("out"), tree, interval=None)
        pos3.flush()
        assert time.monotonic() - began < 10
    assert len(rclone_site.objects("out/")["a"]) == MIB


def test_a_body_that_breaks_off_at_a_rate_is_asked_for_again_and_arrives_whole(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, short_pauses: None
) -> None:
    rclone_site.put("data/a", MIXED["middle"])
    cut = Truncate(match=on("GET"), times=1)
    proxied(rclone_site, cut)
    with opened(tmp_path, max_download_bytes_per_second=2 * MIB):
        assert contents(pos3.download(rclone_site.url("data"))) == {"a": MIXED["middle"]}
    assert cut.struck == 1


@pytest.mark.parametrize("size", [1_000_000, 17 * MIB], ids=["one piece", "ranges"])
def test_a_download_at_a_rate_is_stopped_without_a_word_of_the_event_loop(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    rclone_site.put("large", pseudo_random(size))
    store = open_store(parse(rclone_site.url("large")), None, None)
    [listed] = store.entries("large", is_prefix=False)
    cancelled, moved, target = threading.Event(), [], tmp_path / "target"
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()

    def download() -> Coroutine[Any, Any, Entry]:
        return store.download("large", listed, str(target), moved.append, cancelled, rate=ByteRate(300_000))

    with pytest.raises(pos3.TransferCancelledError):
        store.run(download, None)
    assert time.monotonic() - began < 5
    assert (sum(moved), target.exists()) == (0, False)
    assert caplog.records == []


MEASURED = """
import json, sys, time
import pos3

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

cache, url, small = sys.argv[1:]
with pos3.mirror(cache, show_progress=False, max_download_bytes_per_second=40 * 1024 * 1024):
    pos3.download(small)
    before_kib = resident_kib()
    began = time.monotonic()
    pos3.download(url)
    print(json.dumps([time.monotonic() - began, resident_kib() - before_kib]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_waits_for_its_rate_takes_no_memory(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("small", b"1")
    rclone_site.put("large", pseudo_random(80 * MIB))
    arguments = [tmp_path / "cache", rclone_site.url("large"), rclone_site.url("small")]
    program = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert program.returncode == 0, program.stderr
    took_seconds, grown_kib = json.loads(program.stdout)
    assert took_seconds > 1.9
    assert grown_kib < 24 * 1024


@pytest.mark.parametrize("command", ["download", "upload", "sync"])
def test_commands_keep_to_the_rate_that_they_are_given(rclone_site: S3Site, tmp_path: Path, command: str) -> None:
    data = pseudo_random(300_000)
    if command == "upload":
        write_tree(tmp_path / "data", {"a": data})
    else:
        rclone_site.put("data/a", data)
    limit = "--limit-upload" if command == "upload" else "--limit-download"
    place = [rclone_site.url("data"), "--local", tmp_path / "data", "--cache-root", tmp_path / "cache"]
    began = time.monotonic()
    ran = run_program(command, *place, limit, "300kB")
    assert ran.status == 0, ran.stderr
    assert time.monotonic() - began > 0.98
    assert contents(tmp_path / "data") == rclone_site.objects("data/") == {"a": data}


@pytest.mark.parametrize("limit", ["0", "fast", "-1"])
def test_a_rate_that_cannot_be_is_wrong_usage(limit: str, tmp_path: Path) -> None:
    ran = run_program("download", "s3://bucket/data", f"--limit-download={limit}", "--cache-root", tmp_path / "cache")
    assert (ran.status, ran.stdout) == (2, "")
    assert "--limit-download" in ran.stderr
    assert not (tmp_path / "cache").exists()
