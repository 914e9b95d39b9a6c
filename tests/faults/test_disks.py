"""Disks that are full, read-only or bounded, and processes that may open no more files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import pos3
from tests.faults.base import MIB, leftovers, opened, run_python
from tests.support import (
    S3Site,
    contents,
)
from tests.support.trees import pseudo_random


@pytest.mark.parametrize("whole_cache", [False, True], ids=["target", "target-and-index"])
def test_a_full_disk_is_named_and_nothing_half_written_stays(
    s3: S3Site, tmp_path: Path, disk: Path, whole_cache: bool
) -> None:
    def fetch() -> Path:
        with pos3.mirror(disk / "cache" if whole_cache else tmp_path / "cache", show_progress=False):
            return pos3.download(s3.url("data"), disk / "local")

    s3.put("data/old", b"old")
    fetch()
    s3.put_all({f"data/{number}": pseudo_random(MIB, seed=number) for number in range(6)})
    s3.put("data/old", pseudo_random(5 * MIB))
    with pytest.raises((pos3.TransferError, OSError), match="No space left on device") as caught:
        fetch()
    assert f"{disk}/local" in str(caught.value) or "data/" in str(caught.value)
    assert (disk / "local" / "old").read_bytes() == b"old"
    assert not leftovers(disk / "local")
    assert all(path.stat().st_size == MIB for path in (disk / "local").iterdir() if path.name != "old")

    for number in range(6):
        s3.delete(f"data/{number}")
    s3.put("data/old", b"new")
    assert contents(fetch()) == {"old": b"new"}


LIMITED = """
import resource, signal, sys, pos3
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pos3.mirror(sys.argv[1], show_progress=False):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    pos3.download(sys.argv[2])
"""


@pytest.mark.parametrize("size", [3 * MIB, 20 * MIB], ids=["stream", "ranges"])
def test_a_file_that_may_not_grow_any_further_is_an_error_and_the_others_arrive(
    moto_site: S3Site, tmp_path: Path, size: int
) -> None:
    moto_site.put_all({"data/large": pseudo_random(size), "data/a": b"1", "data/z": b"2"})
    output, _ = (program := run_python(LIMITED, tmp_path / "cache", moto_site.url("data"))).communicate(timeout=60)
    assert program.returncode == 1
    assert "File too large" in output.splitlines()[-1]
    assert "large" in output.splitlines()[-1].replace("too large", "")
    path = tmp_path / "cache" / "_" / moto_site.bucket / "data"
    assert contents(path) == {"a": b"1", "z": b"2"}


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
def test_a_read_only_target_is_an_error_that_names_it(s3: S3Site, tmp_path: Path, disk: Path, filled: bool) -> None:
    s3.put_all({"data/a": b"1", "data/b/c": b"2"})
    if filled:
        with opened(tmp_path):
            pos3.download(s3.url("data"), disk / "local")
        s3.put("data/a", b"new")
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with opened(tmp_path), pytest.raises((pos3.TransferError, OSError), match="Read-only file system") as caught:
        pos3.download(s3.url("data"), disk / "local")
    assert f"{disk}/local" in str(caught.value)
    assert contents(disk) == before
