"""When a changed file may be pushed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pos3.local import is_open_for_writing
from pos3.mirrors.changed_paths import SETTLED_SECONDS, ChangedPaths
from tests.support.clock import Clock


class Hand:
    """Says of each file whether it is open for writing."""

    def __init__(self) -> None:
        self.is_open: bool | None = None

    def __call__(self, _path: str) -> bool | None:
        return self.is_open


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changed(tmp_path: Path, hand: Hand, clock: Clock) -> ChangedPaths:
    (tmp_path / "a").write_bytes(b"1")
    return ChangedPaths(str(tmp_path), is_open=hand, clock=clock)


@pytest.mark.parametrize("is_open", [False, None], ids=["nobody has it open", "nobody knows"])
def test_a_file_that_was_closed_is_due_at_once(changed: ChangedPaths, hand: Hand, is_open: bool | None) -> None:
    hand.is_open = is_open
    changed.add("a", is_complete=True)
    assert changed.take_due() == ["a"]
    assert changed.is_empty


def test_a_found_file_that_nobody_has_open_is_due_at_once(changed: ChangedPaths, hand: Hand) -> None:
    hand.is_open = False
    changed.add("a", is_complete=False)
    assert changed.take_due() == ["a"]


@pytest.mark.parametrize("is_complete", [True, False], ids=["closed and opened again", "found"])
def test_a_file_that_is_open_is_left_until_it_is_added_again(
    changed: ChangedPaths, hand: Hand, is_complete: bool
) -> None:
    hand.is_open = True
    changed.add("a", is_complete=is_complete)
    assert changed.take_due() == []
    assert changed.is_empty


def test_where_nobody_knows_a_found_file_is_due_when_it_has_kept_still(
    changed: ChangedPaths, clock: Clock, tmp_path: Path
) -> None:
    changed.add("a", is_complete=False)
    assert changed.take_due() == []
    clock.now += SETTLED_SECONDS - 0.1
    assert changed.take_due() == []
    (tmp_path / "a").write_bytes(b"longer")
    clock.now += 0.2
    assert changed.take_due() == []
    clock.now += SETTLED_SECONDS + 0.1
    assert changed.take_due() == ["a"]
    assert changed.is_empty


def test_a_file_that_is_gone_is_left(changed: ChangedPaths, tmp_path: Path) -> None:
    (tmp_path / "a").unlink()
    changed.add("a", is_complete=True)
    assert changed.take_due() == []
    assert changed.is_empty


def test_closing_counts_even_if_the_file_is_found_afterwards(changed: ChangedPaths) -> None:
    changed.add("a", is_complete=True)
    changed.add("a", is_complete=False)
    assert changed.take_due() == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
def test_linux_tells_whether_some_process_has_a_file_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    assert is_open_for_writing(str(path)) is False
    with path.open("rb"):
        assert is_open_for_writing(str(path)) is False
    with path.open("ab"):
        assert is_open_for_writing(str(path)) is True
    script = "import sys; file = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert is_open_for_writing(str(path)) is True
        other.communicate(b"")
    assert is_open_for_writing(str(path)) is False
