"""Local files and directories that change under a transfer: nothing leaves the target, and nothing is lost."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, fetched, leftovers, opened, small_files
from tests.support import Fault, Request, S3Site, assert_same, contents, on, write_tree


def at_get(proxied: PutBefore, site: S3Site, key: str, change: Callable[[], object]) -> None:
    """Lets `change` happen once, after the request for the object `key` was made and before it is answered."""
    wanted = on("GET", key=f"{key}$")
    done: list[bool] = []

    def match(request: Request) -> bool:
        if wanted(request) and not done:
            done.append(True)
            change()
        return False

    proxied(site, Fault(match=match))


def replace_by_link(directory: Path, target: Path) -> None:
    """What `mv directory target; ln -s target directory` does."""
    shutil.move(directory, target)
    directory.symlink_to(target)


def test_a_directory_that_becomes_a_link_while_its_files_arrive_is_not_written_through(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put_all({"data/sub/a": b"1", "data/sub/b": b"1", "data/top": b"1"})
    path = fetched(rclone_site, tmp_path)
    outside = tmp_path / "outside"
    rclone_site.put_all({"data/sub/a": b"22", "data/sub/b": b"22", "data/top": b"22"})
    at_get(proxied, rclone_site, "sub/a", lambda: replace_by_link(path / "sub", outside))
    with opened(tmp_path, max_workers=1), pytest.raises(pos3.TransferError, match="symbolic link") as caught:
        pos3.download(rclone_site.url("data"))
    assert str(path / "sub") in str(caught.value)
    assert contents(outside) == {"a": b"1", "b": b"1"}
    assert (path / "sub").is_symlink()
    assert (path / "top").read_bytes() == b"22"
    assert not leftovers(path)
    fetched(rclone_site, tmp_path)
    assert_same(path, rclone_site.server, rclone_site.bucket, "data")
    assert contents(outside) == {"a": b"1", "b": b"1"}


def test_a_directory_that_becomes_a_link_is_not_deleted_through(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put_all({"data/new": b"1", "data/sub/stale": b"1", "data/sub/deep/stale": b"1", "data/z": b"1"})
    path = fetched(rclone_site, tmp_path)
    outside = tmp_path / "outside"
    for key in ("data/sub/stale", "data/sub/deep/stale"):
        rclone_site.delete(key)
    rclone_site.put("data/new", b"22")
    at_get(proxied, rclone_site, "new", lambda: replace_by_link(path / "sub", outside))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="symbolic link"):
        pos3.download(rclone_site.url("data"))
    assert contents(outside) == {"stale": b"1", "deep/stale": b"1"}
    assert (path / "new").read_bytes() == b"22"


def test_what_is_to_make_way_is_not_taken_from_behind_a_new_link(
    moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory becomes a link between the listing and the transfer."""
    moto_site.put("data/sub/x", b"file")
    here = fetched(moto_site, tmp_path)
    moto_site.delete("data/sub/x")
    moto_site.put("data/sub/x/y", b"below")
    outside = tmp_path / "outside"
    with opened(tmp_path) as mirror:
        really_make = mirror._components.disk_space.ensure.__func__

        def make(room: object, *arguments: object) -> None:
            replace_by_link(here / "sub", outside)
            really_make(room, *arguments)

        monkeypatch.setattr(type(mirror._components.disk_space), "ensure", make)
        with pytest.raises(NotADirectoryError, match="symbolic link"):
            pos3.download(moto_site.url("data"))
    assert contents(outside) == {"x": b"file"}


def test_a_target_that_vanishes_in_a_download_is_an_error_or_made_again(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    files = small_files(40, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    path = tmp_path / "cache" / "_" / rclone_site.bucket / "data"

    def vanish() -> None:
        # What is written meanwhile may keep a directory from being removed.
        while path.exists():
            shutil.rmtree(path, ignore_errors=True)

    at_get(proxied, rclone_site, "3/024", vanish)
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="No such file"):
        pos3.download(rclone_site.url("data"))
    assert fetched(rclone_site, tmp_path) == path
    assert contents(path) == files


def test_a_tree_that_vanishes_under_an_open_mirror_keeps_its_objects(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"both/a": b"1", "out/old": b"1"})
    with opened(tmp_path):
        both = pos3.sync(rclone_site.url("both"), interval=0.1)
        out = write_tree(pos3.upload(rclone_site.url("out"), interval=0.1), {"new": b"1"})
        pos3.flush()
        shutil.rmtree(both)
        shutil.rmtree(out)
        pos3.flush()
    assert rclone_site.objects() == {"both/a": b"1", "out/old": b"1", "out/new": b"1"}


def test_a_file_that_becomes_a_directory_while_it_is_uploaded_is_no_half_object(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"x": b"file", "y": b"1"})
    seen: list[bool] = []

    def match(request: Request) -> bool:
        if request.kind == "PUT" and request.key.endswith("/x") and not seen:
            seen.append(True)
            (tree / "x").unlink()
            write_tree(tree / "x", {"below": b"2"})
        return False

    proxied(moto_site, Fault(match=match))
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert_same(tree, moto_site.server, moto_site.bucket, "data")


class Dying:
    """A progress of the user's that ends the thread which tells it something."""

    def moved(self, size_bytes: int) -> None:
        raise SystemExit

    def finished_file(self) -> None:
        raise SystemExit

    def close(self) -> None:
        pass


def test_files_that_a_dead_thread_has_left_out_never_pass_for_copied(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    rclone_site.put_all({f"data/{number}": b"new" for number in range(20)})
    local = write_tree(tmp_path / "local", {"stale": b"1"})
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache"), progress=lambda *_: Dying()).open()
    with pytest.raises(pos3.TransferError):
        mirror.download(rclone_site.url("data"), local, adopt=True)
    mirror.close(push=False)
    assert (local / "stale").exists()
