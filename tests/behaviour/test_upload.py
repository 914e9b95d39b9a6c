"""What an upload does to the bucket: at the end, in the background, and what it never touches."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import (
    Latency,
    Proxy,
    RcloneServer,
    S3Site,
    Status,
    contents,
    later_pages,
    odd_tree,
    on,
    write_tree,
)
from tests.support.program import run_program
from tests.support.trees import assert_same, deep_tree, pseudo_random

PutBefore = Callable[..., Proxy]


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# -- at the end


def test_what_is_written_to_the_path_is_in_the_bucket_after_the_mirror(s3: S3Site, tmp_path: Path) -> None:
    files = {"a": b"1", "dir/b": b"22", "dir/deep/c": b""}
    with opened(tmp_path):
        path = pos3.upload(s3.url("run"))
        assert path == tmp_path / "cache" / "_" / s3.bucket / "run"
        assert path.is_dir()
        write_tree(path, files)
        assert s3.keys() == {}
    assert s3.objects("run/") == files


def test_odd_names_are_uploaded_under_the_same_names(s3: S3Site, tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "tree", empty_dirs=True)
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert_same(tree, s3.server, s3.bucket, "data")


def test_a_deep_tree_is_uploaded(s3: S3Site, tmp_path: Path) -> None:
    tree = deep_tree(tmp_path / "tree")
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert_same(tree, s3.server, s3.bucket, "data")


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 20 << 20])
def test_bodies_of_every_size_are_stored_whole(s3: S3Site, tmp_path: Path, size: int) -> None:
    data = pseudo_random(size)
    tree = write_tree(tmp_path / "tree", {"big": data})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert s3.get("data/big") == data
    assert s3.server.uploads(s3.bucket) == []


def test_an_unchanged_rerun_sends_no_body(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    tree = write_tree(tmp_path / "tree", {str(number): b"x" * number for number in range(20)})
    proxy = proxied(s3)
    for bodies in (20, 0):
        proxy.clear()
        with opened(tmp_path):
            pos3.upload(s3.url("data"), tree)
        # A connection that the server has just closed makes a client send again.
        assert len({request.key for request in proxy.requests if request.method == "PUT"}) == bodies
        assert proxy.count("GET") == 0


def test_objects_that_are_equal_already_are_not_sent_even_without_an_index(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"11", "b": b"22", "big": pseudo_random(20 << 20)})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    s3.put("data/b", b"33")
    proxy = proxied(s3)
    with pos3.mirror(tmp_path / "other-cache", show_progress=False):
        pos3.upload(s3.url("data"), tree)
    assert [request.key for request in proxy.requests if request.method == "PUT"] == ["data/b"]
    assert s3.get("data/b") == b"22"


@pytest.mark.parametrize("lost", ["index", "nothing"])
def test_same_size_edits_are_sent(s3: S3Site, tmp_path: Path, lost: str) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1111", "b": b"1111"})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    (tree / "a").write_bytes(b"2222")
    if lost == "index":
        for state in (tmp_path / "cache" / ".pos3").glob("*.sqlite*"):
            state.unlink()
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert s3.objects("data/") == {"a": b"2222", "b": b"1111"}


# -- deletes


def test_objects_without_a_file_go_at_a_clean_end(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/old": b"1", "data/d/old": b"2", "data-2/x": b"", "other": b""})
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    time.sleep(1.1)
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert set(s3.keys()) == {"data/a", "data-2/x", "other"}


def test_delete_false_keeps_objects(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/old", b"1")
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, delete=False)
    assert set(s3.keys()) == {"data/a", "data/old"}


@pytest.mark.parametrize("local", ["missing", "empty", "only-empty-directories", "all-excluded"])
def test_an_empty_source_keeps_the_bucket(s3: S3Site, tmp_path: Path, local: str) -> None:
    s3.put_all({"data/a": b"1", "data/d/b": b"2"})
    with opened(tmp_path):
        tree = pos3.upload(s3.url("data"), tmp_path / "tree", exclude=["*.tmp"])
        if local == "missing":
            tree.rmdir()
        elif local == "only-empty-directories":
            write_tree(tree, {"d/": b"", "e/f/": b""})
        elif local == "all-excluded":
            write_tree(tree, {"x.tmp": b""})
    assert set(s3.keys("data/")) - {"data/e/f/", "data/d/"} == {"data/a", "data/d/b"}


def test_a_file_is_not_uploaded_to_a_key_that_objects_lie_below(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/d/b": b"2"})
    with pytest.raises(pos3.ConflictError, match="tree"), opened(tmp_path):  # noqa: PT012
        tree = pos3.upload(s3.url("data"), tmp_path / "tree")
        tree.rmdir()
        tree.write_bytes(b"3")
    assert s3.objects() == {"data/a": b"1", "data/d/b": b"2"}


def test_excluded_objects_are_left_alone_whatever_the_other_side_holds(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/both.log": b"remote", "data/there.log": b"remote", "data/cache/x": b"remote", "data/old": b""})
    tree = write_tree(tmp_path / "tree", {"a": b"1", "both.log": b"local", "here.log": b"local", "cache/y": b"local"})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, exclude=["*.log", "cache"])
    assert s3.objects("data/") == {"a": b"1", "both.log": b"remote", "there.log": b"remote", "cache/x": b"remote"}


def test_a_failed_copy_means_that_no_object_is_deleted(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put("data/old", b"1")
    tree = write_tree(tmp_path / "tree", {"bad": b"2", "good": b"3"})
    proxied(s3, Status(403, "AccessDenied", match=on("PUT", key="bad$")))
    with pytest.raises(pos3.TransferError, match="data/bad") as failure, opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert (failure.value.operation, len(failure.value.failures)) == ("Upload", 1)
    assert set(s3.keys()) == {"data/old", "data/good"}


def test_a_listing_that_breaks_off_deletes_nothing(
    rclone: RcloneServer, rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    write_tree(rclone.data / rclone_site.bucket, {f"data/{number:04}": b"" for number in range(1001)})
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    proxied(rclone_site, Status(403, "AccessDenied", match=later_pages))
    with pytest.raises(pos3.AccessDeniedError), opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree)
    assert len(rclone_site.keys()) == 1001


@pytest.mark.parametrize(
    ("max_delete", "refused"),
    [
        pytest.param(1, True, id="count-exceeded"),
        pytest.param(2, False, id="count-met"),
        pytest.param("49%", True, id="share-exceeded"),
        pytest.param("50%", False, id="share-met"),
    ],
)
def test_max_delete_keeps_the_objects_but_makes_the_copies(
    rclone_site: S3Site, tmp_path: Path, max_delete: int | str, refused: bool
) -> None:
    rclone_site.put_all({f"data/{name}": name.encode() for name in "abcd"})
    tree = write_tree(tmp_path / "tree", {"a": b"a", "b": b"b", "new": b"1"})
    failure: pos3.PlanRefusedError | None = None
    try:
        with opened(tmp_path):
            pos3.upload(rclone_site.url("data"), tree, max_delete=max_delete)
    except pos3.PlanRefusedError as refusal:
        failure = refusal
    assert set(rclone_site.objects("data/")) == ({"a", "b", "c", "d", "new"} if refused else {"a", "b", "new"})
    assert (failure is not None) is refused
    if failure is not None:
        assert "2 of 4" in str(failure)
        assert "nothing was changed" not in str(failure)


@pytest.mark.parametrize("batches", ["accepted", "refused"])
def test_objects_are_deleted_one_by_one_where_a_server_refuses_batches(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, batches: str
) -> None:
    s3.put_all({f"data/{number}": b"" for number in range(5)})
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    proxy = proxied(s3)
    if batches == "refused":
        proxy.inject(Status(501, "NotImplemented", match=on("POST ?delete")))
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert set(s3.keys()) == {"data/a"}
    assert proxy.count("DELETE") == (5 if batches == "refused" else 0)


# -- other writers


def test_what_another_writer_put_there_meanwhile_survives(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/stale": b"1", "data/stolen": b"1111"})
    time.sleep(1.1)
    tree = write_tree(tmp_path / "tree", {"mine": b"2"})
    with opened(tmp_path) as mirror:
        pos3.upload(s3.url("data"), tree)
        time.sleep(1.1)
        s3.put_all({"data/theirs": b"3", "data/stolen": b"2222"})
    assert s3.objects("data/") == {"mine": b"2", "theirs": b"3", "stolen": b"2222"}
    assert {item.path for item in mirror.report().kept} == {"theirs", "stolen"}


def test_what_another_writer_put_there_within_the_same_second_survives(s3: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"mine": b"2"})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
        s3.put("data/theirs", b"3")
    assert s3.objects("data/") == {"mine": b"2", "theirs": b"3"}


def test_what_lay_there_right_before_the_mirror_opened_does_not_pass_for_another_writers(
    s3: S3Site, tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "tree", {"mine": b"2"})
    s3.put("data/stale", b"1")
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert s3.objects("data/") == {"mine": b"2"}


def test_a_file_that_another_writer_changed_and_we_did_not_keeps_their_content(s3: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"shared": b"1111", "both": b"1111"})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
        pos3.flush()
        time.sleep(1.1)
        s3.put_all({"data/shared": b"2222", "data/both": b"2222"})
        (tree / "both").write_bytes(b"3333")
    assert s3.objects("data/") == {"shared": b"2222", "both": b"3333"}


def test_a_file_of_ours_that_we_deleted_goes_although_it_is_newer_than_the_mirror(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"))
        write_tree(path, {"stays": b"1", "goes": b"2"})
        time.sleep(1.1)
        pos3.flush()
        assert set(s3.objects("data/")) == {"stays", "goes"}
        (path / "goes").unlink()
    assert set(s3.objects("data/")) == {"stays"}


def test_a_file_of_ours_that_another_writer_replaced_is_theirs_to_delete(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"))
        write_tree(path, {"stays": b"1", "contested": b"2"})
        pos3.flush()
        time.sleep(1.1)
        s3.put("data/contested", b"theirs")
        (path / "contested").unlink()
    assert s3.objects("data/") == {"stays": b"1", "contested": b"theirs"}


def test_a_background_push_does_not_delete_what_another_writer_replaced(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(s3)
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"), interval=0.2)
        write_tree(path, {"stays": b"1", "contested": b"2", "goes": b"3"})
        eventually(lambda: s3.objects("data/") == {"stays": b"1", "contested": b"2", "goes": b"3"})
        time.sleep(1.1)
        proxy.clear()
        s3.put("data/contested", b"theirs")
        (path / "contested").unlink()
        (path / "goes").unlink()
        eventually(lambda: "data/goes" not in s3.keys("data/"))
        assert s3.objects("data/") == {"stays": b"1", "contested": b"theirs"}
    assert s3.objects("data/") == {"stays": b"1", "contested": b"theirs"}
    assert proxy.count("PUT") == 0


def test_a_background_push_asks_only_once_about_files_whose_objects_are_not_ours_to_delete(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(s3)
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"), interval=None)
        write_tree(path, {"stays": b"1", "replaced": b"2", "deleted": b"3"})
        pos3.flush()
        s3.put("data/replaced", b"theirs")
        s3.delete("data/deleted")
        (path / "replaced").unlink()
        (path / "deleted").unlink()
        pos3.flush()
        proxy.clear()
        pos3.flush()
        assert not proxy.kinds
        s3.put("data/deleted", b"3")
        pos3.flush()
        assert s3.objects("data/") == {"stays": b"1", "replaced": b"theirs", "deleted": b"3"}


def test_a_file_that_was_away_while_another_writer_replaced_its_object_does_not_replace_theirs(
    s3: S3Site, tmp_path: Path
) -> None:
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"), interval=None)
        write_tree(path, {"stays": b"1", "away": b"2"})
        pos3.flush()
        time.sleep(1.1)
        s3.put("data/away", b"theirs")
        (path / "away").rename(tmp_path / "aside")
        pos3.flush()
        (tmp_path / "aside").rename(path / "away")
        pos3.flush()
    assert s3.objects("data/") == {"stays": b"1", "away": b"theirs"}


def test_an_object_of_another_writer_that_a_file_was_found_equal_to_is_not_ours_to_delete(
    s3: S3Site, tmp_path: Path
) -> None:
    with opened(tmp_path) as mirror:
        path = pos3.upload(s3.url("data"), interval=None)
        write_tree(path, {"stays": b"1", "shared": b"ours"})
        pos3.flush()
        s3.put("data/shared", b"theirs")
        write_tree(path, {"shared": b"theirs"})
        assert mirror.finish().uploaded_files == 0
        (path / "shared").unlink()
        pos3.flush()
        assert s3.objects("data/") == {"stays": b"1", "shared": b"theirs"}


# -- what cannot be read


def test_the_twins_of_what_cannot_be_uploaded_are_kept_and_reported(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("broken", "fifo", "sock", "self", "loop/x", "loop/deep/y", "gone/x")
    s3.put_all({f"data/{name}": b"remote" for name in names} | {"data/old": b""})
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    (tree / "broken").symlink_to(tmp_path / "nowhere")
    (tree / "gone").symlink_to(tmp_path / "nowhere")
    (tree / "self").symlink_to("self")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tree)
        server.bind("sock")
    with opened(tmp_path) as mirror:
        pos3.upload(s3.url("data"), tree)
    assert s3.objects("data/") == {"a": b"1"} | dict.fromkeys(names, b"remote")
    kept = {item.path.rstrip("/"): item.reason for item in mirror.report().kept}
    assert {"broken", "fifo", "sock", "self", "loop", "gone"} <= kept.keys()
    assert "FIFO" in kept["fifo"]
    assert "socket" in kept["sock"]
    assert "broken" in kept["broken"]


def test_the_twins_of_unreadable_files_and_directories_are_kept(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/secret": b"remote", "data/vault/x": b"remote", "data/old": b""})
    tree = write_tree(tmp_path / "tree", {"a": b"1", "secret": b"local", "vault/x": b"local"})
    (tree / "secret").chmod(0)
    (tree / "vault").chmod(0)
    script = (
        "import sys, pos3\n"
        "with pos3.mirror(sys.argv[1], show_progress=False):\n"
        "    pos3.upload(sys.argv[2], sys.argv[3])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), s3.url("data"), str(tree)]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root can read everything, and there is no setpriv to take that right away")
        rights = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    (tree / "vault").chmod(0o700)
    assert "TransferError" in done.stderr
    assert "secret" in done.stderr.splitlines()[-1]
    stored = s3.objects("data/")
    assert {"a": b"1", "secret": b"remote", "vault/x": b"remote"}.items() <= stored.items()


def test_links_are_followed(rclone_site: S3Site, tmp_path: Path) -> None:
    outside = write_tree(tmp_path / "outside", {"x": b"1", "d/y": b"2"})
    tree = write_tree(tmp_path / "tree", {"a": b"0"})
    (tree / "file").symlink_to(outside / "x")
    (tree / "dir").symlink_to(outside)
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree)
    assert rclone_site.objects("data/") == {"a": b"0", "file": b"1", "dir/x": b"1", "dir/d/y": b"2"}


def test_links_are_left_out_and_their_twins_kept_when_they_are_not_followed(
    rclone_site: S3Site, tmp_path: Path
) -> None:
    rclone_site.put_all({"data/file": b"remote", "data/dir/x": b"remote", "data/old": b""})
    outside = write_tree(tmp_path / "outside", {"x": b"1"})
    tree = write_tree(tmp_path / "tree", {"a": b"0"})
    (tree / "file").symlink_to(outside / "x")
    (tree / "dir").symlink_to(outside)
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, follow_symlinks=False)
    assert rclone_site.objects("data/") == {"a": b"0", "file": b"remote", "dir/x": b"remote"}


def test_loops_of_links_end(rclone_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a/x": b"1", "b/y": b"2"})
    (tree / "a" / "up").symlink_to(tree)
    (tree / "a" / "over").symlink_to(tree / "b")
    (tree / "b" / "back").symlink_to(tree / "a")
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree)
    uploaded = rclone_site.objects("data/")
    assert {"a/x": b"1", "b/y": b"2", "a/over/y": b"2", "b/back/x": b"1"}.items() <= uploaded.items()
    assert len(uploaded) < 20


# -- markers


def test_markers_are_written_for_empty_directories_only(moto_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "full/x": b"2", "void/": b"", "deep/void/": b""})
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    assert set(moto_site.keys()) == {"data/a", "data/full/x", "data/void/", "data/deep/void/"}


def test_a_marker_goes_when_its_directory_is_gone(moto_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "void/": b""})
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    (tree / "void").rmdir()
    time.sleep(1.1)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    assert set(moto_site.keys()) == {"data/a"}


def gone_again(site: S3Site, tmp_path: Path, push: Callable[[pos3.Mirror], object]) -> set[str]:
    """The keys that are left when a mirror put a marker, its directory went, and the mirror pushed again."""
    tree = write_tree(tmp_path / "tree", {"a": b"1", "void/": b"", "filled/": b""})
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
    mirror.upload(site.url("data"), tree, interval=None)
    time.sleep(2.1)
    mirror.finish()
    assert set(site.keys()) == {"data/a", "data/void/", "data/filled/"}
    (tree / "void").rmdir()
    write_tree(tree, {"filled/x": b"2"})
    push(mirror)
    left = set(site.keys())
    mirror.close(push=False)
    return left


@pytest.mark.parametrize("push", [pos3.Mirror.finish, pos3.Mirror.flush])
def test_a_marker_that_a_mirror_has_put_itself_goes_with_its_directory(
    moto_site: S3Site, tmp_path: Path, push: Callable[[pos3.Mirror], object]
) -> None:
    assert gone_again(moto_site, tmp_path, push) == {"data/a", "data/filled/", "data/filled/x"}


@pytest.mark.parametrize("push", [pos3.Mirror.finish, pos3.Mirror.flush])
@pytest.mark.parametrize("meanwhile", [b"", b"content"])
def test_a_marker_that_another_writer_has_put_meanwhile_stays(
    moto_site: S3Site, tmp_path: Path, push: Callable[[pos3.Mirror], object], meanwhile: bytes
) -> None:
    """One with content is none of this mirror's, and one that came after this mirror had missed its own neither."""

    def push_with_another_writer(mirror: pos3.Mirror) -> None:
        moto_site.delete("data/void/")
        if not meanwhile:
            push(mirror)
        moto_site.put("data/void/", meanwhile)
        push(mirror)

    left = gone_again(moto_site, tmp_path, push_with_another_writer)
    assert left == {"data/a", "data/void/", "data/filled/", "data/filled/x"}


