"""Temporary files that nobody will finish any more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pos3.local import is_running, remove_abandoned, temporary_name

LONG_AGO = (0, 0)


def name_of(pid: object) -> str:
    """A name that a process of this host with this number would choose."""
    host = temporary_name().split("-")[1]
    return f".pos3-{host}-{pid}-000000000000.tmp"


@pytest.fixture(scope="module")
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def made(path: Path, times: tuple[int, int] | None = None) -> str:
    path.write_bytes(b"half")
    os.utime(path, times)
    return str(path)


@pytest.mark.parametrize("pid", ["dead", "9" * 30])
def test_what_a_dead_process_left_goes_at_once(pid: str, dead_pid: int, tmp_path: Path) -> None:
    path = made(tmp_path / name_of(dead_pid if pid == "dead" else pid))
    assert remove_abandoned(path)
    assert os.listdir(tmp_path) == []
    assert not remove_abandoned(path)


def test_a_file_of_this_process_stays_however_old_it_is(tmp_path: Path) -> None:
    assert not remove_abandoned(made(tmp_path / temporary_name(), LONG_AGO))
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("is_here", [True, False])
def test_the_file_of_a_process_that_may_live_goes_when_it_has_long_not_grown(is_here: bool, tmp_path: Path) -> None:
    name = name_of(os.getpid()) if is_here else ".pos3-00000000-1-000000000000.tmp"
    assert not remove_abandoned(made(tmp_path / name))
    assert remove_abandoned(made(tmp_path / name, LONG_AGO))


def test_a_file_of_another_name_and_a_directory_stay(dead_pid: int, tmp_path: Path) -> None:
    file = made(tmp_path / f"{name_of(dead_pid)}.txt", LONG_AGO)
    directory = tmp_path / name_of(dead_pid)
    directory.mkdir()
    assert not remove_abandoned(file)
    assert not remove_abandoned(str(directory))
    assert len(os.listdir(tmp_path)) == 2


def test_a_link_is_removed_and_not_what_it_leads_to(dead_pid: int, tmp_path: Path) -> None:
    target = Path(made(tmp_path / "target"))
    note = tmp_path / "note"
    note.symlink_to(target)
    assert remove_abandoned(str(note), name_of(dead_pid))
    assert os.listdir(tmp_path) == ["target"]


def test_a_process_runs_until_it_has_ended(dead_pid: int) -> None:
    assert is_running(os.getpid())
    assert is_running(1)
    assert not is_running(dead_pid)
    assert not is_running(1 << 100)
