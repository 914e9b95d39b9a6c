"""What the tests of this package share."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pos3
from tests.support import Proxy, S3Site
from tests.support.program import ROOT
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
MIB = 1 << 20


def opened(tmp_path: Path, **options: object) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)  # type: ignore[arg-type]


def fetched(site: S3Site, tmp_path: Path, key: str = "data") -> Path:
    with opened(tmp_path):
        return pos3.download(site.url(key))


def leftovers(root: Path) -> list[Path]:
    """Temporary files below `root`, the state of the cache left out."""
    return [path for path in root.rglob(".pos3-*") if path.is_file()]


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def small_files(count: int, size: int = 2000) -> dict[str, bytes]:
    return {f"{number % 7}/{number:03}": pseudo_random(size, seed=number) for number in range(count)}


def run_python(script: str, *arguments: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A Python program of its own, with the environment that the test has set."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


TRANSFER = """
import sys, pos3
action, cache, url, local = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    if action == "download":
        pos3.download(url, local or None)
    else:
        pos3.upload(url, local, interval=None)
"""


@contextlib.contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `script`; it is gone at the end, whatever it did."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def seconds_to_end(child: subprocess.Popen[str], number: signal.Signals, limit: float) -> float:
    """Sends the signal and waits; fails when the process is not gone within `limit` seconds."""
    began = time.monotonic()
    child.send_signal(number)
    try:
        child.wait(limit)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still running {limit} s after {number.name}")
    return time.monotonic() - began


def until_printed(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    line = child.stdout.readline()
    if line.strip() != word:
        assert child.stderr is not None
        pytest.fail(f"expected {word!r}, got {line!r}: {child.stderr.read()}")
