"""A memory that is lost, spoiled or cannot be written costs comparisons and no file."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, eventually, fetched, opened, run_python, small_files
from tests.support import Hang, Latency, S3Site, contents, nolocks, on, write_tree
from tests.support.trees import pseudo_random

NO_LOCKS = Path(nolocks.__file__)


def spoil_with_garbage(index: Path) -> None:
    index.write_bytes(pseudo_random(8192))


def cut_in_half(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def make_empty(index: Path) -> None:
    index.write_bytes(b"")


def make_newer(index: Path) -> None:
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()


def spoil_a_page(index: Path) -> None:
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(pseudo_random(index.stat().st_size - 4096))


def spoil_all_indexes(state: Path) -> None:
    for index in state.glob("*.sqlite"):
        spoil_with_garbage(index)


@pytest.mark.parametrize("harm", [spoil_with_garbage, cut_in_half, make_empty, make_newer, spoil_a_page])
def test_a_spoiled_index_costs_a_comparison_and_no_file(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, harm: Callable[[Path], None]
) -> None:
    files = small_files(40, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    path = fetched(rclone_site, tmp_path)
    (path / "1/001").write_bytes(b"0123456789")
    [index] = (tmp_path / "cache" / ".pos3").glob("*.sqlite")
    harm(index)
    proxy = proxied(rclone_site)
    assert contents(fetched(rclone_site, tmp_path)) == files
    assert proxy.count("GET") == 1
    proxy.clear()
    fetched(rclone_site, tmp_path)
    assert proxy.kinds == {"LIST": 1}


def test_an_index_that_was_deleted_costs_a_comparison_and_no_file(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    files = small_files(40, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    path = fetched(rclone_site, tmp_path)
    shutil.rmtree(tmp_path / "cache" / ".pos3")
    (path / "1/001").write_bytes(b"0123456789")
    proxy = proxied(rclone_site)
    assert contents(fetched(rclone_site, tmp_path)) == files
    assert proxy.count("GET") == 1


def delete_state(state: Path) -> None:
    """Deletes it under a mirror that goes on writing there, which can put a file back in between."""
    while state.exists():
        shutil.rmtree(state, ignore_errors=True)


@pytest.mark.parametrize("harm", [delete_state, spoil_all_indexes], ids=["deleted", "spoiled"])
def test_an_index_that_is_lost_under_an_open_mirror_loses_no_push_and_deletes_nothing(
    rclone_site: S3Site, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    rclone_site.put_all({"both/mine": b"1", "both/theirs": b"1", "out/stale": b"1"})
    with opened(tmp_path):
        both = pos3.sync(rclone_site.url("both"), interval=0.2)
        out = write_tree(pos3.upload(rclone_site.url("out"), interval=0.2), {"first": b"1"})
        eventually(lambda: "out/first" in rclone_site.keys())
        harm(tmp_path / "cache" / ".pos3")
        (both / "mine").write_bytes(b"2")
        (out / "second").write_bytes(b"2")
        eventually(lambda: rclone_site.get("both/mine") == b"2" and "out/second" in rclone_site.keys())
        assert set(rclone_site.keys()) == {"both/mine", "both/theirs", "out/stale", "out/first", "out/second"}
        (out / "third").write_bytes(b"3")
    assert rclone_site.objects("both/") == {"mine": b"2", "theirs": b"1"}
    assert rclone_site.objects("out/") == {"first": b"1", "second": b"2", "third": b"3"}
    with opened(tmp_path):
        assert pos3.plan_download(rclone_site.url("both")).to_copy == []


# A cache on a file system without locks

needs_filter = pytest.mark.skipif(not nolocks.supported(), reason="only Linux lets a process be refused its locks")
WITHOUT_LOCKS = """
import sys, pos3
with pos3.mirror(sys.argv[1], show_progress=False):
    pos3.download(sys.argv[2])
    out = pos3.upload(sys.argv[2] + "-out", interval=0.2)
    (out / "new").write_bytes(b"1")
    pos3.flush()
    (out / "new").write_bytes(b"2")
with pos3.mirror(sys.argv[1], show_progress=False) as again:
    pos3.download(sys.argv[2])
    pos3.upload(sys.argv[2] + "-out")
assert (again.report().downloaded_files, again.report().uploaded_files) == (0, 0), again.report()
"""


def without_locks(code: str, *arguments: object, error: int = errno.ENOLCK) -> subprocess.Popen[str]:
    return run_python(NO_LOCKS.read_text(), error, code, *arguments)


@needs_filter
@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_cache_without_locks_is_one_warning_and_works(rclone_site: S3Site, tmp_path: Path, error: int) -> None:
    files = small_files(30, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    program = without_locks(WITHOUT_LOCKS, tmp_path / "cache", rclone_site.url("data"), error=error)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert output.count("no file locks") == 1
    assert len(output.splitlines()) == 1
    assert contents(tmp_path / "cache" / "_" / rclone_site.bucket / "data") == files
    assert rclone_site.objects("data-out/") == {"new": b"2"}


@needs_filter
def test_processes_that_share_a_cache_without_locks_download_every_object_once(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    files = small_files(60, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    proxy = proxied(rclone_site, Latency(seconds=0.05, match=on("GET")))
    code = "import sys, pos3\nwith pos3.mirror(sys.argv[1], show_progress=False): pos3.download(sys.argv[2])"
    programs = [without_locks(code, tmp_path / "cache", rclone_site.url("data")) for _ in range(3)]
    for program in programs:
        output, _ = program.communicate(timeout=60)
        assert program.returncode == 0, output
    assert proxy.count("GET") == len(files)
    assert contents(tmp_path / "cache" / "_" / rclone_site.bucket / "data") == files


@needs_filter
def test_lock_files_of_a_killed_process_hold_nobody_up_for_long(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("data/a", b"1")
    proxy = proxied(rclone_site, Hang(match=on("GET")))
    code = "import sys, pos3\nwith pos3.mirror(sys.argv[1], show_progress=False): pos3.download(sys.argv[2])"
    arguments = (code, tmp_path / "cache", rclone_site.url("data"))
    killed = without_locks(*arguments)
    eventually(lambda: proxy.count("GET"))
    killed.kill()
    killed.communicate()
    # As if it had been killed while it wrote to the index.
    [index] = (tmp_path / "cache" / ".pos3").glob("*.sqlite")
    lock = index.with_name(f"{index.name}.lock")
    lock.mkdir()
    os.utime(lock, (time.time() - 13, time.time() - 13))
    began = time.monotonic()
    program = without_locks(*arguments)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert time.monotonic() - began < 12
