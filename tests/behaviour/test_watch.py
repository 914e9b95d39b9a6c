"""`upload(..., watch=True)`: files are pushed as soon as they have been written, and nothing else is looked at."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers import inotify_c

import pos3
from tests.faults.base import eventually
from tests.support import Proxy, S3Site, Slowdown, Status, on, write_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells less")

PutBefore = Callable[..., Proxy]
# Longer than what a watch takes to push.
LONG_ENOUGH_SECONDS = 1.0


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[pos3.Mirror]:
    with pos3.mirror(tmp_path / "cache", show_progress=False) as opened:
        yield opened


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    return rclone_site


@pytest.fixture
def out(site: S3Site, mirror: pos3.Mirror) -> Path:
    """A directory that only the watch pushes."""
    return mirror.upload(site.url("out"), interval=None, watch=True)


def arrived(site: S3Site, key: str, content: bytes) -> None:
    eventually(lambda: key in site.keys() and site.get(key) == content)


@pytest.mark.parametrize("name", ["a", "new/deep/a", "é ü", "z.txt"])
def test_a_file_is_pushed_when_it_is_closed(site: S3Site, out: Path, name: str) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(b"1")
    arrived(site, f"out/{name}", b"1")
    (out / name).write_bytes(b"22")
    arrived(site, f"out/{name}", b"22")


def test_a_file_is_not_pushed_while_it_is_open(site: S3Site, out: Path) -> None:
    with (out / "open").open("wb") as file:
        file.write(b"1")
        file.flush()
        (out / "closed").write_bytes(b"2")
        arrived(site, "out/closed", b"2")
        time.sleep(LONG_ENOUGH_SECONDS)
        assert "out/open" not in site.keys()
        file.write(b"1")
    arrived(site, "out/open", b"11")


def test_a_file_in_a_new_directory_is_not_pushed_while_it_is_open(site: S3Site, out: Path) -> None:
    (out / "new").mkdir()
    with (out / "new/open").open("wb") as file:
        file.write(b"1")
        file.flush()
        time.sleep(LONG_ENOUGH_SECONDS)
        assert "out/new/open" not in site.keys()
    arrived(site, "out/new/open", b"1")


def test_a_file_that_was_closed_and_opened_again_waits_for_its_end(site: S3Site, out: Path) -> None:
    (out / "log").write_bytes(b"1")
    with (out / "log").open("ab") as file:
        time.sleep(LONG_ENOUGH_SECONDS)
        assert "out/log" not in site.keys()
        file.write(b"2")
    arrived(site, "out/log", b"12")


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_file_that_is_renamed_into_place_is_pushed_under_that_name_alone(
    site: S3Site, mirror: pos3.Mirror, tmp_path: Path, where: str
) -> None:
    out = mirror.upload(site.url("out"), tmp_path / "out", interval=None, watch=True, exclude="*.tmp")
    temporary = (out if where == "inside" else tmp_path) / "a.tmp"
    temporary.write_bytes(b"1")
    temporary.rename(out / "a")
    arrived(site, "out/a", b"1")
    assert set(site.keys()) == {"out/a"}


def test_a_tree_that_is_moved_in_is_pushed_and_watched(site: S3Site, out: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b/c/d": b"2"})
    tree.rename(out / "tree")
    arrived(site, "out/tree/a", b"1")
    arrived(site, "out/tree/b/c/d", b"2")
    (out / "tree/b/c/later").write_bytes(b"3")
    arrived(site, "out/tree/b/c/later", b"3")


def test_a_tree_that_is_renamed_is_pushed_under_its_new_name(site: S3Site, out: Path) -> None:
    write_tree(out / "old", {"a/b": b"1"})
    arrived(site, "out/old/a/b", b"1")
    (out / "old").rename(out / "new")
    arrived(site, "out/new/a/b", b"1")
    (out / "new/a/c").write_bytes(b"2")
    arrived(site, "out/new/a/c", b"2")


def test_a_tree_that_is_copied_in_is_pushed_as_a_whole(site: S3Site, out: Path, tmp_path: Path) -> None:
    files = {f"{number % 5}/{number % 3}/{number}": b"1" for number in range(60)}
    shutil.copytree(write_tree(tmp_path / "tree", files), out / "tree")
    eventually(lambda: set(site.keys("out/tree/")) == {f"out/tree/{path}" for path in files})


def test_directories_that_are_made_in_new_ones_are_all_watched(site: S3Site, out: Path) -> None:
    # The system may tell of an inner one after it was found with its parent. A warning would end the thread here.
    deep = [out / f"{number}/deep" for number in range(100)]
    for directory in deep:
        directory.mkdir(parents=True)
    time.sleep(LONG_ENOUGH_SECONDS)
    for directory in deep:
        (directory / "a").write_bytes(b"1")
    eventually(lambda: set(site.keys()) == {f"out/{number}/deep/a" for number in range(100)})


def test_a_single_file_is_pushed_when_it_is_closed_and_its_neighbours_are_not(
    site: S3Site, mirror: pos3.Mirror, tmp_path: Path
) -> None:
    model = mirror.upload(site.url("m/model.pt"), tmp_path / "model.pt", interval=None, watch=True)
    (tmp_path / "other.pt").write_bytes(b"0")
    model.write_bytes(b"1")
    arrived(site, "m/model.pt", b"1")
    (tmp_path / "model.tmp").write_bytes(b"2")
    (tmp_path / "model.tmp").replace(model)
    arrived(site, "m/model.pt", b"2")
    assert set(site.keys()) == {"m/model.pt"}


def test_what_takes_no_part_causes_no_request(
    site: S3Site, proxied: PutBefore, mirror: pos3.Mirror, tmp_path: Path
) -> None:
    proxy = proxied(site)
    out = mirror.upload(site.url("out"), tmp_path / "out", interval=None, watch=True, exclude=["*.log", "skipped/"])
    proxy.clear()
    (out / "a.log").write_bytes(b"1")
    write_tree(out / "skipped", {"b": b"1"})
    (out / ".pos3-0123abcd-7-0123456789ab.tmp").write_bytes(b"1")
    (out / "a").write_bytes(b"1")
    (out / "a").unlink()
    time.sleep(LONG_ENOUGH_SECONDS)
    assert proxy.requests == []
    (out / "b").write_bytes(b"1")
    eventually(lambda: proxy.requests)
    assert {request.kind for request in proxy.requests} == {"PUT"}
    assert {request.key for request in proxy.requests} == {"out/b"}


def test_a_file_that_was_touched_by_its_own_bytes_is_pushed_once(
    site: S3Site, proxied: PutBefore, mirror: pos3.Mirror
) -> None:
    proxy = proxied(site)
    out = mirror.upload(site.url("out"), interval=None, watch=True)
    (out / "a").write_bytes(b"1")
    eventually(lambda: "out/a" in site.keys())
    with (out / "a").open("ab"):
        pass
    (out / "b").write_bytes(b"2")
    eventually(lambda: "out/b" in site.keys())
    assert [request.key for request in proxy.requests if request.kind == "PUT"] == ["out/a", "out/b"]


def test_deletions_wait_for_the_end(site: S3Site, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        out = pos3.upload(site.url("out"), interval=None, watch=True)
        (out / "a").write_bytes(b"1")
        arrived(site, "out/a", b"1")
        (out / "a").unlink()
        (out / "b").write_bytes(b"2")
        arrived(site, "out/b", b"2")
        assert set(site.keys()) == {"out/a", "out/b"}
    assert set(site.keys()) == {"out/b"}


def test_the_file_that_comes_last_is_pushed_after_all_others(site: S3Site, mirror: pos3.Mirror, tmp_path: Path) -> None:
    # This one was there before the watch, so only a push of everything takes it.
    write_tree(tmp_path / "out", {"early": b"0"})
    out = mirror.upload(site.url("out"), tmp_path / "out", interval=None, watch=True, upload_last="_SUCCESS")
    (out / "a").write_bytes(b"1")
    (out / "_SUCCESS").touch()
    eventually(lambda: "out/_SUCCESS" in site.keys())
    assert set(site.keys()) == {"out/a", "out/early", "out/_SUCCESS"}


@pytest.mark.parametrize("compare", ["size", "checksum"])
def test_another_way_of_comparing_asks_for_the_object(
    site: S3Site, proxied: PutBefore, mirror: pos3.Mirror, compare: str
) -> None:
    site.put("out/same", b"1")
    proxy = proxied(site)
    out = mirror.upload(site.url("out"), interval=None, watch=True, compare=compare)  # type: ignore[arg-type]
    (out / "same").write_bytes(b"1")
    (out / "other").write_bytes(b"2")
    arrived(site, "out/other", b"2")
    assert [request.key for request in proxy.requests if request.kind == "PUT"] == ["out/other"]


def test_a_push_of_everything_still_compares_files_that_were_never_pushed_from_here(
    site: S3Site, proxied: PutBefore, mirror: pos3.Mirror, tmp_path: Path
) -> None:
    write_tree(tmp_path / "out", {"same": b"1", "differs": b"2"})
    site.put_all({"out/same": b"1", "out/differs": b"0"})
    proxy = proxied(site)
    out = mirror.upload(site.url("out"), tmp_path / "out", interval=None, watch=True)
    for name in ("new", "newer"):
        (out / name).write_bytes(b"3")
        arrived(site, f"out/{name}", b"3")
    mirror.flush()
    assert site.objects("out/") == {"same": b"1", "differs": b"2", "new": b"3", "newer": b"3"}
    sent = [request.key for request in proxy.requests if request.kind == "PUT"]
    assert sorted(sent) == ["out/differs", "out/new", "out/newer"]


def test_a_sync_watches_what_it_has_downloaded(site: S3Site, mirror: pos3.Mirror) -> None:
    site.put("ckpt/last", b"1")
    ckpt = mirror.sync(site.url("ckpt"), interval=None, watch=True)
    (ckpt / "last").write_bytes(b"22")
    arrived(site, "ckpt/last", b"22")


def test_a_second_call_that_watches_makes_the_first_one_watch(site: S3Site, mirror: pos3.Mirror) -> None:
    out = mirror.upload(site.url("out"), interval=None)
    assert mirror.upload(site.url("out"), interval=None, watch=True) == out
    assert mirror.upload(site.url("out"), interval=None) == out
    (out / "a").write_bytes(b"1")
    arrived(site, "out/a", b"1")


def test_the_interval_still_pushes_what_the_watch_leaves(site: S3Site, mirror: pos3.Mirror, tmp_path: Path) -> None:
    elsewhere = write_tree(tmp_path / "elsewhere", {"a": b"1"})
    out = mirror.upload(site.url("out"), tmp_path / "out", interval=0.3, watch=True)
    (out / "link").symlink_to(elsewhere)
    arrived(site, "out/link/a", b"1")
    (elsewhere / "a").write_bytes(b"22")
    arrived(site, "out/link/a", b"22")


def test_a_slow_store_gets_one_push_at_a_time_and_the_last_content(
    site: S3Site, proxied: PutBefore, mirror: pos3.Mirror
) -> None:
    proxy = proxied(site, Slowdown(0.3, match=on("PUT")))
    out = mirror.upload(site.url("out"), interval=None, watch=True)
    for number in range(20):
        (out / "a").write_bytes(b"x" * number)
        (out / str(number)).write_bytes(b"1")
        time.sleep(0.05)
    arrived(site, "out/a", b"x" * 19)
    eventually(lambda: len(site.keys()) == 21)
    assert len([request for request in proxy.requests if request.key == "out/a"]) < 10


def test_a_push_that_fails_is_logged_and_the_end_makes_up_for_it(
    site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    proxied(site, Status(403, "AccessDenied", match=on("PUT"), times=1))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        out = pos3.upload(site.url("out"), interval=None, watch=True)
        (out / "a").write_bytes(b"1")
        eventually(lambda: "background push of" in caplog.text)
        assert site.keys() == {}
    assert site.objects("out/") == {"a": b"1"}


def test_no_event_makes_a_scan_of_the_tree(site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "out", {f"{number % 20}/{number}": b"" for number in range(200)})
    scanned: list[object] = []

    def counted(scan: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: object = ".") -> Any:
            if str(path).startswith(str(tmp_path / "out")):
                scanned.append(path)
            return scan(path)

        return call

    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        out = mirror.upload(site.url("out"), tmp_path / "out", interval=None, watch=True)
        for name in ("scandir", "listdir"):
            monkeypatch.setattr(os, name, counted(getattr(os, name)))
        for number in range(3):
            (out / f"10/{number}").write_bytes(b"1")
            arrived(site, f"out/10/{number}", b"1")
        assert scanned == []
        assert len(site.keys()) == 3
        # A push of everything does scan it, so the counting works.
        mirror.flush(out)
        assert len(scanned) >= 21
        assert len(site.keys()) == 203


def watches() -> int:
    """How many queues of events this process has."""
    return sum(os.path.realpath(f"/proc/self/fd/{fd}").endswith("inotify") for fd in os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("error", [None, ValueError("no")], ids=["well", "with an error"])
def test_the_end_of_the_mirror_leaves_no_thread_and_no_watch(
    site: S3Site, tmp_path: Path, error: Exception | None
) -> None:
    before, open_before = set(threading.enumerate()), watches()
    mirror = pos3.Mirror(pos3.MirrorOptions(cache_root=tmp_path / "cache", show_progress=False)).open()
    for name in ("a", "b"):
        out = mirror.upload(site.url(name), interval=None, watch=True)
        (out / "a").write_bytes(b"1")
        arrived(site, f"{name}/a", b"1")
    assert watches() == open_before + 1
    mirror.close(error)
    started = set(threading.enumerate()) - before
    assert [thread for thread in started if "watchdog" in type(thread).__module__ or thread.name == "pos3-push"] == []
    assert watches() == open_before


def test_an_end_in_the_middle_of_many_events_is_quiet_and_complete(
    site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        out = pos3.upload(site.url("out"), interval=None, watch=True)
        write_tree(out, {str(number): b"1" for number in range(100)})
        (out / "0").rename(tmp_path / "outside")
    assert len(site.keys()) == 99
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_watch(site: S3Site, mirror: pos3.Mirror, tmp_path: Path) -> None:
    out = mirror.upload(site.url("out"), tmp_path / "out", interval=None, watch=True)
    child = os.fork()
    if child == 0:
        pos3.upload(site.url("theirs"), tmp_path / "theirs", interval=None, watch=True)
        (tmp_path / "theirs/a").write_bytes(b"1")
        (out / "of-child").write_bytes(b"1")
        started = threading.active_count() > 1
        os._exit(1 if started else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # What the child writes into the watched directory, its parent pushes.
    arrived(site, "out/of-child", b"1")
    assert set(site.keys()) == {"out/of-child"}


@pytest.mark.parametrize("after", [0, 1], ids=["at the root", "below it"])
def test_where_the_watches_run_out_one_warning_comes_and_the_interval_pushes(
    site: S3Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    after: int,
) -> None:
    real, calls = inotify_c.inotify_add_watch, []

    def limited(descriptor: int, path: bytes, mask: int) -> int:
        calls.append(path)
        if len(calls) <= after:
            return real(descriptor, path, mask)
        inotify_c.ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(inotify_c, "inotify_add_watch", limited)
    write_tree(tmp_path / "out", {"a/a": b"1", "b/b": b"1"})
    with caplog.at_level(logging.WARNING, "pos3"), pos3.mirror(tmp_path / "cache", show_progress=False):
        for name in ("out", "again"):
            pos3.upload(site.url(name), tmp_path / "out", interval=0.3, watch=True, delete=False)
        (tmp_path / "out/a/late").write_bytes(b"2")
        arrived(site, "out/a/late", b"2")
    warned = [record.message for record in caplog.records if "watched" in record.message]
    limit = "the system's limit of watches is reached (raise fs.inotify.max_user_watches)"
    assert warned == [
        f"not all files are watched: {limit}. What is written there is pushed by interval, and at the end"
    ]


def test_a_watched_directory_that_is_removed_is_told(site: S3Site, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    out.rmdir()
    eventually(lambda: f"{out} was removed" in caplog.text)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_watch_is_true_or_false(mirror: pos3.Mirror, value: object) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match=f"watch={value!r}: expected True or False"):
        mirror.upload("s3://bucket/out", watch=value)  # type: ignore[arg-type]
