"""Disks that are full, read-only or bounded, and processes that may open no more files."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

import pos3
from tests.faults.base import (
    MIB,
    TRANSFER,
    PutBefore,
    eventually,
    leftovers,
    opened,
    run_python,
    small_files,
)
from tests.support import Fault, Request, S3Site, assert_same, contents, write_tree
from tests.support.program import run_without_rights
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
    assert ".pos3-" not in str(caught.value)
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
    assert ".pos3-" not in str(caught.value)
    assert "choose another place with local=" in str(caught.value)
    assert contents(disk) == before


@pytest.mark.parametrize(
    ("key", "path", "refused"),
    [
        pytest.param("data/one", "local/one", ["one"], id="file"),
        pytest.param("data", "local", ["one", "two"], id="directory"),
    ],
)
def test_a_target_that_may_not_be_written_is_named_in_a_line_that_says_what_to_do(
    rclone_site: S3Site, tmp_path: Path, key: str, path: str, refused: list[str]
) -> None:
    rclone_site.put_all({"data/one": b"new", "data/two/x": b"new"})
    local = write_tree(tmp_path / "local", {"one": b"old"})
    local.chmod(0o555)
    arguments = ("--local", tmp_path / path, "--cache-root", tmp_path / "cache", "-q")
    ran = run_without_rights("download", rclone_site.url(key), *arguments)
    assert ran.status == 1
    lines = [line[line.index("[Errno") :] for line in ran.stderr.splitlines() if "[Errno" in line]
    told = "[Errno 13] Permission denied (give this user write permission, or choose another place with --local)"
    assert lines == [f"{told}: '{local}/{name}'" for name in refused]
    assert contents(local) == {"one": b"old"}


def test_a_source_that_may_not_be_read_is_named_in_a_line_that_says_what_to_do(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "secret": b"2"})
    (tree / "secret").chmod(0)
    ran = run_without_rights("upload", rclone_site.url("up"), "--local", tree, "--cache-root", tmp_path / "cache", "-q")
    assert ran.status == 1
    line, advice = ran.stderr.splitlines()
    told = "give this user read permission, or leave it out with --exclude"
    assert line.endswith(f"Permission denied ({told}): '{tree}/secret'")
    assert "pos3 recover" in advice
    assert rclone_site.objects("up/") == {"a": b"1"}


# A disk that is full where the index lies


def fill(disk: Path) -> Path:
    """Takes all that is left of the disk; what is returned gives it back when it is removed."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(64 << 10)):
            pass
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"0"):
            pass
    return filler


def test_a_download_goes_on_when_its_index_cannot_be_written(
    rclone_site: S3Site, tmp_path: Path, disk: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk of the cache fills up among the bodies; the target lies on another one."""
    files = small_files(60, 2000)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    cache, local = disk / "cache", write_tree(tmp_path / "local", {})
    filled: list[Path] = []

    def tenth_get(request: Request) -> bool:
        if request.kind == "GET" and request.key.endswith("/010"):
            filled.append(fill(disk))
        return False

    def fetch() -> None:
        with pos3.mirror(cache, show_progress=False):
            pos3.download(rclone_site.url("data"), local)

    proxy = proxied(rclone_site, Fault(match=tenth_get))
    fetch()
    assert contents(local) == files
    assert [record.levelname for record in caplog.records if "index" in record.getMessage()] == ["WARNING"]
    filled[0].unlink()
    for _ in range(2):
        proxy.clear()
        fetch()
        assert proxy.kinds == {"LIST": 1}
    rclone_site.put("data/1/001", b"new")
    rclone_site.delete("data/2/002")
    fetch()
    assert contents(local) == rclone_site.objects("data/")


@pytest.mark.parametrize("full_from", ["the start", "the middle"])
def test_a_push_goes_on_when_its_index_cannot_be_written(
    rclone_site: S3Site, tmp_path: Path, disk: Path, caplog: pytest.LogCaptureFixture, full_from: str
) -> None:
    """A full disk is no reason to lose the results of a run: the bucket has room."""
    rclone_site.put("out/stale", b"1")
    tree = write_tree(tmp_path / "tree", {"old": b"1"})
    with pos3.mirror(disk / "cache", show_progress=False):
        if full_from == "the start":
            filler = fill(disk)
        pos3.upload(rclone_site.url("out"), tree, interval=0.1)
        if full_from == "the middle":
            eventually(lambda: "out/old" in rclone_site.keys())
            filler = fill(disk)
        write_tree(tree, small_files(30) | {"old": b"22"})
        eventually(lambda: len(rclone_site.keys()) == 32)
        (tree / "old").write_bytes(b"333")
        (tree / "last").write_bytes(b"4")
    assert rclone_site.objects("out/") == contents(tree)
    assert any("index" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) < 10
    filler.unlink()
    with pos3.mirror(disk / "cache", show_progress=False) as mirror:
        pos3.upload(rclone_site.url("out"), tree, interval=None)
    assert mirror.report().uploaded_files == 0
    assert rclone_site.objects("out/") == contents(tree)


# Processes that may open no more files

FEW_FILES = """
import os, resource, sys, pos3
action, cache, url, local, more = sys.argv[1:]
with pos3.mirror(cache, show_progress=False):
    if action == "upload":
        pos3.upload(url, local, interval=None)
    else:
        pos3.ls(url)
    limit = len(os.listdir("/proc/self/fd")) + int(more)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if action == "download":
        pos3.download(url, local)
"""


@pytest.mark.parametrize(
    ("action", "more", "named"),
    [
        pytest.param("download", -1, "Too many open files", id="download-none"),
        pytest.param("download", 1, "open files", id="download-one"),
        pytest.param("download", 6, "Too many open files", id="download-few"),
        pytest.param("upload", -1, "Too many open files", id="upload-none"),
        pytest.param("upload", 3, "Too many open files", id="upload-few"),
    ],
)
def test_a_process_that_may_open_no_more_files_gets_one_error_and_the_next_one_goes_on(
    rclone_site: S3Site, tmp_path: Path, action: str, more: int, named: str
) -> None:
    files = small_files(100, 100)
    local = write_tree(tmp_path / "local", files if action == "upload" else {})
    rclone_site.put_all({"data/stale": b"1"} if action == "upload" else {f"data/{n}": d for n, d in files.items()})
    program = run_python(FEW_FILES, action, tmp_path / "cache", rclone_site.url("data"), local, more)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 1
    # The note that says how to push what is left stands behind the error.
    told = [line for line in output.splitlines() if not line.startswith("pos3: ")][-1]
    assert named in told
    assert len(told) < 2000
    assert not leftovers(local)
    if action == "download":
        assert contents(local).items() <= files.items()
    else:
        assert "data/stale" in rclone_site.keys()
    program = run_python(TRANSFER, action, tmp_path / "cache", rclone_site.url("data"), local)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 0, output
    assert_same(local, rclone_site.server, rclone_site.bucket, "data")


LISTS = """
import os, resource, sys
from pos3.local.tree import Scan, local_entries
more = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (more, more))
print(len(list(local_entries(sys.argv[1], Scan(True, lambda path: True, lambda path: False)))))
"""


def test_a_directory_that_cannot_be_opened_for_want_of_descriptors_is_not_left_out(tmp_path: Path) -> None:
    """Otherwise an upload would end well without what lies in it."""
    tree = write_tree(tmp_path / "tree", {"/".join("abcdefgh"): b"1", "z": b"1"})
    output, _ = (program := run_python(LISTS, tree)).communicate(timeout=60)
    assert program.returncode == 1
    assert "Too many open files" in output.splitlines()[-1]
    assert str(tree) in output.splitlines()[-1]
