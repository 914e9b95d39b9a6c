"""What a killed download of one object leaves beside its target, in a directory that pos3 never looks through."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pos3
from pos3.local.temporary import temporary_name
from pos3.state.root_index import RootIndex
from tests.faults.base import MIB, TRANSFER, PutBefore, eventually, leftovers, opened, run_python
from tests.support import Hang, S3Site, Status, on, write_tree
from tests.support.program import run_program
from tests.support.trees import pseudo_random

BODY = pseudo_random(20 * MIB)


def notes(tmp_path: Path) -> list[str]:
    directory = tmp_path / "cache" / ".pos3" / "unfinished"
    return sorted(os.listdir(directory)) if directory.is_dir() else []


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """In a directory with files of a user's own, one of which looks like a temporary one that nobody has noted."""
    home = write_tree(tmp_path / "home", {"thesis.tex": b"years of work", ".pos3-00000000-1-000000000000.tmp": b"?"})
    return home / "model.pt"


@contextmanager
def a_download_under_way(
    site: S3Site, tmp_path: Path, proxied: PutBefore, target: Path | str
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], None]]]:
    """A process in the middle of the object's second range, and what lets it go on."""
    site.put("model.pt", BODY)
    proxy = proxied(
        site, Hang(match=lambda request: request.headers.get("range", "bytes=0-").split("=")[1][:2] != "0-")
    )
    program = run_python(TRANSFER, "download", tmp_path / "cache", site.url("model.pt"), target)
    try:
        eventually(lambda: notes(tmp_path) and proxy.count("GET") > 1)
        yield program, proxy.end_hangs
    finally:
        program.kill()
        program.communicate()
        proxy.inject()


def killed(site: S3Site, tmp_path: Path, proxied: PutBefore, target: Path | str) -> None:
    with a_download_under_way(site, tmp_path, proxied, target) as (program, _):
        program.kill()


def test_the_next_download_removes_what_a_killed_one_of_the_same_object_left(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, target: Path
) -> None:
    killed(moto_site, tmp_path, proxied, target)
    assert len(leftovers(target.parent)) == 2
    with opened(tmp_path):
        pos3.download(moto_site.url("model.pt"), target)
    assert target.read_bytes() == BODY
    assert sorted(os.listdir(target.parent)) == [".pos3-00000000-1-000000000000.tmp", "model.pt", "thesis.tex"]
    assert notes(tmp_path) == []


def test_what_is_left_goes_also_when_the_object_is_there_already(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    moto_site.put("model.pt", b"old")
    with opened(tmp_path):
        path = pos3.download(moto_site.url("model.pt"))
    killed(moto_site, tmp_path, proxied, "")
    moto_site.put("model.pt", b"old")
    assert leftovers(path.parent)
    with opened(tmp_path):
        pos3.download(moto_site.url("model.pt"))
    assert (path.read_bytes(), leftovers(path.parent), notes(tmp_path)) == (b"old", [], [])


def test_cache_prune_removes_what_a_killed_download_of_one_object_left(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, target: Path
) -> None:
    killed(moto_site, tmp_path, proxied, target)
    prune = ("cache", "prune", "--limit", "0", "--cache-root", tmp_path / "cache")
    assert run_program(*prune, "--dry-run").status == 0
    assert len(leftovers(target.parent)) == 2
    assert run_program(*prune).status == 0
    assert sorted(os.listdir(target.parent)) == [".pos3-00000000-1-000000000000.tmp", "thesis.tex"]
    assert notes(tmp_path) == []


def test_the_temporary_file_of_a_download_under_way_stays(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, target: Path
) -> None:
    moto_site.put("other", b"1")
    with a_download_under_way(moto_site, tmp_path, proxied, target) as (program, go_on):
        [unfinished] = [path for path in leftovers(target.parent) if "-00000000-" not in path.name]
        # However long ago it has grown.
        os.utime(unfinished, (0, 0))
        assert run_program("cache", "prune", "--limit", "0", "--cache-root", tmp_path / "cache").status == 0
        with opened(tmp_path):
            pos3.download(moto_site.url("other"), target.with_name("other"))
        assert unfinished.exists()
        go_on()
        output, _ = program.communicate(timeout=60)
        assert program.returncode == 0, output
    assert target.read_bytes() == BODY
    assert notes(tmp_path) == []


def name_of_a_dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return temporary_name().replace(f"-{os.getpid()}-", f"-{child.pid}-")


def test_a_note_that_names_a_foreign_file_removes_nothing(moto_site: S3Site, tmp_path: Path, target: Path) -> None:
    moto_site.put("model.pt", b"1")
    home, names = target.parent, [name_of_a_dead_process() for _ in range(5)]
    write_tree(home, {f"{names[0]}/inside": b"2", names[3]: b"3", names[4]: b"4"})
    (home / names[1]).symlink_to(home / "thesis.tex")
    named = {names[0]: names[0], names[1]: names[1], names[2]: "thesis.tex", names[3]: names[4], "x": names[3]}
    unfinished = tmp_path / "cache" / ".pos3" / "unfinished"
    unfinished.mkdir(parents=True)
    for name, foreign in named.items():
        (unfinished / f"{RootIndex(str(tmp_path / 'cache'), str(target)).id}{name}").symlink_to(home / foreign)
    before = sorted(os.listdir(home))
    with opened(tmp_path):
        pos3.download(moto_site.url("model.pt"), target)
    assert run_program("cache", "prune", "--limit", "0", "--cache-root", tmp_path / "cache").status == 0
    assert sorted(os.listdir(home)) == sorted([*before, "model.pt"])
    assert (home / "thesis.tex").read_bytes() == b"years of work"
    assert (home / names[0] / "inside").read_bytes() == b"2"


@pytest.mark.parametrize(("minutes", "left"), [(0, True), (11, False)], ids=["fresh", "old"])
def test_a_file_of_another_process_with_the_same_pid_is_removed_once_it_is_old(
    moto_site: S3Site, tmp_path: Path, minutes: int, left: bool
) -> None:
    """As in a container that was killed and started again, or another one that shares the cache."""
    moto_site.put_all({"data/a": b"1"})
    host, pid = temporary_name().split("-")[1:3]
    earlier = f".pos3-{host}-{pid}-000000000000.tmp"
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"))
    (path / earlier).write_bytes(b"half")
    then = time.time() - minutes * 60
    os.utime(path / earlier, (then, then))
    with opened(tmp_path):
        pos3.download(moto_site.url("data"))
    assert sorted(os.listdir(path)) == ([earlier, "a"] if left else ["a"])


def test_without_a_place_for_notes_a_download_of_one_object_works(
    moto_site: S3Site, tmp_path: Path, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moto_site.put("model.pt", b"1")
    write_tree(tmp_path / "cache", {".pos3/unfinished": b"no directory"})
    with caplog.at_level(logging.WARNING), opened(tmp_path):
        pos3.download(moto_site.url("model.pt"), target)
    assert target.read_bytes() == b"1"
    assert not caplog.records


def test_a_download_that_ends_leaves_no_note(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, target: Path
) -> None:
    moto_site.put("model.pt", b"1")
    proxy = proxied(moto_site, Status(403, "AccessDenied", match=on("GET")))
    with opened(tmp_path), pytest.raises(pos3.TransferError):
        pos3.download(moto_site.url("model.pt"), target)
    assert notes(tmp_path) == []
    proxy.inject()
    with opened(tmp_path):
        pos3.download(moto_site.url("model.pt"), target)
    assert notes(tmp_path) == []
    assert (tmp_path / "cache" / ".pos3" / "unfinished").stat().st_mode & 0o777 == 0o700
