"""Complete sets: ``pos3.publish`` puts the marker last, and ``require_marker`` gives its readers whole sets only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Hang, Latency, Proxy, S3Site, Status, contents, on, write_tree
from tests.support.program import ROOT, run_program

PutBefore = Callable[..., Proxy]
NAMES = ("a.txt", "b/c.txt", "b/d.txt", "z.txt")
ONE = dict.fromkeys(NAMES, b"1")
TWO = dict.fromkeys(NAMES, b"2")
MARKER = "_SUCCESS"


def publish(site: S3Site, cache: Path, files: dict[str, bytes], **options: Any) -> None:
    local = write_tree(cache / "source" / os.urandom(4).hex(), files)
    with pos3.mirror(cache, show_progress=False):
        pos3.publish(site.url("set"), local, **options)


def read(site: S3Site, cache: Path, **options: Any) -> dict[str, bytes]:
    """The files of the set, without the marker."""
    with pos3.mirror(cache, show_progress=False, max_workers=1):
        found = contents(pos3.download(site.url("set"), require_marker=MARKER, **options))
    found.pop(MARKER, None)
    return found


def data(site: S3Site) -> dict[str, bytes]:
    return {path: content for path, content in site.objects("set/").items() if path != MARKER}


class Meddler:
    """A progress that does something when the first file of a transfer has arrived, once."""

    def __init__(self, meddle: Callable[[], object]):
        self._meddle: Callable[[], object] | None = meddle

    def __call__(self, title: str, files: int, size_bytes: int) -> Meddler:
        return self

    def moved(self, size_bytes: int) -> None:
        pass

    def finished_file(self) -> None:
        meddle, self._meddle = self._meddle, None
        if meddle is not None:
            meddle()

    def close(self) -> None:
        pass


def read_while(site: S3Site, cache: Path, meddle: Callable[[], object], **options: Any) -> dict[str, bytes]:
    """What a reader gets while ``meddle`` happens after its first file."""
    one_by_one = pos3.MirrorOptions(cache_root=cache, show_progress=False, max_workers=1)
    mirror = pos3.Mirror(one_by_one, progress=Meddler(meddle)).open()
    try:
        found = contents(mirror.download(site.url("set"), require_marker=MARKER, **options))
    finally:
        mirror.close(push=False)
    found.pop(MARKER, None)
    return found


# Writing


def test_the_old_marker_goes_first_and_the_new_one_comes_last(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    publish(s3, tmp_path, {**ONE, "stale": b"1"})
    assert data(s3) == {**ONE, "stale": b"1"}
    before = s3.get(f"set/{MARKER}")
    proxy = proxied(s3)
    publish(s3, tmp_path, TWO)
    assert data(s3) == TWO
    assert s3.get(f"set/{MARKER}") != before
    writes = [request for request in proxy.requests if request.method in ("PUT", "POST", "DELETE")]
    kinds = ["put" if request.kind == "PUT" else "delete" for request in writes]
    assert kinds == ["delete", *["put"] * len(TWO), "delete", "put"]
    assert [request.key for request in writes if request.kind == "PUT"][-1] == f"set/{MARKER}"


def test_a_set_that_is_there_already_is_left_as_it_is(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    publish(rclone_site, tmp_path, ONE)
    proxy = proxied(rclone_site)
    publish(rclone_site, tmp_path, ONE)
    assert [request for request in proxy.requests if request.method in ("PUT", "POST", "DELETE")] == []
    rclone_site.delete(f"set/{MARKER}")
    publish(rclone_site, tmp_path, ONE)
    assert proxy.count("PUT") == 1
    assert read(rclone_site, tmp_path / "reader") == ONE


def test_a_publication_that_fails_leaves_no_marker_and_another_one_goes_on(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    publish(rclone_site, tmp_path, {**ONE, "stale": b"1"})
    proxy = proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="z.txt")))
    with pytest.raises(pos3.TransferError, match=r"z\.txt"):
        publish(rclone_site, tmp_path, TWO)
    assert f"set/{MARKER}" not in rclone_site.keys()
    assert rclone_site.get("set/stale") == b"1"
    with pytest.raises(pos3.IncompleteSetError):
        read(rclone_site, tmp_path / "reader")
    proxy.inject()
    proxy.clear()
    publish(rclone_site, tmp_path, TWO)
    assert [request.key for request in proxy.requests if request.kind == "PUT"] == ["set/z.txt", f"set/{MARKER}"]
    assert read(rclone_site, tmp_path / "reader") == TWO


SCRIPT = """
import sys, pos3
url, local, cache = sys.argv[1:]
with pos3.mirror(cache, show_progress=False, max_workers=1):
    pos3.publish(url, local)