def test_a_directory_that_lost_its_last_file_is_there_as_an_empty_one(moto_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "d/x": b"2"})
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    (tree / "d" / "x").unlink()
    time.sleep(1.1)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    assert set(moto_site.keys()) == {"data/a", "data/d/"}


def test_a_marker_does_not_hide_what_is_in_the_directory(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/": b"", "data/d/": b"", "data/d/x": b"1"})
    with opened(tmp_path):
        path = pos3.sync(moto_site.url("data"))
        write_tree(path, {"d/y": b"2"})
    assert {"data/d/x", "data/d/y"} <= set(moto_site.keys())


def test_a_failed_marker_means_that_no_object_is_deleted(moto_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    moto_site.put_all({"data/stale": b"1", "data/d/x": b"1"})
    tree = write_tree(tmp_path / "tree", {"a": b"1", "d/": b"", "void/": b""})
    proxied(moto_site, Status(403, "AccessDenied", match=on("PUT", key="void/$")))
    with pytest.raises(pos3.TransferError, match="void/"), opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    assert set(moto_site.keys()) == {"data/a", "data/stale", "data/d/x"}


def test_a_server_that_cannot_hold_markers_gets_none_and_says_so(rclone_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "void/": b"", "later/": b""})
    with opened(tmp_path) as mirror:
        pos3.upload(rclone_site.url("data"), tree)
    assert set(rclone_site.keys()) == {"data/a"}
    assert {item.path for item in mirror.report().kept} == {"void/", "later/"}


@pytest.mark.parametrize("theirs", ["before", "meanwhile"])
@pytest.mark.parametrize(
    "local", [{"x/": b""}, {"x/y": b"1"}, {"x/y": b"1", "a": b"2"}, {"x/": b"", "a": b"2"}], ids=str
)
def test_an_upload_never_makes_keys_that_a_download_would_refuse(
    moto_site: S3Site, tmp_path: Path, theirs: str, local: dict[str, bytes]
) -> None:
    moto_site.put("data/x" if theirs == "before" else "other", b"object")
    with contextlib.suppress(pos3.Pos3Error), opened(tmp_path):
        path = pos3.upload(moto_site.url("data"))
        write_tree(path, local)
        if theirs == "meanwhile":
            moto_site.put("data/x", b"object")
    keys = set(moto_site.keys("data/"))
    assert not ("data/x" in keys and keys & {"data/x/", "data/x/y"})
    assert theirs == "before" or "data/x" in keys


# -- names that cannot be keys


NOT_UTF8 = os.fsdecode(b"bad-\xff")
TOO_LONG = "/".join(["d" * 200] * 6)
NO_KEYS = {"not UTF-8": (NOT_UTF8, "valid UTF-8"), "too long": (TOO_LONG, "1,024 bytes")}


@pytest.mark.parametrize("name", NO_KEYS)
def test_a_name_that_cannot_be_a_key_fails_at_the_end_and_all_others_are_pushed(
    s3: S3Site, tmp_path: Path, name: str
) -> None:
    s3.put("data/stale", b"old")
    path, told = NO_KEYS[name]
    tree = write_tree(tmp_path / "tree", {"a": b"1", path: b"2", "z/last": b"3"})
    with pytest.raises(pos3.UnsafeKeysError, match=told) as failure, opened(tmp_path) as mirror:
        pos3.upload(s3.url("data"), tree, upload_last="last")
    assert str(failure.value).encode()
    assert repr(path) in str(failure.value)
    assert "all others were pushed and nothing was deleted" in str(failure.value)
    assert "exclude=" in str(failure.value)
    # What is pushed last tells others that all is there.
    assert s3.objects("data/") == {"stale": b"old", "a": b"1"}
    assert mirror.report().uploaded_files == 1
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, exclude=["bad-*", "d*/"])
    assert s3.objects("data/") == {"a": b"1", "z/last": b"3"}


