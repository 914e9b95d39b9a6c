"""The lock of a local root: one holder at a time, whatever threads, processes, forks and kills do."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pos3.state.kernel_lock import KernelLock, is_locked
from pos3.state.lock_file import LockFile
from pos3.state.locks import locked, locked_part
from tests.faults.base import eventually, run_python, running

Kind = type[KernelLock] | type[LockFile]
both_kinds = pytest.mark.parametrize("kind", [KernelLock, LockFile], ids=["kernel", "file"])
IMPORTS = """
import os, signal, sys, threading, time, warnings
from pos3.state.kernel_lock import KernelLock
from pos3.state.lock_file import LockFile
"""


def script(kind: Kind, body: str) -> str:
    """A program in which `lock()` is another lock of the same kind on the path that is its argument."""
    return f"{IMPORTS}lock = lambda: {kind.__name__}(sys.argv[1])\n{body}"


@both_kinds
def test_threads_and_processes_take_turns(kind: Kind, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    body = """
def count():
    for _ in range(25):
        mine = lock()
        while not mine.try_acquire():
            time.sleep(0.001)
        before = int(open(sys.argv[2]).read())
        time.sleep(0.0005)
        open(sys.argv[2], "w").write(str(before + 1))
        mine.release()
threads = [threading.Thread(target=count) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    programs = [run_python(script(kind, body), tmp_path / "lock", counter) for _ in range(3)]
    for program in programs:
        assert program.communicate(timeout=60)[0] == ""
    assert counter.read_text() == "300"


@both_kinds
def test_a_forked_child_neither_holds_nor_breaks_its_parents_lock(kind: Kind, tmp_path: Path) -> None:
    body = """
mine = lock()
assert mine.try_acquire()
child = os.fork()
if child == 0:
    assert not lock().try_acquire()
    mine.release()
    assert not lock().try_acquire()
    print("released", flush=True)
    signal.pause()
sys.stdin.readline()
mine.release()
print("free", flush=True)
sys.stdin.readline()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""
    program = run_python(script(kind, body), tmp_path / "lock", stdin=subprocess.PIPE)
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stdout.readline() == "released\n"
    assert not kind(str(tmp_path / "lock")).try_acquire()
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "free\n"
    mine = kind(str(tmp_path / "lock"))
    assert mine.try_acquire()
    mine.release()
    assert program.communicate("\n", timeout=20) == ("", None)
    assert program.returncode == 0


@both_kinds
def test_a_child_that_outlives_its_killed_parent_keeps_no_lock(kind: Kind, tmp_path: Path) -> None:
    body = """
mine = lock()
assert mine.try_acquire()
child = os.fork()
if child == 0:
    os.close(1)
    signal.pause()
print(child, flush=True)
signal.pause()
"""
    with running(script(kind, body), tmp_path / "lock") as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            parent.kill()
            parent.wait()
            mine = kind(str(tmp_path / "lock"))
            eventually(mine.try_acquire, seconds=5)
            mine.release()
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files a process has open")
def test_a_child_that_is_forked_while_a_lock_is_taken_has_no_copy_of_it(tmp_path: Path) -> None:
    body = """
def hurry():
    while True:
        mine = lock()
        if mine.try_acquire():
            mine.release()
warnings.simplefilter("ignore")
for _ in range(3):
    threading.Thread(target=hurry, daemon=True).start()
for _ in range(60):
    time.sleep(0.001)
    child = os.fork()
    if child == 0:
        open_files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        os._exit(os.path.realpath(sys.argv[1]) in open_files)
    assert os.waitpid(child, 0)[1] == 0, "the child has the lock's file open"
os._exit(0)
"""
    program = run_python(script(KernelLock, body), tmp_path / "lock")
    assert program.communicate(timeout=60) == ("", None)
    assert program.returncode == 0


@both_kinds
def test_a_lock_that_is_waited_for_can_be_given_up(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind is LockFile:
        monkeypatch.setattr("pos3.state.locks.has_locks", lambda directory: False)
    waited = threading.Event()

    def give_up() -> None:
        waited.set()
        raise KeyboardInterrupt

    lock = str(tmp_path / "lock")
    with locked(lock, lambda: None):
        with pytest.raises(KeyboardInterrupt), locked(lock, give_up):
            pytest.fail("it was held twice")
        assert waited.is_set()
    with locked(lock, lambda: pytest.fail("it is free")):
        pass


def test_a_lock_is_seen_by_others_and_who_looks_is_not_taken_for_its_holder(tmp_path: Path) -> None:
    lock = KernelLock(str(tmp_path / "lock"))
    assert lock.try_acquire()
    with (tmp_path / "lock").open() as one, (tmp_path / "lock").open() as other:
        assert is_locked(one.fileno())
        lock.release()
        assert not is_locked(one.fileno())
        assert not is_locked(other.fileno())
        # Looking has left nothing behind.
        assert lock.try_acquire()
        lock.release()


def test_a_removed_file_of_a_lock_is_made_anew(tmp_path: Path) -> None:
    mine, another = KernelLock(str(tmp_path / "lock")), KernelLock(str(tmp_path / "lock"))
    assert mine.try_acquire()
    (tmp_path / "lock").unlink()
    mine.release()
    assert another.try_acquire()
    assert not mine.try_acquire()
    another.release()


# Lock files


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def by_a_dead_process(path: Path) -> None:
    path.write_text(f"{dead_pid()}\n{os.uname().nodename}\n1\n")


def by_a_process_whose_pid_is_used_again(path: Path) -> None:
    path.write_text(f"{os.getpid()}\n{os.uname().nodename}\n1\n")


def by_a_dead_process_of_an_earlier_pos3(path: Path) -> None:
    path.write_text(f"{dead_pid()}\n{os.uname().nodename}\n")


def by_nobody_long_ago(path: Path) -> None:
    path.touch()
    os.utime(path, (time.time() - 16, time.time() - 16))


@pytest.mark.parametrize(
    "left",
    [
        by_a_dead_process,
        pytest.param(
            by_a_process_whose_pid_is_used_again,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began"),
        ),
        by_a_dead_process_of_an_earlier_pos3,
        by_nobody_long_ago,
    ],
)
def test_a_lock_file_that_was_left_is_taken_over(left: Callable[[Path], None], tmp_path: Path) -> None:
    left(tmp_path / "lock")
    locks = [LockFile(str(tmp_path / "lock")) for _ in range(8)]
    at_once = threading.Barrier(len(locks))
    taken: list[LockFile] = []

    def take(lock: LockFile) -> None:
        at_once.wait()
        if lock.try_acquire():
            taken.append(lock)

    threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    taken[0].release()
    assert list(tmp_path.iterdir()) == []


def by_a_process_of_another_host(path: Path) -> None:
    path.write_text(f"{dead_pid()}\nanother-host\n1\n")


def by_somebody_who_is_about_to_write(path: Path) -> None:
    path.touch()


def by_a_living_process_of_an_earlier_pos3(path: Path) -> None:
    path.write_text(f"{os.getppid()}\n{os.uname().nodename}\n")


@pytest.mark.parametrize(
    "left",
    [by_a_process_of_another_host, by_somebody_who_is_about_to_write, by_a_living_process_of_an_earlier_pos3],
)
def test_a_lock_file_whose_holder_may_live_is_left_alone(left: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "lock"
    left(path)
    before = path.read_bytes()
    lock = LockFile(str(path))
    assert not lock.try_acquire()
    lock.release()
    assert path.read_bytes() == before


def test_a_lock_file_is_taken_over_although_somebody_died_at_it(tmp_path: Path) -> None:
    by_a_dead_process(tmp_path / "lock")
    guard = tmp_path / "lock.removing"
    guard.mkdir()
    lock = LockFile(str(tmp_path / "lock"))
    assert not lock.try_acquire()
    os.utime(guard, (time.time() - 16, time.time() - 16))
    eventually(lock.try_acquire, seconds=5)
    assert not guard.exists()
    lock.release()


class BusyError(Exception):
    """Somebody else holds the lock."""


def is_free(lock: Callable[[Callable[[], None]], AbstractContextManager[None]]) -> bool:
    """Whether a lock can be had within half a second."""

    def on_wait() -> None:
        raise BusyError

    try:
        with lock(on_wait):
            return True
    except BusyError:
        return False


@pytest.mark.parametrize("has_locks", [True, False], ids=["kernel", "files"])
def test_parts_are_held_side_by_side_where_the_kernel_has_locks_and_never_beside_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_locks: bool
) -> None:
    monkeypatch.setattr("pos3.state.locks.has_locks", lambda directory: has_locks)
    base = str(tmp_path / "root")
    whole, one, other = (
        functools.partial(locked, base),
        functools.partial(locked_part, base, "one"),
        functools.partial(locked_part, base, "other"),
    )
    with one(lambda: None):
        assert [is_free(lock) for lock in (whole, one, other)] == [False, False, has_locks]
    with whole(lambda: None):
        assert not any(map(is_free, (whole, one, other)))
    assert all(map(is_free, (whole, one, other)))
    assert sorted(os.listdir(tmp_path)) == (["root.lock"] if has_locks else [])


def test_a_part_that_was_left_by_a_killed_process_is_free(tmp_path: Path) -> None:
    base = str(tmp_path / "root")
    held = f"""
import sys, time
from pos3.state.locks import locked_part
with locked_part({base!r}, "one", lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""
    program = subprocess.Popen([sys.executable, "-c", held], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "held\n"
    part = functools.partial(locked_part, base, "one")
    assert not is_free(part)
    program.kill()
    program.communicate()
    assert is_free(part)
    assert is_free(functools.partial(locked, base))