"""


def test_a_publisher_that_is_killed_leaves_no_marker(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    publish(rclone_site, tmp_path, ONE)
    proxy = proxied(rclone_site, Hang(match=on("PUT", key="z.txt")))
    local = write_tree(tmp_path / "two", TWO)
    command = [sys.executable, "-c", SCRIPT, rclone_site.url("set"), str(local), str(tmp_path / "killed")]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        for _ in range(1200):
            if any(request.key == "set/z.txt" and request.kind == "PUT" for request in proxy.requests):
                break
            assert child.poll() is None
            threading.Event().wait(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    proxy.inject()
    assert set(rclone_site.keys()) == {f"set/{name}" for name in NAMES}
    with pytest.raises(pos3.IncompleteSetError):
        read(rclone_site, tmp_path / "reader")
    publish(rclone_site, tmp_path, TWO)
    assert read(rclone_site, tmp_path / "reader") == TWO


def test_what_changes_while_it_is_published_gets_no_marker(rclone_site: S3Site, tmp_path: Path) -> None:
    local = write_tree(tmp_path / "source", ONE)
    for meddle in (lambda: write_tree(local, {"more": b"1"}), lambda: rclone_site.put("set/theirs", b"1")):
        options = pos3.MirrorOptions(cache_root=tmp_path, show_progress=False, max_workers=1)
        mirror = pos3.Mirror(options, progress=Meddler(meddle)).open()
        write_tree(local, {"a.txt": os.urandom(4)})
        with pytest.raises(pos3.IncompleteSetError, match=r"more|theirs"):
            mirror.publish(rclone_site.url("set"), local)
        mirror.close()
        assert f"set/{MARKER}" not in rclone_site.keys()


@pytest.mark.parametrize(
    ("error", "match", "prepare"),
    [
        pytest.param(pos3.InvalidArgumentError, "no directory", lambda local: None, id="missing"),
        pytest.param(pos3.InvalidArgumentError, "no directory", lambda local: local.write_text("x"), id="a file"),
        pytest.param(pos3.InvalidArgumentError, "no files", lambda local: local.mkdir(), id="empty"),
        pytest.param(
            pos3.PlanRefusedError,
            "pipe",
            lambda local: (write_tree(local, TWO), os.mkfifo(local / "pipe")),
            id="something unreadable",
        ),
        pytest.param(
            pos3.ConflictError,
            "registered for upload",
            lambda local: (write_tree(local, TWO), pos3.upload(os.environ["SET_URL"], interval=None)),
            id="registered for upload",
        ),
    ],
)
def test_what_cannot_be_published_whole_changes_nothing(
    rclone_site: S3Site,
    tmp_path: Path,
    error: type[Exception],
    match: str,
    prepare: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(rclone_site, tmp_path, ONE)
    monkeypatch.setenv("SET_URL", rclone_site.url("set/below"))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        prepare(tmp_path / "local")
        with pytest.raises(error, match=match):
            pos3.publish(rclone_site.url("set"), tmp_path / "local")
    assert read(rclone_site, tmp_path / "reader") == ONE


@pytest.mark.parametrize("marker", ["", "/x", "x/", "../x", "a//b", 1, None])
def test_a_marker_must_be_a_name_below_the_url(rclone_site: S3Site, tmp_path: Path, marker: Any) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match="marker"):
        publish(rclone_site, tmp_path, ONE, marker=marker)
    assert rclone_site.objects() == {}


def test_a_local_file_with_the_name_of_the_marker_takes_no_part(rclone_site: S3Site, tmp_path: Path) -> None:
    publish(rclone_site, tmp_path, {**ONE, MARKER: b"mine", "b/_SUCCESS": b"data"})
    assert rclone_site.get(f"set/{MARKER}") != b"mine"
    assert read(rclone_site, tmp_path / "reader") == {**ONE, "b/_SUCCESS": b"data"}


# Reading


def test_a_set_without_a_marker_is_a_clear_error_and_nothing_is_changed(rclone_site: S3Site, tmp_path: Path) -> None:
    publish(rclone_site, tmp_path, ONE)
    assert read(rclone_site, tmp_path / "reader") == ONE
    rclone_site.delete(f"set/{MARKER}")
    rclone_site.put("set/a.txt", b"2")
    for options in ({}, {"missing_ok": True}):
        with pytest.raises(FileNotFoundError, match="set/_SUCCESS: the marker does not exist"):
            read(rclone_site, tmp_path / "reader", **options)
    assert (tmp_path / "reader" / "_" / rclone_site.bucket / "set" / "a.txt").read_bytes() == b"1"
    ran = run_program(
        "download", rclone_site.url("set"), "--require-marker", MARKER, "--cache-root", tmp_path / "reader"
    )
    assert (ran.status, ran.stdout) == (1, "")
    assert "set/_SUCCESS: the marker does not exist" in ran.stderr


def test_where_nothing_is_missing_ok_gives_an_empty_directory(rclone_site: S3Site, tmp_path: Path) -> None:
    assert read(rclone_site, tmp_path, missing_ok=True) == {}
    with pytest.raises(pos3.RemoteNotFoundError):
        read(rclone_site, tmp_path)


def test_a_set_that_is_replaced_while_it_is_read_is_read_again(s3: S3Site, tmp_path: Path) -> None:
    publish(s3, tmp_path, {**ONE, "stale": b"1"})
    assert read_while(s3, tmp_path / "reader", lambda: publish(s3, tmp_path, {**TWO, "new": b"2"})) == {
        **TWO,
        "new": b"2",
    }


def test_a_publication_that_goes_on_for_long_is_an_error_for_readers(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pos3.jobs.complete_sets._PAUSES_SECONDS", (0.01, 0.01))
    publish(rclone_site, tmp_path, ONE)
    with pytest.raises(pos3.IncompleteSetError, match="being replaced"):
        read_while(rclone_site, tmp_path / "reader", lambda: rclone_site.delete(f"set/{MARKER}"))


def test_a_set_that_is_half_new_is_not_taken_for_a_whole_one(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pos3.jobs.complete_sets._PAUSES_SECONDS", (0.01, 0.01))
    publish(rclone_site, tmp_path, ONE)

    def begin_to_replace() -> None:
        rclone_site.delete(f"set/{MARKER}")
        rclone_site.put("set/z.txt", b"2")

    with pytest.raises(pos3.IncompleteSetError, match="being replaced"):
        read_while(rclone_site, tmp_path / "reader", begin_to_replace, exclude=MARKER)


def test_an_object_that_is_replaced_after_it_was_read_is_read_again(rclone_site: S3Site, tmp_path: Path) -> None:
    publish(rclone_site, tmp_path, ONE)
    found = read_while(rclone_site, tmp_path / "reader", lambda: rclone_site.put("set/a.txt", b"2"), exclude=MARKER)
    assert found == {**ONE, "a.txt": b"2"}


def test_readers_during_publications_get_whole_sets(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    publish(rclone_site, tmp_path, ONE)
    proxied(rclone_site, Latency(seconds=0.05, match=on("PUT", "GET")))
    seen: list[dict[str, bytes]] = []
    writer = threading.Thread(
        target=lambda: [publish(rclone_site, tmp_path, files) for files in (TWO, ONE, TWO, ONE, TWO)]
    )
    writer.start()
    while writer.is_alive():
        with contextlib.suppress(pos3.IncompleteSetError):
            seen.append(read(rclone_site, tmp_path / "reader"))
    assert all(found in (ONE, TWO) for found in seen)
    assert seen
    assert read(rclone_site, tmp_path / "reader") == TWO


@pytest.mark.parametrize("content", [b"", b'{"done": true}', b"[1]", b"\xff"])
def test_markers_of_other_writers_count_by_their_presence(rclone_site: S3Site, tmp_path: Path, content: bytes) -> None:
    rclone_site.put_all({**{f"set/{name}": body for name, body in ONE.items()}, f"set/{MARKER}": content})
    assert read(rclone_site, tmp_path / "reader") == ONE

    def replace() -> None:
        rclone_site.delete(f"set/{MARKER}")
        # Object times are whole seconds.
        threading.Event().wait(1.0)
        rclone_site.put_all({f"set/{name}": body for name, body in TWO.items()})
        rclone_site.put(f"set/{MARKER}", content)

    assert read_while(rclone_site, tmp_path / "other reader", replace) == TWO


@pytest.mark.parametrize("compare", ["auto", "size", "checksum"])
def test_any_comparison_can_be_used_and_filters_leave_out_what_they_name(
    rclone_site: S3Site, tmp_path: Path, compare: str
) -> None:
    publish(rclone_site, tmp_path, {**ONE, "big": bytes(9_000_000)})
    found = read(rclone_site, tmp_path / "reader", compare=compare, exclude="b/")
    assert set(found) == {"a.txt", "z.txt", "big"}
    assert read(rclone_site, tmp_path / "another", compare=compare, include="*.txt") == ONE


def test_a_set_that_somebody_has_changed_by_hand_is_refused(rclone_site: S3Site, tmp_path: Path) -> None:
    publish(rclone_site, tmp_path, ONE)
    rclone_site.delete("set/a.txt")
    with pytest.raises(pos3.IncompleteSetError, match=r"lists 4 files .*has 3 files"):
        read(rclone_site, tmp_path / "reader")