def test_a_background_push_tells_once_of_a_name_that_cannot_be_a_key_and_goes_on(
    s3: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = write_tree(tmp_path / "tree", {NOT_UTF8: b"2"})
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
    mirror.upload(s3.url("data"), tree, interval=0.05)
    for number in range(4):
        (tree / str(number)).write_bytes(b"1")
        eventually(lambda number=number: f"data/{number}" in s3.keys())
    mirror.close(push=False)
    told = [record for record in caplog.records if record.name == "pos3" and "UTF-8" in record.getMessage()]
    assert len(told) == 1


def test_a_file_that_was_renamed_to_what_cannot_be_a_key_keeps_its_object(s3: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b": b"2"})
    mirror = pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False)).open()
    mirror.upload(s3.url("data"), tree, interval=None)
    mirror.flush()
    (tree / "a").rename(tree / NOT_UTF8)
    for push in (mirror.flush, mirror.close):
        with pytest.raises(pos3.UnsafeKeysError):
            push()
    assert s3.objects("data/") == {"a": b"1", "b": b"2"}


def test_a_directory_that_became_a_file_waits_until_its_objects_may_go(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/x/y": b"1", "data/z": b"2"})
    tree = write_tree(tmp_path / "tree", {"x": b"3", "z/below": b"4", NOT_UTF8: b"5", "new": b"6"})
    with pytest.raises(pos3.UnsafeKeysError), opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    assert moto_site.objects("data/") == {"x/y": b"1", "z": b"2", "new": b"6"}


@pytest.mark.parametrize("call", [pos3.download, pos3.upload, pos3.ls, pos3.fingerprint, pos3.plan_download])
def test_a_url_that_is_not_utf8_is_refused(tmp_path: Path, call: Callable[[str], object]) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidURLError, match="not valid UTF-8") as failure:
        call(f"s3://bucket/{NOT_UTF8}")
    assert str(failure.value).encode()
    assert list(tmp_path.iterdir()) == []


