"""A file that changes between the plan of a download and its rename is never replaced or deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.entries import Entry
from pos3.transfer.placing import put_in_place
from tests.support import Proxy, S3Site, contents, write_tree

PutBefore = Callable[..., Proxy]


def opened(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


class _WhenPlanned:
    """Does something as soon as the plan of a download is made: a progress is asked for then."""

    def __init__(self, act: Callable[[], object]):
        self._act = act

    def __call__(self, text: str, files: int, size_bytes: int) -> _WhenPlanned:
        self._act()
        return self

    def moved(self, size_bytes: int) -> None: ...

    def finished_file(self) -> None: ...

    def close(self) -> None: ...


def downloading(tmp_path: Path, act: Callable[[], object]) -> pos3.Mirror:
    options = pos3.MirrorOptions(tmp_path / "cache", show_progress=False)
    return pos3.Mirror(options, progress=_WhenPlanned(act)).open()


def replaced_like(path: Path) -> None:
    before = path.stat()
    path.with_name("new").write_bytes(b"mine!"[: before.st_size])
    os.utime(path.with_name("new"), ns=(before.st_mtime_ns, before.st_mtime_ns))
    path.with_name("new").replace(path)


CHANGES = {
    "edited": lambda path: path.write_bytes(b"mine!"),
    "replaced": lambda path: (path.with_name("new").write_bytes(b"mine!"), path.with_name("new").replace(path)),
    "replaced, with size and time as before": replaced_like,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changed_since_the_plan_is_not_replaced_and_nothing_is_deleted(
    s3: S3Site, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    s3.put_all({"data/a": b"old!!", "data/b": b"1", "data/stale": b"2"})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    s3.put_all({"data/a": b"theirs", "data/b": b"22"})
    s3.delete("data/stale")
    mirror = downloading(tmp_path, lambda: change(path / "a"))
    with pytest.raises(pos3.TransferError, match=r"data/a was changed"):
        mirror.download(s3.url("data"))
    mirror.close()
    assert contents(path) == {"a": b"mine!", "b": b"22", "stale": b"2"}


def test_a_file_that_has_come_since_the_plan_is_not_replaced(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"theirs", "data/b": b"1"})
    path = tmp_path / "cache" / "_" / s3.bucket / "data"
    mirror = downloading(tmp_path, lambda: write_tree(path, {"a": b"mine"}))
    with pytest.raises(pos3.TransferError, match=r"data/a was changed"):
        mirror.download(s3.url("data"))
    mirror.close()
    assert contents(path) == {"a": b"mine", "b": b"1"}


def test_a_file_that_somebody_else_has_downloaded_meanwhile_is_no_failure(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"theirs", "data/b": b"1"})
    path = tmp_path / "cache" / "_" / s3.bucket / "data"
    mirror = downloading(tmp_path, lambda: write_tree(path, {"a": b"theirs"}))
    assert contents(mirror.download(s3.url("data"))) == {"a": b"theirs", "b": b"1"}
    mirror.close()
    with opened(tmp_path) as again:
        pos3.download(s3.url("data"))
        assert again.report().downloaded_files == 0


def test_a_file_that_changed_since_the_plan_is_not_deleted(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/b": b"2"})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    s3.delete("data/b")
    s3.put("data/a", b"newer")
    mirror = downloading(tmp_path, lambda: (path / "b").write_bytes(b"mine"))
    with pytest.raises(pos3.TransferError, match=r"data/b was changed"):
        mirror.download(s3.url("data"))
    mirror.close()
    assert contents(path) == {"a": b"newer", "b": b"mine"}


def test_a_directory_in_which_a_file_changed_since_the_plan_does_not_make_way(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/x/a": b"1", "data/b": b"2"})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    s3.delete("data/x/a")
    s3.put("data/x", b"a file now")
    mirror = downloading(tmp_path, lambda: None)
    (path / "x" / "a").write_bytes(b"changed before the plan")
    mirror.download(s3.url("data"))
    assert contents(path) == {"b": b"2", "x": b"a file now"}
    mirror.close()


def test_a_disk_without_hard_links_gets_new_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "temporary").write_bytes(b"1")
    assert put_in_place(str(tmp_path / "temporary"), str(tmp_path / "target"), None)
    assert contents(tmp_path) == {"target": b"1"}
    (tmp_path / "temporary").write_bytes(b"2")
    with pytest.raises(pos3.LocalChangedError):
        put_in_place(str(tmp_path / "temporary"), str(tmp_path / "target"), None)
    seen = (tmp_path / "target").stat()
    before = Entry("target", seen.st_size, seen.st_mtime_ns, inode=seen.st_ino)
    assert put_in_place(str(tmp_path / "temporary"), str(tmp_path / "target"), before)
    assert contents(tmp_path) == {"target": b"2"}
