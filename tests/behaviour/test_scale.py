"""Many files and large ones: everything arrives, a rerun asks for little, and memory stays flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import Proxy, S3Site, contents, write_tree
from tests.support.program import ROOT
from tests.support.trees import ODD_NAMES, empty_directories

PutBefore = Callable[..., Proxy]
MIB = 1 << 20
# moto takes several milliseconds for each request, and is the one that holds empty directories.
FILES = {"rclone": 3200, "moto": 1050, "env": 1050}


def large_tree(root: Path, count: int) -> dict[str, bytes]:
    """A tree of `count` files with spaces, unicode and empty files among them, and a few empty directories."""
    files: dict[str, bytes] = dict.fromkeys(ODD_NAMES, b"")
    folders = ("with space", "日本語", "deep/er/and deeper", "plain")
    for number in range(count - len(files)):
        name = f"{folders[number % 4]}/{number // 400}/file {number:05}"
        files[name] = b"" if number % 10 == 0 else f"content of {number}".encode()
    write_tree(root, files | {"void/": b"", "plain/0/void/": b""})
    return files


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    return FILES[request.node.callspec.params["s3"]]


def test_thousands_of_files_go_there_and_back_and_a_rerun_only_lists(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, count: int
) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    files = large_tree(tree, count)

    def push() -> pos3.Report:
        with opened(tmp_path) as mirror:
            pos3.upload(s3.url("data"), tree, interval=None)
        return mirror.report()

    def fetch() -> pos3.Report:
        with opened(tmp_path) as mirror:
            pos3.download(s3.url("data"), copy)
        return mirror.report()

    assert push().uploaded_files == count
    assert fetch().downloaded_files == count
    assert contents(copy) == files
    assert empty_directories(copy) == ({"void", "plain/0/void"} if s3.server.traits.markers else set())

    pages = -(-len(s3.keys("data/")) // 1000)
    proxy = proxied(s3)
    fetched = fetch()
    assert (fetched.downloaded_files, fetched.unchanged) == (0, count)
    # One more where pages are asked for at once, and the last one turns out to be empty.
    assert set(proxy.kinds) == {"LIST"}
    assert pages <= proxy.count() <= pages + 1
    proxy.clear()
    pushed = push()
    assert (pushed.uploaded_files, pushed.unchanged) == (0, count)
    assert set(proxy.kinds) == {"LIST"}
    # What was written a moment ago is listed once more at the registration, to be told from what others write later.
    assert proxy.count() <= 2 * pages + 1


def test_background_pushes_over_thousands_of_unchanged_files_send_no_request(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = tmp_path / "tree"
    large_tree(tree, 2000)
    proxy = proxied(rclone_site)
    with opened(tmp_path) as mirror:
        pos3.upload(rclone_site.url("data"), tree, interval=0.1)
        pos3.flush()
        assert mirror.report().uploaded_files == 2000
        proxy.clear()
        time.sleep(1.5)
        assert proxy.kinds == {}
        (tree / "plain" / "new").write_bytes(b"1")
        pos3.flush()
        assert proxy.kinds == {"PUT": 1}
    assert len(rclone_site.keys("data/")) == 2001


MEASURED = """
import json, resource, sys, pos3

def peak_kib():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

cache, url, tree, copy = sys.argv[1:]
peaks = {}
with pos3.mirror(cache, show_progress=False) as mirror:
    pos3.upload(url, tree, interval=None)
peaks["upload"] = peak_kib()
with pos3.mirror(cache, show_progress=False) as mirror:
    pos3.download(url, copy)
peaks["download"] = peak_kib()
print(json.dumps(peaks))
"""


def test_300_mb_and_thousands_of_files_pass_through_less_than_150_mb_of_memory(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    large_tree(tree, 2000)
    block = os.urandom(MIB)
    with (tree / "large").open("wb") as file:
        for number in range(300):
            file.write(number.to_bytes(8, "big") + block[8:])
    url = rclone_site.url("data")
    program = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "cache", url, tree, copy],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=90,
    )
    assert program.returncode == 0, program.stderr
    peaks_kib = json.loads(program.stdout)
    assert subprocess.run(["cmp", tree / "large", copy / "large"]).returncode == 0
    assert sum(len(names) for _, _, names in os.walk(copy)) == 2001
    assert max(peaks_kib.values()) < 150 * 1000, peaks_kib