def test_a_set_with_a_name_that_cannot_be_a_key_is_not_published(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/before", b"old")
    tree = write_tree(tmp_path / "tree", {"a": b"1", NOT_UTF8: b"2"})
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError, match="nothing was transferred"):
        pos3.publish(s3.url("data"), tree)
    assert s3.objects("data/") == {"before": b"old"}


def test_a_plan_tells_what_cannot_be_uploaded(s3: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", NOT_UTF8: b"2"})
    s3.put("data/stale", b"old")
    with opened(tmp_path):
        plan = pos3.plan_upload(s3.url("data"), tree)
    assert plan.to_copy == [(str(tree / "a"), s3.url("data/a"))]
    assert plan.to_delete == []
    assert [problem.partition(":")[0] for problem in plan.problems] == [repr(NOT_UTF8)]
    ran = run_program("upload", "-n", "--delete", "--json", s3.url("data"), "--local", tree)
    assert ran.status == 0
    [shown] = ran.objects
    assert [item["destination"] for item in shown["copy"]] == [s3.url("data/a")]
    assert shown["problems"] == list(plan.problems)
    assert shown["delete"] == []
    assert "would push all else, delete nothing, and then fail" in ran.stderr
    assert repr(NOT_UTF8) in ran.stderr
    assert s3.objects("data/") == {"stale": b"old"}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_commands_push_all_others_and_fail_whatever_the_terminal_can_show(
    s3: S3Site, tmp_path: Path, encoding: str
) -> None:
    s3.put("data/there", b"3")
    tree = write_tree(tmp_path / "tree", {"a": b"1", NOT_UTF8: b"2", "\u00fc": b"4"})
    cache = ("--cache-root", str(tmp_path / "cache"), "--local", str(tree))
    for command in (["upload"], ["sync", "--delete-local"]):
        ran = run_program(*command, s3.url("data"), *cache, PYTHONIOENCODING=encoding)
        assert ran.status == 1
        assert repr(NOT_UTF8)[1:-1] in ran.stderr
        assert "Traceback" not in ran.stderr
    assert s3.objects("data/") == {"there": b"3", "a": b"1", "\u00fc": b"4"}
    assert contents(tree) == {"there": b"3", "a": b"1", "\u00fc": b"4", NOT_UTF8: b"2"}


def test_a_local_root_that_is_not_utf8_is_downloaded_pushed_recovered_and_listed(s3: S3Site, tmp_path: Path) -> None:
    root = tmp_path / NOT_UTF8
    s3.put("data/a", b"1")
    script = "import os, sys, pos3; m = pos3.Mirror(pos3.MirrorOptions(sys.argv[1], show_progress=False)).open();"
    script += " path = m.sync(sys.argv[2], sys.argv[3]); (path / 'b').write_text('2'); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, tmp_path / "cache", s3.url("data"), root], check=True)
    assert contents(root) == {"a": b"1", "b": b"2"}
    [recovered] = pos3.recover(tmp_path / "cache", show_progress=False)
    assert (recovered.outcome, recovered.local) == ("pushed", str(root))
    with opened(tmp_path) as mirror:
        pos3.upload(s3.url("data"), root, interval=None)
        (root / "c").write_bytes(b"3")
        assert mirror.flush(root / "c").uploaded_files == 1
        assert pos3.url_of(root / "c") == s3.url("data/c")
    assert s3.objects("data/") == {"a": b"1", "b": b"2", "c": b"3"}
    for options in ([], ["--json"]):
        ran = run_program("cache", "ls", *options, "--cache-root", tmp_path / "cache", PYTHONIOENCODING="ascii")
        assert (ran.status, "Traceback" in ran.stderr) == (0, False)
        assert s3.url("data") in ran.stdout


def test_a_file_where_a_prefix_lies_is_an_error_when_delete_is_off(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/x/y": b"1", "data/z": b"2"})
    tree = write_tree(tmp_path / "tree", {"x": b"3", "z/below": b"4"})
    with pytest.raises(pos3.UnsafeKeysError) as failure, opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, delete=False)
    assert len(failure.value.problems) == 2
    assert moto_site.objects("data/") == {"x/y": b"1", "z": b"2"}


def test_a_directory_that_became_a_file_replaces_its_objects(moto_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"x/y": b"1", "x/void/": b"", "z": b"2"})
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    for name in ("x/y", "z"):
        (tree / name).unlink()
    (tree / "x" / "void").rmdir()
    (tree / "x").rmdir()
    write_tree(tree, {"x": b"3", "z/below": b"4"})
    time.sleep(1.1)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree)
    assert moto_site.objects("data/") == {"x": b"3", "z/below": b"4"}


