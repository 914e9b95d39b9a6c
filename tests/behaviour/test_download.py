"""What a download does to the disk, on real servers over HTTP."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import (
    Hang,
    Latency,
    Proxy,
    RcloneServer,
    S3Site,
    Status,
    Truncate,
    contents,
    later_pages,
    odd_tree,
    on,
    write_tree,
)
from tests.support.trees import assert_same, longest_name, pseudo_random

PutBefore = Callable[..., Proxy]


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def fetched(site: S3Site, tmp_path: Path, key: str = "data") -> Path:
    with opened(tmp_path):
        return pos3.download(site.url(key))


def test_a_download_matches_the_bucket_and_lies_where_the_url_says(s3: S3Site, tmp_path: Path) -> None:
    files = {"a": b"1", "dir/b.txt": b"22", "dir/deep/c": b"", "dir-2": b"4"}
    s3.put_all({f"data/{name}": data for name, data in files.items()})
    s3.put_all({"data-2/x": b"other", "other": b"other"})
    path = fetched(s3, tmp_path)
    assert path == tmp_path / "cache" / "_" / s3.bucket / "data"
    assert contents(path) == files
    assert [child.name for child in path.parent.iterdir()] == ["data"]


def test_a_whole_bucket_can_be_downloaded(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"a": b"1", "b/c": b"2"})
    assert contents(fetched(s3, tmp_path, "")) == {"a": b"1", "b/c": b"2"}


def test_odd_names_arrive_under_the_same_names(s3: S3Site, tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "tree")
    for name, data in contents(tree).items():
        s3.put(f"data/{name}", data)
    assert_same(fetched(s3, tmp_path), s3.server, s3.bucket, "data")


def test_the_longest_key_arrives(moto_site: S3Site, tmp_path: Path) -> None:
    name = longest_name("data/")
    moto_site.put(f"data/{name}", b"x")
    assert contents(fetched(moto_site, tmp_path)) == {name: b"x"}


def test_downloaded_files_keep_the_time_of_their_object(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    path = fetched(s3, tmp_path)
    assert abs((path / "a").stat().st_mtime - s3.keys()["data/a"].modified) < 1


def test_files_get_the_permissions_of_the_umask(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    before = os.umask(0o027)
    try:
        path = fetched(rclone_site, tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("size", [0, 1, 8 << 20, (16 << 20) - 1, 16 << 20, (24 << 20) + 7])
def test_bodies_of_every_size_arrive_whole(s3: S3Site, tmp_path: Path, size: int) -> None:
    data = pseudo_random(size)
    s3.put("data/big", data)
    assert (fetched(s3, tmp_path) / "big").read_bytes() == data


def test_an_unchanged_rerun_moves_no_body(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({f"data/{number}": b"x" * number for number in range(20)})
    proxy = proxied(s3)
    fetched(s3, tmp_path)
    assert proxy.count("GET") == 20
    proxy.clear()
    fetched(s3, tmp_path)
    assert proxy.kinds == {"LIST": 1}


def test_local_files_that_are_equal_already_are_not_fetched(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"data/a": b"11", "data/b": b"22"})
    here = write_tree(tmp_path / "here", {"a": b"11", "b": b"33"})
    proxy = proxied(s3)
    with opened(tmp_path):
        pos3.download(s3.url("data"), here, adopt=True)
    assert [request.key for request in proxy.requests if request.kind == "GET"] == ["data/b"]
    assert contents(here) == {"a": b"11", "b": b"22"}


@pytest.mark.parametrize("lost", ["index", "nothing"])
def test_same_size_edits_are_seen_in_both_places(s3: S3Site, tmp_path: Path, lost: str) -> None:
    s3.put_all({"data/local": b"aaaa", "data/remote": b"aaaa"})
    path = fetched(s3, tmp_path)
    (path / "local").write_bytes(b"bbbb")
    s3.put("data/remote", b"cccc")
    if lost == "index":
        for state in (tmp_path / "cache" / ".pos3").glob("*.sqlite*"):
            state.unlink()
    fetched(s3, tmp_path)
    assert contents(path) == {"local": b"aaaa", "remote": b"cccc"}


def test_a_file_replaced_by_another_of_the_same_size_and_time_is_seen(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"aaaa")
    path = fetched(s3, tmp_path)
    before = (path / "a").stat()
    (path / "new").write_bytes(b"bbbb")
    os.utime(path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (path / "new").replace(path / "a")
    fetched(s3, tmp_path)
    assert contents(path) == {"a": b"aaaa"}


def test_a_broken_index_costs_a_comparison_and_nothing_else(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"data/a": b"11", "data/b": b"22"})
    path = fetched(s3, tmp_path)
    (state,) = (tmp_path / "cache" / ".pos3").glob("*.sqlite")
    state.write_bytes(b"this is no database" * 100)
    proxy = proxied(s3)
    fetched(s3, tmp_path)
    assert contents(path) == {"a": b"11", "b": b"22"}
    assert proxy.count("GET") == 0


# -- deletes


def test_local_files_without_an_object_go_with_the_directories_they_emptied(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/old/deep/b": b"2"})
    path = fetched(s3, tmp_path)
    s3.delete("data/old/deep/b")
    (path / "mine").write_bytes(b"3")
    fetched(s3, tmp_path)
    assert contents(path) == {"a": b"1"}
    assert [child.name for child in path.iterdir()] == ["a"]


def test_delete_false_keeps_local_files(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    path = fetched(s3, tmp_path)
    (path / "mine").write_bytes(b"3")
    with opened(tmp_path):
        pos3.download(s3.url("data"), delete=False)
    assert contents(path) == {"a": b"1", "mine": b"3"}


def test_a_mistyped_prefix_deletes_nothing(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    here = write_tree(tmp_path / "here", {"precious": b"1"})
    with opened(tmp_path):
        with pytest.raises(FileNotFoundError, match=f"s3://{s3.bucket}/dta") as failure:
            pos3.download(s3.url("dta"), here)
        with pytest.raises(pos3.RemoteNotFoundError):
            pos3.download(s3.url("dta"))
    assert isinstance(failure.value, pos3.RemoteNotFoundError)
    assert contents(here) == {"precious": b"1"}
    assert not (tmp_path / "cache" / "_").exists()


def test_a_source_that_vanished_keeps_the_copy(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "keep": b""})
    path = fetched(s3, tmp_path)
    s3.delete("data/a")
    with opened(tmp_path), pytest.raises(pos3.RemoteNotFoundError):
        pos3.download(s3.url("data"))
    with opened(tmp_path):
        assert pos3.download(s3.url("data"), missing_ok=True) == path
    assert contents(path) == {"a": b"1"}


def test_a_source_that_holds_only_a_marker_keeps_the_copy(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/a": b"1", "data/": b""})
    path = fetched(moto_site, tmp_path)
    moto_site.delete("data/a")
    fetched(moto_site, tmp_path)
    assert contents(path) == {"a": b"1"}


def test_a_source_whose_objects_are_all_excluded_keeps_the_copy(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a.bin", b"1")
    path = fetched(s3, tmp_path)
    (path / "notes").write_bytes(b"mine")
    with opened(tmp_path):
        pos3.download(s3.url("data"), exclude="*.bin")
    assert contents(path) == {"a.bin": b"1", "notes": b"mine"}


def test_missing_ok_gives_an_empty_directory(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.download(s3.url("nothing"), missing_ok=True)
    assert path.is_dir()
    assert list(path.iterdir()) == []


def test_missing_ok_does_not_forgive_a_missing_bucket(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.BucketNotFoundError, match=f"{s3.bucket}-x"):
        pos3.download(f"s3://{s3.bucket}-x/data", missing_ok=True)


def test_excluded_files_are_left_alone_whatever_the_other_side_holds(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/both.log": b"remote", "data/there.log": b"remote", "data/cache/x": b"remote"})
    here = write_tree(tmp_path / "here", {"both.log": b"local", "here.log": b"local", "cache/y": b"local", "old": b""})
    with opened(tmp_path):
        pos3.download(s3.url("data"), here, exclude=["*.log", "cache/"], adopt=True)
    assert contents(here) == {"a": b"1", "both.log": b"local", "here.log": b"local", "cache/y": b"local"}


def test_a_failed_copy_means_that_nothing_is_deleted(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"data/a": b"1", "data/old": b"2"})
    path = fetched(s3, tmp_path)
    s3.delete("data/old")
    s3.put_all({"data/bad": b"3", "data/good": b"4"})
    proxied(s3, Status(403, "AccessDenied", match=on("GET", key="bad$")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="data/bad") as failure:
        pos3.download(s3.url("data"))
    assert (failure.value.operation, len(failure.value.failures)) == ("Download", 1)
    assert contents(path) == {"a": b"1", "old": b"2", "good": b"4"}


def put_empty(server: RcloneServer, site: S3Site, keys: Iterable[str]) -> None:
    """Many objects at once, past the protocol: as files where the server keeps its data."""
    write_tree(server.data / site.bucket, dict.fromkeys(keys, b""))


def test_a_listing_that_breaks_off_changes_nothing(
    rclone: RcloneServer, rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    put_empty(rclone, rclone_site, [*(f"data/{number:04}" for number in range(1001)), "data/zz-old"])
    path = fetched(rclone_site, tmp_path)
    rclone_site.delete("data/zz-old")
    proxied(rclone_site, Status(403, "AccessDenied", match=later_pages))
    with opened(tmp_path), pytest.raises(pos3.AccessDeniedError):
        pos3.download(rclone_site.url("data"))
    assert len(contents(path)) == 1002


@pytest.mark.parametrize(
    ("max_delete", "refused"),
    [
        pytest.param(2, True, id="count-exceeded"),
        pytest.param(3, False, id="count-met"),
        pytest.param("2", True, id="count-as-text"),
        pytest.param("74%", True, id="share-exceeded"),
        pytest.param("75%", False, id="share-met"),
        pytest.param(0, True, id="none-allowed"),
        pytest.param(None, False, id="no-limit"),
    ],
)
def test_max_delete_refuses_before_anything_is_changed(
    rclone_site: S3Site, tmp_path: Path, max_delete: int | str | None, refused: bool
) -> None:
    rclone_site.put_all({f"data/{name}": b"1" for name in "abcd"})
    path = fetched(rclone_site, tmp_path)
    for name in "bcd":
        rclone_site.delete(f"data/{name}")
    rclone_site.put("data/new", b"2")
    with opened(tmp_path):
        if refused:
            with pytest.raises(pos3.PlanRefusedError, match=r"3 of 4 files.*max_delete"):
                pos3.download(rclone_site.url("data"), max_delete=max_delete)
            assert set(contents(path)) == set("abcd")
        else:
            pos3.download(rclone_site.url("data"), max_delete=max_delete)
            assert set(contents(path)) == {"a", "new"}


# -- adoption


def test_a_directory_that_pos3_never_filled_is_not_emptied(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    here = write_tree(tmp_path / "here", {"precious": b"1"})
    with opened(tmp_path), pytest.raises(pos3.PlanRefusedError, match=r"adopt=True") as failure:
        pos3.download(s3.url("data"), here)
    assert str(here) in str(failure.value)
    assert "delete=False" in str(failure.value)
    assert contents(here) == {"precious": b"1"}


@pytest.mark.parametrize(
    ("call", "delete"), [(pos3.download, "delete"), (pos3.sync, "delete_local")], ids=["download", "sync"]
)
def test_the_refusal_says_what_each_choice_does_and_each_does_that(
    s3: S3Site, tmp_path: Path, call: Callable[..., Path], delete: str
) -> None:
    remote = {"same": b"theirs", "new": b"1"}
    s3.put_all({f"data/{name}": body for name, body in remote.items()})

    def refused(**arguments: Any) -> str:
        with opened(tmp_path), pytest.raises(pos3.PlanRefusedError) as failure:
            call(s3.url("data"), here, **arguments)
        assert contents(here) == local
        return str(failure.value)

    local = {"same": b"my own", "mine": b"2"}
    here = write_tree(tmp_path / "here", local)
    told = refused()
    for part in (
        f"{here} is not empty",
        "nothing was changed",
        "would replace 1 file, delete 1 file, add 1 file.",
        f"with {delete}=False, nothing is deleted, but 1 file would still be replaced",
        "adopt=True replaces and deletes",
        "local=...",
        "exclude=[...]",
    ):
        assert part in told
    assert f"with {delete}=False, nothing is deleted, and missing files are added" in refused(exclude=["same"])
    assert "delete" not in refused(exclude=["mine"]).partition("Choose")[0]

    with opened(tmp_path) as mirror:
        call(s3.url("data"), here, exclude=["same", "mine"])
        assert contents(here) == local | {"new": b"1"}
        assert mirror.report().deleted_local == 0
    assert s3.objects("data/") == remote

    here = write_tree(tmp_path / "again", local)
    with opened(tmp_path):
        call(s3.url("data"), here, **{delete: False})
        assert contents(here) == {"same": b"theirs", "new": b"1", "mine": b"2"}
    s3.delete("data/mine")
    here = write_tree(tmp_path / "adopted", local)
    with opened(tmp_path):
        call(s3.url("data"), here, adopt=True)
        assert contents(here) == remote


def test_a_foreign_file_in_place_of_a_directory_is_told_as_such(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    here = tmp_path / "here"
    here.write_bytes(b"mine")
    for arguments in ({}, {"delete": False}):
        with opened(tmp_path), pytest.raises(pos3.Pos3Error, match="local=") as failure:
            pos3.download(s3.url("data"), here, **arguments)
        told = str(failure.value)
        assert str(here) in told
        assert "Rename" not in told
        assert "exclude" not in told
        assert ("delete=True" in told) == bool(arguments)
        assert here.read_bytes() == b"mine"
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="delete_local=True"):
        pos3.sync(s3.url("data"), here, delete_local=False)


def test_nothing_there_is_told_without_arguments_that_the_call_does_not_have(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(pos3.RemoteNotFoundError, match="missing_ok=True"):
            pos3.download(s3.url("nothing"))
        with pytest.raises(pos3.RemoteNotFoundError, match=r"Check the URL$"):
            pos3.plan_download(s3.url("nothing"))
        with pytest.raises(pos3.RemoteNotFoundError, match=r"Check the URL$"):
            pos3.restore(pos3.Reference(s3.url("nothing"), "", "/nowhere", "/nowhere"))


def test_nothing_foreign_is_overwritten_without_adoption(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"remote")
    here = write_tree(tmp_path / "here", {"a": b"local"})
    with opened(tmp_path), pytest.raises(pos3.PlanRefusedError):
        pos3.download(s3.url("data"), here)
    assert contents(here) == {"a": b"local"}


def test_adopt_makes_a_foreign_directory_a_mirror(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    here = write_tree(tmp_path / "here", {"other": b"1"})
    with opened(tmp_path):
        assert pos3.download(s3.url("data"), here, adopt=True) == here
    assert contents(here) == {"a": b"1"}
    write_tree(here, {"later": b""})
    with opened(tmp_path):
        pos3.download(s3.url("data"), here)
    assert contents(here) == {"a": b"1"}


def test_delete_false_needs_no_adoption(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    here = write_tree(tmp_path / "here", {"other": b"1"})
    with opened(tmp_path):
        pos3.download(s3.url("data"), here, delete=False)
    assert contents(here) == {"a": b"1", "other": b"1"}


def test_an_empty_or_missing_directory_needs_no_adoption(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    (tmp_path / "empty").mkdir()
    with opened(tmp_path):
        pos3.download(rclone_site.url("data"), tmp_path / "empty")
    with opened(tmp_path):
        pos3.download(rclone_site.url("data"), tmp_path / "deep" / "missing")
    assert contents(tmp_path / "empty") == contents(tmp_path / "deep" / "missing") == {"a": b"1"}


# -- keys that are not paths


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        pytest.param(["../evil"], ["../evil"], id="parent"),
        pytest.param(["x/../../evil"], ["x/../../evil"], id="parent-inside"),
        pytest.param(["x/./y"], ["x/./y"], id="dot"),
        pytest.param(["x//y"], ["x//y"], id="empty-segment"),
        pytest.param(["/abs"], ["/abs"], id="absolute"),
        pytest.param(["/"], ["/"], id="slash-alone"),
        pytest.param(["f", "f/below"], ["f/below"], id="file-and-directory"),
        pytest.param(["f", "f-x", "f/below"], ["f/below"], id="file-and-directory-apart"),
        pytest.param(["f", "f/"], ["f/"], id="file-and-marker"),
        pytest.param(["d/=content"], ["d/"], id="marker-with-content"),
        pytest.param(["d/=content", "d/x"], ["d/"], id="marker-with-content-and-more"),
        pytest.param(["n" * 256], ["n" * 256], id="name-too-long"),
        pytest.param(["../evil", "x//y", "f", "f/b"], ["../evil", "x//y", "f/b"], id="several"),
    ],
)
def test_keys_that_cannot_be_files_are_listed_in_one_error_and_nothing_is_transferred(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, keys: list[str], named: list[str]
) -> None:
    moto_site.put("data/good", b"1")
    for key in keys:
        name, _, body = key.partition("=")
        moto_site.put(f"data/{name}", body.encode())
    proxy = proxied(moto_site)
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError) as failure:
        pos3.download(moto_site.url("data"))
    assert len(failure.value.problems) == len(named)
    for name in named:
        assert any(repr(name) in problem for problem in failure.value.problems)
        assert repr(name) in str(failure.value)
    assert "exclude" in str(failure.value)
    assert proxy.count("GET") == 0
    assert not (tmp_path / "cache" / "_").exists()
    assert not list(tmp_path.rglob("evil"))


def test_an_object_that_comes_to_lie_above_downloaded_files_is_found_before_anything_is_transferred(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    moto_site.put_all({"data/a/b": b"1", "data/a/c": b"2", "data/z": b"3"})
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"))
    moto_site.put_all({"data/a": b"above", "data/new": b"4"})
    proxy = proxied(moto_site)
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="'a/c': 'a' is a file") as failure:
        pos3.download(moto_site.url("data"))
    assert len(failure.value.problems) == 2
    assert proxy.count("GET") == 0
    assert contents(path) == {"a/b": b"1", "a/c": b"2", "z": b"3"}


@pytest.mark.parametrize(
    ("key", "exclude"),
    [
        pytest.param("data/../evil", "..", id="parent"),
        pytest.param("data/x//y", "/x/", id="empty-segment"),
        pytest.param("data/good/below", "good/*", id="file-and-directory"),
    ],
)
def test_exclude_is_the_way_around_keys_that_cannot_be_files(
    moto_site: S3Site, tmp_path: Path, key: str, exclude: str
) -> None:
    moto_site.put_all({"data/good": b"1", key: b"2"})
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"), exclude=exclude)
    assert contents(path) == {"good": b"1"}


def test_a_key_that_would_lie_outside_the_cache_is_refused_in_the_url(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put("../../evil", b"1")
    with opened(tmp_path):
        with pytest.raises(pos3.InvalidURLError, match="local="):
            pos3.download(moto_site.url("../../evil"))
        path = pos3.download(moto_site.url("../../evil"), tmp_path / "fine")
    assert path.read_bytes() == b"1"


def test_markers_become_empty_directories(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/": b"", "data/a": b"1", "data/void/": b"", "data/full/": b"", "data/full/x": b"2"})
    path = fetched(moto_site, tmp_path)
    assert contents(path) == {"a": b"1", "full/x": b"2"}
    assert (path / "void").is_dir()
    assert not any((path / "void").iterdir())


@pytest.mark.parametrize("emptied", ["made-empty", "emptied-after-a-download"])
def test_an_empty_local_directory_where_objects_belong_is_filled(s3: S3Site, tmp_path: Path, emptied: str) -> None:
    s3.put_all({"data/d/e/a": b"1", "data/f/b": b"2", "data/keep": b"3"})
    here = write_tree(tmp_path / "here", {"d/e/": b"", "f/": b"", "g/": b""})
    with opened(tmp_path):
        pos3.download(s3.url("data"), here, adopt=True)
    if emptied == "emptied-after-a-download":
        (here / "d" / "e" / "a").unlink()
        (here / "f" / "b").unlink()
        with opened(tmp_path):
            pos3.download(s3.url("data"), here)
    assert contents(here) == {"d/e/a": b"1", "f/b": b"2", "keep": b"3"}
    assert not (here / "g").exists()


# -- objects and prefixes


def test_a_single_object_becomes_a_file(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"models/best.pt": b"weights", "models/best.pt.bak": b"x"})
    path = fetched(s3, tmp_path, "models/best.pt")
    assert path == tmp_path / "cache" / "_" / s3.bucket / "models" / "best.pt"
    assert path.read_bytes() == b"weights"
    assert [child.name for child in path.parent.iterdir()] == ["best.pt"]


def test_a_single_object_is_updated_in_place(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put("best.pt", b"1111")
    path = fetched(s3, tmp_path, "best.pt")
    s3.put("best.pt", b"2222")
    assert fetched(s3, tmp_path, "best.pt").read_bytes() == b"2222"
    proxy = proxied(s3)
    assert fetched(s3, tmp_path, "best.pt") == path
    assert proxy.count("GET") == 0


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("thing", {"": b"object"}, id="no-slash-means-the-object"),
        pytest.param("thing/", {"below": b"prefix"}, id="slash-means-the-prefix"),
    ],
)
def test_an_object_and_a_prefix_of_the_same_name_are_told_apart_by_the_slash(
    moto_site: S3Site, tmp_path: Path, key: str, expected: dict[str, bytes]
) -> None:
    moto_site.put_all({"thing": b"object", "thing-2": b"no", "thing/below": b"prefix"})
    path = fetched(moto_site, tmp_path, key)
    assert (contents(path) or {"": path.read_bytes()}) == expected


@pytest.mark.parametrize("siblings", [0, 1200], ids=["alone", "behind-a-page-of-siblings"])
def test_siblings_that_share_the_name_are_not_taken(
    rclone: RcloneServer, rclone_site: S3Site, tmp_path: Path, siblings: int
) -> None:
    put_empty(rclone, rclone_site, [*(f"run-{number}" for number in range(siblings)), "run/a", "run.x", "run0"])
    assert contents(fetched(rclone_site, tmp_path, "run")) == {"a": b""}


@pytest.mark.parametrize("where", ["root", "inside"])
def test_a_file_becomes_a_directory_when_the_remote_side_says_so(s3: S3Site, tmp_path: Path, where: str) -> None:
    key = "data" if where == "root" else "data/x"
    s3.put_all({key: b"file", "data/other" if where == "inside" else "other": b""})
    path = fetched(s3, tmp_path)
    s3.delete(key)
    s3.put_all({f"{key}/a": b"1", f"{key}/b/c": b"2"})
    fetched(s3, tmp_path)
    assert contents(path if where == "root" else path / "x") == {"a": b"1", "b/c": b"2"}


@pytest.mark.parametrize("where", ["root", "inside"])
def test_a_directory_becomes_a_file_when_the_remote_side_says_so(moto_site: S3Site, tmp_path: Path, where: str) -> None:
    key = "data" if where == "root" else "data/x"
    moto_site.put_all({f"{key}/a": b"1", f"{key}/b/c": b"2", f"{key}/void/": b"", "data/other": b""})
    path = fetched(moto_site, tmp_path)
    for name in moto_site.keys(f"{key}/"):
        moto_site.delete(name)
    moto_site.put(key, b"file")
    assert fetched(moto_site, tmp_path) == path
    assert (path if where == "root" else path / "x").read_bytes() == b"file"


def test_a_directory_that_holds_excluded_files_does_not_make_way(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/x/a": b"1", "data/other": b"2"})
    path = fetched(s3, tmp_path)
    write_tree(path, {"x/precious.log": b"mine"})
    s3.delete("data/x/a")
    s3.put("data/x", b"file")
    with opened(tmp_path), pytest.raises((pos3.TransferError, pos3.Pos3Error, OSError), match=r"precious\.log"):
        pos3.download(s3.url("data"), exclude="*.log")
    assert (path / "x" / "precious.log").read_bytes() == b"mine"
    assert (path / "x" / "a").read_bytes() == b"1"


def test_a_file_in_the_way_stays_when_delete_is_off(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/x/a": b"1", "data/y": b"2"})
    here = write_tree(tmp_path / "here", {"x": b"file", "y/z": b"3"})
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="delete is off") as failure:
        pos3.download(s3.url("data"), here, delete=False)
    assert len(failure.value.problems) == 2
    assert contents(here) == {"x": b"file", "y/z": b"3"}


# -- links and special files


def test_nothing_is_written_through_a_linked_directory(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/sub/a": b"1", "data/b": b"2"})
    path = fetched(s3, tmp_path)
    outside = write_tree(tmp_path / "outside", {"a": b"outside"})
    (path / "sub" / "a").unlink()
    (path / "sub").rmdir()
    (path / "sub").symlink_to(outside)
    fetched(s3, tmp_path)
    assert contents(outside) == {"a": b"outside"}
    assert not (path / "sub").is_symlink()
    assert contents(path) == {"sub/a": b"1", "b": b"2"}


def test_a_linked_directory_is_neither_written_through_nor_removed_when_delete_is_off(
    s3: S3Site, tmp_path: Path
) -> None:
    s3.put("data/sub/a", b"1")
    outside = write_tree(tmp_path / "outside", {})
    here = write_tree(tmp_path / "here", {})
    (here / "sub").symlink_to(outside)
    with opened(tmp_path), pytest.raises(pos3.Pos3Error, match="sub"):
        pos3.download(s3.url("data"), here, delete=False)
    assert contents(outside) == {}
    assert (here / "sub").is_symlink()


def test_a_linked_file_is_replaced_and_its_target_stays(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    path = fetched(s3, tmp_path)
    outside = write_tree(tmp_path / "outside", {"x": b"precious"})
    (path / "a").unlink()
    (path / "a").symlink_to(outside / "x")
    fetched(s3, tmp_path)
    assert (path / "a").read_bytes() == b"1"
    assert not (path / "a").is_symlink()
    assert contents(outside) == {"x": b"precious"}


def test_links_fifos_and_sockets_without_an_object_are_kept_and_reported(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("data/a", b"1")
    path = fetched(s3, tmp_path)
    (path / "link").symlink_to(tmp_path)
    (path / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(path)
        server.bind("sock")
    with opened(tmp_path):
        pos3.download(s3.url("data"))
        kept = {item.path for item in pos3.report().kept}
    assert kept == {"link", "broken", "fifo", "sock"}
    assert {child.name for child in path.iterdir()} == {"a", "link", "broken", "fifo", "sock"}


def test_a_fifo_where_an_object_belongs_is_an_error_and_nothing_changes(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({"data/a": b"1", "data/pipe": b"2"})
    here = write_tree(tmp_path / "here", {})
    os.mkfifo(here / "pipe")
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="pipe"):
        pos3.download(rclone_site.url("data"), here)
    assert [child.name for child in here.iterdir()] == ["pipe"]


def test_a_link_as_the_local_directory_is_followed(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with opened(tmp_path):
        assert pos3.download(rclone_site.url("data"), tmp_path / "link") == tmp_path / "real"
    assert contents(tmp_path / "real") == {"a": b"1"}


# -- whole files only


def test_a_body_that_stops_short_never_reaches_the_final_name(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("data/a", b"old!")
    path = fetched(rclone_site, tmp_path)
    rclone_site.put_all({"data/a": b"new content", "data/b": b"whole"})
    proxied(rclone_site, Truncate(match=on("GET", key="a$")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="data/a"):
        pos3.download(rclone_site.url("data"))
    assert contents(path) == {"a": b"old!", "b": b"whole"}
    assert not [name for name in os.listdir(path) if name.startswith(".pos3-")]


def test_readers_see_old_bytes_or_new_ones_but_never_a_mixture(rclone_site: S3Site, tmp_path: Path) -> None:
    old, new = b"o" * (4 << 20), b"n" * (4 << 20)
    rclone_site.put("data/a", old)
    path = fetched(rclone_site, tmp_path)
    with (path / "a").open("rb") as reader:
        rclone_site.put("data/a", new)
        fetched(rclone_site, tmp_path)
        assert reader.read() == old
    assert (path / "a").read_bytes() == new


@pytest.mark.parametrize("size", [1 << 20, 40 << 20], ids=["one-request", "ranges"])
def test_an_object_replaced_while_it_is_read_arrives_as_one_version(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, size: int
) -> None:
    first, second = b"1" * size, b"2" * size
    s3.put("data/a", first)
    seen = 0

    def replace(request: object) -> bool:
        nonlocal seen
        if on("GET")(request):  # type: ignore[arg-type]
            seen += 1
            if seen == 2:
                s3.put("data/a", second)
        return False

    proxied(s3, Status(match=replace))
    path = fetched(s3, tmp_path)
    assert (path / "a").read_bytes() in (first, second)


def test_the_ranges_of_a_large_object_are_waited_for_together(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    data = pseudo_random(40 << 20)
    s3.put("data/big", data)
    proxy = proxied(s3, Latency(seconds=1, match=on("GET")))
    assert (fetched(s3, tmp_path) / "big").read_bytes() == data
    assert proxy.peak == 5


@pytest.mark.parametrize("code", [503, 412], ids=["busy", "replaced"])
def test_a_refusal_that_is_longer_than_a_short_last_range_does_not_end_the_use_of_ranges(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, code: int
) -> None:
    size = (16 << 20) + 128
    data = pseudo_random(size)
    moto_site.put_all({"data/big": data})
    last = Status(code, times=1, match=lambda request: request.headers.get("range", "").endswith(f"-{size - 1}"))
    proxy = proxied(moto_site, last)
    assert (fetched(moto_site, tmp_path) / "big").read_bytes() == data
    assert all("range" in request.headers for request in proxy.requests if request.kind == "GET")


def test_a_download_killed_half_way_leaves_nothing_at_the_final_name_and_is_cleaned_up(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    moto_site.put_all({"data/a": b"1", "data/big": pseudo_random(40 << 20)})
    proxy = proxied(
        moto_site,
        Hang(
            match=lambda request: "range" in request.headers and request.headers["range"] != "bytes=0-8388607",
            times=None,
        ),
    )
    script = "import pos3, sys\nwith pos3.mirror(sys.argv[1], show_progress=False):\n    pos3.download(sys.argv[2])\n"
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "cache"), moto_site.url("data")])
    path = tmp_path / "cache" / "_" / moto_site.bucket / "data"
    # By then, the file that the ranges are written to is there.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(
        "bytes=8" in item.headers.get("range", "") for item in proxy.requests
    ):
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert list(path.glob(".pos3-*"))
    assert not (path / "big").exists()
    proxy.inject()

    out = write_tree(tmp_path / "out", {"x": b"1"})
    (out / next(path.glob(".pos3-*")).name).write_bytes(b"leftover")
    with opened(tmp_path):
        pos3.upload(moto_site.url("out"), out)
    assert set(moto_site.keys("out/")) == {"out/x"}

    fetched(moto_site, tmp_path)
    assert_same(path, moto_site.server, moto_site.bucket, "data")
    assert not list(path.glob(".pos3-*"))


# -- once a mirror


def test_a_further_download_of_the_same_url_returns_at_once(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put("data/a", b"1")
    proxy = proxied(s3)
    with opened(tmp_path):
        first = pos3.download(s3.url("data"))
        proxy.clear()
        assert pos3.download(s3.url("data")) == first
        assert proxy.requests == []


def test_a_download_that_failed_can_be_tried_again(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(pos3.RemoteNotFoundError):
            pos3.download(s3.url("data"))
        s3.put("data/a", b"1")
        assert contents(pos3.download(s3.url("data"))) == {"a": b"1"}


# -- local paths


def test_a_local_path_is_passed_through_without_a_copy(tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a": b"1"})
    with opened(tmp_path):
        assert pos3.download(str(here)) == here
        assert pos3.download(here) == here
        assert pos3.download(f"file://{here}") == here
        assert pos3.sync(str(here)) == here
        assert pos3.upload(str(tmp_path / "out")) == tmp_path / "out"
        assert pos3.ls(str(here)) == [str(here / "a")]
    assert (tmp_path / "out").is_dir()
    assert contents(here) == {"a": b"1"}
    assert not (tmp_path / "cache").exists()


def test_a_local_path_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(FileNotFoundError, match="nowhere"):
        pos3.download(str(tmp_path / "nowhere"))


# -- plans and listings


def test_a_planned_download_names_every_copy_and_delete_and_changes_nothing(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/same": b"1", "data/changed": b"22", "data/d/new": b"3"})
    path = fetched(s3, tmp_path)
    s3.put("data/changed", b"33")
    (path / "d" / "new").unlink()
    write_tree(path, {"extra": b"", "dir/extra": b""})
    before = {name: (path / name).stat().st_mtime_ns for name in contents(path)}
    with opened(tmp_path):
        plan = pos3.plan_download(s3.url("data"))
    assert plan.to_copy == [
        (s3.url("data/changed"), str(path / "changed")),
        (s3.url("data/d/new"), str(path / "d" / "new")),
    ]
    assert sorted(plan.to_delete) == [str(path / "dir" / "extra"), str(path / "extra")]
    assert {name: (path / name).stat().st_mtime_ns for name in contents(path)} == before


def test_a_plan_creates_nothing_at_all(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    with opened(tmp_path):
        assert pos3.plan_download(s3.url("data")).to_copy
        assert pos3.plan_download(s3.url("data"), tmp_path / "x" / "y").to_copy
        assert pos3.plan_upload(s3.url("data")) == pos3.TransferPlan([], [])
    assert list(tmp_path.iterdir()) == []


def test_ls_lists_one_level_or_all(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/d/b": b"2", "data/d/e/c": b"3", "data-2": b""})
    with opened(tmp_path):
        assert pos3.ls(s3.url("data")) == [s3.url("data/a"), s3.url("data/d")]
        assert pos3.ls(s3.url("data/")) == [s3.url("data/a"), s3.url("data/d")]
        assert pos3.ls(s3.url("data"), recursive=True) == [
            s3.url(f"data/{name}") for name in ("a", "d", "d/b", "d/e", "d/e/c")
        ]
        assert pos3.ls(s3.url("data/a")) == [s3.url("data/a")]
        assert pos3.ls(s3.url("nothing")) == []
        assert pos3.ls(s3.url()) == [s3.url("data"), s3.url("data-2")]


def test_ls_lists_an_object_and_a_directory_of_the_same_name_once(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/x": b"1", "data/x/y": b"2", "data/m/": b""})
    with opened(tmp_path):
        assert pos3.ls(moto_site.url("data")) == [moto_site.url("data/m"), moto_site.url("data/x")]


def test_a_directory_url_does_not_find_the_object_of_that_name(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/x", b"1")
    with opened(tmp_path), pytest.raises(pos3.RemoteNotFoundError):
        pos3.download(s3.url("data/x/"))


def test_one_object_is_not_put_where_the_user_has_written_a_directory(s3: S3Site, tmp_path: Path) -> None:
    """With cp, a slash at the end of the target asks for a file in that directory."""
    s3.put("data/x", b"remote")
    with opened(tmp_path):
        with pytest.raises(pos3.ConflictError, match="here/x"):
            pos3.download(s3.url("data/x"), f"{tmp_path}/here/")
        assert not (tmp_path / "here").exists()
        assert pos3.download(s3.url("data"), f"{tmp_path}/here/") == tmp_path / "here"
    assert contents(tmp_path / "here") == {"x": b"remote"}


@pytest.mark.parametrize("delete", [True, False], ids=["delete", "keep"])
def test_one_object_does_not_replace_a_directory_that_the_user_names(s3: S3Site, tmp_path: Path, delete: bool) -> None:
    s3.put("data/x", b"1")
    (tmp_path / "here").mkdir()
    with opened(tmp_path), pytest.raises(pos3.ConflictError, match="here/x"):
        pos3.download(s3.url("data/x"), tmp_path / "here", delete)
    assert (tmp_path / "here").is_dir()
