"""Whether a file system ignores the case of names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pos3.local import ignores_case


@pytest.mark.parametrize("name", ["data", "Data", "d.a"])
def test_an_entry_shows_that_case_counts_and_nothing_is_created(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    before = tmp_path.stat().st_mtime_ns
    assert not ignores_case(str(tmp_path))
    assert tmp_path.stat().st_mtime_ns == before


@pytest.mark.parametrize("names", [(), ("1", "ß", "é")], ids=["empty", "no letters that have two cases"])
def test_where_no_entry_shows_it_nothing_is_left(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert not ignores_case(str(tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


def test_names_of_one_file_that_differ_in_case_do_not_show_it(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    os.link(tmp_path / "data", tmp_path / "DATA")
    assert not ignores_case(str(tmp_path))


def test_a_disk_on_which_the_other_case_is_the_same_entry_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No file system that ignores case can be mounted in most places where tests run.
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: lstat(path.lower()))
    directory = tmp_path / "sub"
    (directory / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert ignores_case("sub")