def test_a_directory_cannot_be_uploaded_onto_the_key_of_an_object(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put("model", b"weights")
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    with opened(tmp_path), pytest.raises(pos3.ConflictError, match="object"):
        pos3.upload(moto_site.url("model"), tree)
    assert moto_site.objects() == {"model": b"weights"}


# -- one file


@pytest.mark.parametrize("before", [None, b"old"], ids=["new", "replaces"])
def test_a_url_that_names_a_file_uploads_the_file_that_is_written_there(
    s3: S3Site, tmp_path: Path, before: bytes | None
) -> None:
    if before is not None:
        s3.put("models/model.pt", before)
    s3.put("models/other", b"1")
    with opened(tmp_path):
        path = pos3.upload(s3.url("models/model.pt"))
        assert path == tmp_path / "cache" / "_" / s3.bucket / "models" / "model.pt"
        assert path.parent.is_dir()
        assert not path.exists()
        path.write_bytes(b"weights")
    assert s3.objects() == {"models/model.pt": b"weights", "models/other": b"1"}


def test_a_url_that_names_a_file_may_still_be_made_a_directory(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.upload(s3.url("run.final"))
        write_tree(path, {"a": b"1"})
    assert s3.objects() == {"run.final/a": b"1"}


@pytest.mark.parametrize("key", ["run", "run-1.5", "run.v1/", "v2.0.1"])
def test_any_other_url_gives_a_directory(rclone_site: S3Site, tmp_path: Path, key: str) -> None:
    with opened(tmp_path):
        assert pos3.upload(rclone_site.url(key)).is_dir()
    assert rclone_site.keys() == {}


def test_an_existing_file_is_uploaded_under_exactly_the_key(s3: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"weights": b"1"}) / "weights"
    s3.put("best-2", b"stays")
    with opened(tmp_path):
        assert pos3.upload(s3.url("best"), here) == here
    assert s3.objects() == {"best": b"1", "best-2": b"stays"}


# -- background pushes


def test_the_first_push_comes_after_one_interval_and_not_at_once(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    proxy = proxied(s3)
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=0.8)
        registered = time.monotonic()
        eventually(lambda: proxy.count("PUT") == 1)
        assert time.monotonic() - registered >= 0.75


def test_an_interval_of_none_pushes_at_the_end_only(rclone_site: S3Site, tmp_path: Path) -> None:
    threads = threading.active_count()
    with opened(tmp_path):
        write_tree(pos3.upload(rclone_site.url("data"), interval=None), {"a": b"1"})
        time.sleep(0.3)
        assert rclone_site.keys() == {}
        assert threading.active_count() == threads
    assert rclone_site.objects("data/") == {"a": b"1"}


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"a": b"1", "d/b": b"2"}, id="files"),
        pytest.param({}, id="empty"),
        pytest.param({"void/": b""}, id="empty-directory"),
        pytest.param({"a": b"1", "void/": b""}, id="file-and-empty-directory"),
    ],
)
def test_a_background_push_over_an_unchanged_tree_makes_no_request(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, files: dict[str, bytes]
) -> None:
    tree = write_tree(tmp_path / "tree", files)
    proxy = proxied(moto_site)
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=0.1)
        eventually(lambda: {f"data/{name}" for name in files if not name.endswith("/")} <= set(moto_site.keys("data/")))
        time.sleep(0.6)
        proxy.clear()
        time.sleep(0.6)
        assert proxy.requests == []


