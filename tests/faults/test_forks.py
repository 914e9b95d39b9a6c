"""Forked children of a process with an open mirror: they never push, and can still download."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.base import PutBefore, run_python, running, until_printed
from tests.support import Latency, S3Site, on
from tests.support.trees import pseudo_random


def test_a_forked_child_never_pushes_and_can_still_download(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"in/a": b"1", "more/b": b"2", "more/big": pseudo_random(20 << 20), "out/stale": b"3"})
    proxied(s3)
    script = """
import os, pos3, sys, time, traceback
base = sys.argv[2]
with pos3.mirror(sys.argv[1], show_progress=False):
    first = pos3.download(base + "/in")
    out = pos3.upload(base + "/out", interval=0.2)
    child = os.fork()
    if child == 0:
        try:
            (out / "from-child").write_bytes(b"4")
            more = pos3.download(base + "/more")
            assert (more / "b").read_bytes() == b"2"
            assert (more / "big").stat().st_size == 20 << 20
            assert (pos3.download(base + "/in") / "a").read_bytes() == b"1"
            assert pos3.ls(base + "/in") == [base + "/in/a"]
            assert pos3.flush().is_empty
            later = pos3.upload(base + "/later", interval=0.1)
            (later / "x").write_bytes(b"5")
            (out / "from-child").unlink()
            time.sleep(0.5)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    else:
        assert os.waitpid(child, 0)[1] == 0
        print("child ended", flush=True)
        sys.stdin.readline()
        (out / "from-parent").write_bytes(b"6")
if child == 0:
    os._exit(0)
"""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "cache"), s3.url()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        assert child.stdout is not None
        line = child.stdout.readline()
        if line != "child ended\n":
            pytest.fail(child.communicate(timeout=20)[1])
        assert "later/x" not in s3.keys()
        assert "out/stale" in s3.keys()
        _, errors = child.communicate("\n", timeout=30)
        assert child.returncode == 0, errors
    assert s3.objects("out/") == {"from-parent": b"6"}
    assert not s3.keys("later/")


def test_a_child_that_was_forked_during_a_background_push_does_not_wait_for_it(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("in/a", b"1")
    proxied(rclone_site, Latency(seconds=1.5, match=on("PUT")))
    script = """
import os, pos3, sys, time
base = sys.argv[2]
with pos3.mirror(sys.argv[1], show_progress=False):
    out = pos3.upload(base + "/out", interval=0.1)
    (out / "a").write_bytes(b"1")
    time.sleep(0.5)
    child = os.fork()
    if child == 0:
        assert (pos3.download(base + "/in") / "a").read_bytes() == b"1"
        os._exit(0)
    began = time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    print("ended", flush=True)
"""
    with running(script, tmp_path / "cache", rclone_site.url()) as child:
        until_printed(child, "ended")
        assert child.wait(20) == 0
    assert rclone_site.objects("out/") == {"a": b"1"}


def test_threads_that_fork_at_once_all_succeed(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("in/a", b"1")
    script = """
import os, pos3, sys, threading
def work():
    path = pos3.download(sys.argv[2] + "/in")
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            os._exit((path / "a").read_bytes() != b"1")
        children.append(child)
    done.append([os.waitpid(child, 0)[1] for child in children])
done = []
with pos3.mirror(sys.argv[1], show_progress=False) as mirror:
    def within():
        with pos3.activate(mirror):
            work()
    threads = [threading.Thread(target=within) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
assert done == [[0] * 8] * 12, done
"""
    child = run_python(
        f"import warnings\nwarnings.simplefilter('ignore')\n{script}", tmp_path / "cache", rclone_site.url()
    )
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