def test_a_background_push_of_a_synced_prefix_that_did_not_change_makes_no_request(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({"data/a": b"1", "data/b": b"2"})
    proxy = proxied(s3)
    with opened(tmp_path):
        pos3.sync(s3.url("data"), interval=0.1)
        proxy.clear()
        time.sleep(0.6)
        assert proxy.requests == []


def test_background_pushes_send_what_changed_and_only_that(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1111", "b": b"1111"})
    proxy = proxied(s3)
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=0.1)
        eventually(lambda: len(s3.keys("data/")) == 2)
        time.sleep(0.3)
        proxy.clear()
        (tree / "a").write_bytes(b"2222")
        write_tree(tree, {"c": b"3"})
        eventually(lambda: s3.objects("data/") == {"a": b"2222", "b": b"1111", "c": b"3"})
        assert {request.key for request in proxy.requests} == {"data/a", "data/c"}


def test_background_pushes_delete_only_what_this_mirror_had_transferred(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/old": b"1", "data/shared": b"2"})
    time.sleep(1.1)
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"), interval=0.1)
        write_tree(path, {"mine": b"3", "stays": b"4"})
        eventually(lambda: len(s3.keys("data/")) == 4)
        (path / "mine").unlink()
        eventually(lambda: "data/mine" not in s3.keys("data/"))
        assert set(s3.keys("data/")) == {"data/old", "data/shared", "data/stays"}
    assert set(s3.keys("data/")) == {"data/stays"}


def test_background_pushes_delete_nothing_when_delete_is_off(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.upload(s3.url("data"), interval=0.1, delete=False)
        write_tree(path, {"mine": b"3", "stays": b"4"})
        eventually(lambda: len(s3.keys("data/")) == 2)
        (path / "mine").unlink()
        write_tree(path, {"later": b"5"})
        eventually(lambda: len(s3.keys("data/")) == 3)
    assert set(s3.objects("data/")) == {"mine", "stays", "later"}


def test_background_pushes_delete_nothing_when_all_local_files_are_gone(rclone_site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.upload(rclone_site.url("data"), interval=0.1)
        write_tree(path, {"a": b"3", "b": b"4"})
        eventually(lambda: len(rclone_site.keys("data/")) == 2)
        (path / "a").unlink()
        (path / "b").unlink()
        time.sleep(0.5)
    assert set(rclone_site.objects("data/")) == {"a", "b"}


def test_a_background_push_that_fails_is_tried_again(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT"), times=2))
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, interval=0.1)
        eventually(lambda: "data/a" in rclone_site.keys())
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all("data/a" in record.getMessage() for record in warnings)


def test_repeated_background_failures_are_raised_at_the_end(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    with pytest.raises(pos3.TransferError, match="data/a"), opened(tmp_path):  # noqa: PT012
        pos3.upload(rclone_site.url("data"), tree, interval=0.1)
        time.sleep(0.5)


def test_a_slow_background_push_and_the_final_one_do_not_collide(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {str(number): b"1" for number in range(5)})
    proxy = proxied(rclone_site, Latency(seconds=0.7, match=on("PUT")))
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, interval=0.1)
        eventually(lambda: proxy.count("PUT") > 0)
    done = [request.key for request in proxy.requests if request.kind == "PUT" and request.status == 200]
    assert sorted(done) == [f"data/{number}" for number in range(5)]
    assert rclone_site.objects("data/") == contents(tree)


# -- files that change


def test_a_file_that_changes_while_it_is_uploaded_is_pushed_again(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"log": b"first"})
    changed = threading.Event()

    def change(request: object) -> bool:
        if on("PUT")(request) and not changed.is_set():  # type: ignore[arg-type]
            changed.set()
            (tree / "log").write_bytes(b"again")
        return False

    proxied(s3, Status(match=change))
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert changed.is_set()
    assert s3.objects("data/") == {"log": b"again"}


def test_a_file_that_changes_during_a_background_push_is_pushed_at_the_next_tick(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"log": b"first"})
    changed = threading.Event()

    def change(request: object) -> bool:
        if on("PUT")(request) and not changed.is_set():  # type: ignore[arg-type]
            changed.set()
            (tree / "log").write_bytes(b"again")
        return False

    proxied(s3, Status(match=change))
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=0.1)
        eventually(lambda: s3.objects("data/") == {"log": b"again"})


def test_a_log_that_keeps_growing_is_uploaded_as_one_of_its_states_and_reported(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"log": b"line\n" * 1000, "still": b"1"})

    def grow(request: object) -> bool:
        if on("PUT", key="log$")(request):  # type: ignore[arg-type]
            with (tree / "log").open("ab") as log:
                log.write(b"more\n")
        return False

    proxied(s3, Status(match=grow))
    with opened(tmp_path) as mirror:
        pos3.upload(s3.url("data"), tree)
    assert (tree / "log").read_bytes().startswith(s3.get("data/log"))
    assert [item.path for item in mirror.report().kept] == ["log"]


def test_a_file_that_vanishes_while_it_is_uploaded_is_no_failure(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {f"{number}": b"1" for number in range(60)})

    def vanish(request: object) -> bool:
        if on("PUT")(request):  # type: ignore[arg-type]
            (tree / "59").unlink(missing_ok=True)
        return False

    proxied(s3, Status(match=vanish))
    with pos3.mirror(tmp_path / "cache", show_progress=False, max_workers=1):
        pos3.upload(s3.url("data"), tree)
    assert set(s3.objects("data/")) - {"59"} == {str(number) for number in range(59)}


def test_a_file_that_vanishes_right_after_its_body_was_sent_is_deleted_again(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"stays": b"1", "vanishes": b"2"})
    sent = threading.Event()

    def vanish(request: object) -> bool:
        if on("PUT", key="vanishes$")(request):  # type: ignore[arg-type]
            (tree / "vanishes").unlink(missing_ok=True)
            sent.set()
        return False

    proxied(s3, Status(match=vanish))
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=0.1)
        assert sent.wait(10)
        eventually(lambda: set(s3.keys("data/")) == {"data/stays"})
    assert s3.objects("data/") == {"stays": b"1"}


# -- order


def test_data_goes_first_then_markers_then_deletes(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put("data/old", b"")
    files = {f"part-{number}": b"1" for number in range(8)}
    tree = write_tree(tmp_path / "tree", files | {"_SUCCESS": b"", "deep/_SUCCESS": b"", "A.done": b""})
    proxy = proxied(s3, Latency(seconds=0.1, match=on("PUT", key="part")))
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, upload_last=["_SUCCESS", "*.done"])
    order = [request.key or request.kind for request in proxy.requests if request.kind in ("PUT", "POST ?delete")]
    assert set(order[:8]) == {f"data/{name}" for name in files}
    assert set(order[8:11]) == {"data/_SUCCESS", "data/deep/_SUCCESS", "data/A.done"}
    assert order[11:] == ["POST ?delete"]


def test_markers_do_not_go_when_the_data_did_not(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b": b"2", "_SUCCESS": b""})
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="b$")))
    with pytest.raises(pos3.TransferError), opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, upload_last="_SUCCESS")
    assert set(rclone_site.objects("data/")) == {"a"}


def test_overwrite_pushes_a_file_whether_it_changed_or_not(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "state.json": b"{}"})
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree)
    proxy = proxied(rclone_site)
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree, overwrite="state.json")
    assert [request.key for request in proxy.requests if request.kind == "PUT"] == ["data/state.json"]


@pytest.mark.parametrize("call", [pos3.upload, pos3.sync])
@pytest.mark.parametrize(
    ("overwrite", "pushed"),
    [
        (["state"], set()),
        (["state/*"], {"data/state/journal", "data/state/other"}),
        (["state/**"], {"data/state/journal", "data/state/other"}),
        (["journal"], {"data/state/journal"}),
        (["state/journal"], {"data/state/journal"}),
        (["/journal"], set()),
        (["*"], {"data/state/journal", "data/state/other"}),
    ],
)
def test_overwrite_names_files_themselves_and_not_what_lies_in_a_directory_of_that_name(
    rclone_site: S3Site,
    tmp_path: Path,
    proxied: PutBefore,
    call: Callable[..., Path],
    overwrite: list[str],
    pushed: set[str],
) -> None:
    tree = write_tree(tmp_path / "tree", {"state/journal": b"1", "state/other": b"2"})
    with opened(tmp_path):
        pos3.upload(rclone_site.url("data"), tree)
    proxy = proxied(rclone_site)
    with opened(tmp_path):
        planned = pos3.plan_upload(rclone_site.url("data"), tree, None, None, overwrite)
        call(rclone_site.url("data"), tree, interval=None, overwrite=overwrite)
    assert {request.key for request in proxy.requests if request.kind == "PUT"} == pushed
    assert {url for _, url in planned.to_copy} == {rclone_site.url(str(key)) for key in pushed}
    assert rclone_site.objects("data/") == {"state/journal": b"1", "state/other": b"2"}


def test_overwrite_of_a_single_file_chooses_nothing(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    (tmp_path / "model.pt").write_bytes(b"1")
    with opened(tmp_path):
        pos3.upload(rclone_site.url("model.pt"), tmp_path / "model.pt")
    proxy = proxied(rclone_site)
    with opened(tmp_path):
        pos3.upload(rclone_site.url("model.pt"), tmp_path / "model.pt", overwrite=["*", "model.pt"])
    assert "PUT" not in proxy.kinds


def test_overwrite_of_a_directory_is_refused_with_what_chooses_its_files(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match=r"overwrite='state/' .* 'state/\*\*'"):
        pos3.upload("s3://pos3-test-nobody/data", overwrite=["state/"])


# -- flush, rate, plans


def test_flush_returns_when_the_files_are_in_the_store(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        first, second = pos3.upload(s3.url("first")), pos3.upload(s3.url("second"))
        write_tree(first, {"a": b"1"})
        write_tree(second, {"b": b"22"})
        report = pos3.flush(first / "a")
        assert (report.uploaded_files, report.uploaded_bytes) == (1, 1)
        assert set(s3.keys()) == {"first/a"}
        pos3.flush(s3.url("second"))
        assert set(s3.keys()) == {"first/a", "second/b"}
        assert pos3.flush().uploaded_files == 0
        with pytest.raises(pos3.InvalidArgumentError, match="not registered"):
            pos3.flush(tmp_path)


def test_flush_gives_up_waiting_after_its_timeout(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    with opened(tmp_path):
        write_tree(pos3.upload(rclone_site.url("data")), {"a": b"1"})
        proxied(rclone_site, Latency(seconds=2, match=on("PUT")))
        began = time.monotonic()
        with contextlib.suppress(pos3.PushTimeoutError):
            pos3.flush(timeout=0.2)
        assert time.monotonic() - began < 1.5
    assert rclone_site.objects("data/") == {"a": b"1"}


def test_the_upload_rate_is_kept_over_all_files_together(rclone_site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {str(number): pseudo_random(50_000, number) for number in range(6)})
    began = time.monotonic()
    with pos3.mirror(tmp_path / "cache", False, 6, None, 200_000):
        pos3.upload(rclone_site.url("data"), tree)
    elapsed = time.monotonic() - began
    assert rclone_site.objects("data/") == contents(tree)
    assert 1.2 <= elapsed < 6


def test_a_planned_upload_names_every_copy_and_delete_and_changes_nothing(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/same": b"1", "data/changed": b"22", "data/old": b"3"})
    tree = write_tree(tmp_path / "tree", {"same": b"1", "changed": b"33", "d/new": b"4"})
    before = s3.keys()
    with opened(tmp_path):
        plan = pos3.plan_upload(s3.url("data"), tree)
    assert plan == pos3.TransferPlan(
        [(str(tree / "changed"), s3.url("data/changed")), (str(tree / "d" / "new"), s3.url("data/d/new"))],
        [s3.url("data/old")],
    )
    assert s3.keys() == before


def test_stored_files_can_be_read_by_whoever_owns_the_directory(rclone_site: S3Site, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with opened(tmp_path):
            path = pos3.upload(rclone_site.url("a/b/c"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
