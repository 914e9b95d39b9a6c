"""What one mirror has registered can be read in it, and registrations conflict only where something could be lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Proxy, S3Site, contents, write_tree

PutBefore = Callable[..., Proxy]


def opened(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


# -- what the run has written can be read


@pytest.mark.parametrize("interval", [None, 300], ids=["pushed-at-the-end", "pushed-in-the-background"])
@pytest.mark.parametrize("register", [pos3.upload, pos3.sync], ids=["upload", "sync"])
def test_a_download_of_what_the_mirror_uploads_is_the_registered_path_with_what_was_written(
    s3: S3Site, tmp_path: Path, register: Callable[..., Path], interval: int | None
) -> None:
    with opened(tmp_path):
        out = register(s3.url("out"), interval=interval)
        write_tree(out, {"a": b"1", "deep/b": b"2"})
        assert pos3.download(s3.url("out")) == out
        assert pos3.download(s3.url("out/deep")) == out / "deep"
        assert pos3.download(s3.url("out/a")) == out / "a"
        assert contents(out) == {"a": b"1", "deep/b": b"2"}
    assert s3.objects() == {"out/a": b"1", "out/deep/b": b"2"}


def test_what_the_last_push_will_delete_is_not_brought_and_what_it_will_keep_is(s3: S3Site, tmp_path: Path) -> None:
    s3.put("out/stale", b"0")
    with opened(tmp_path):
        out = pos3.upload(s3.url("out"), interval=None)
        write_tree(out, {"a": b"1"})
        s3.put("out/of-another-writer", b"2")
        assert contents(pos3.download(s3.url("out"))) == {"a": b"1", "of-another-writer": b"2"}
    assert s3.objects("out/") == {"a": b"1", "of-another-writer": b"2"}


def test_without_deletes_all_objects_are_brought_and_files_that_were_written_stay(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"out/a": b"old", "out/b": b"old"})
    with opened(tmp_path):
        out = pos3.upload(s3.url("out"), interval=None, delete=False)
        write_tree(out, {"a": b"new"})
        assert contents(pos3.download(s3.url("out"))) == {"a": b"new", "b": b"old"}
    assert s3.objects("out/") == {"a": b"new", "b": b"old"}


def test_a_download_of_the_place_above_fills_in_around_what_the_mirror_uploads(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"run/data": b"1", "run/out/stale": b"0"})
    with opened(tmp_path):
        out = pos3.upload(s3.url("run/out"), interval=None)
        write_tree(out, {"a": b"2"})
        whole = pos3.download(s3.url("run"))
        assert out == whole / "out"
        assert contents(whole) == {"data": b"1", "out/a": b"2"}
    assert s3.objects("run/") == {"data": b"1", "out/a": b"2"}


@pytest.mark.parametrize("key", ["out", "", "out/deep"], ids=["the-same", "the-place-above", "a-part"])
def test_a_download_to_another_local_path_has_what_was_written_too(s3: S3Site, tmp_path: Path, key: str) -> None:
    with opened(tmp_path):
        out = pos3.upload(s3.url("out"), interval=None)
        write_tree(out, {"deep/a": b"1"})
        elsewhere = pos3.download(s3.url(key), tmp_path / "elsewhere")
        assert list(contents(elsewhere).values()) == [b"1"]


def test_a_download_of_an_upload_into_which_nothing_was_written_says_that_nothing_is_there(
    s3: S3Site, tmp_path: Path
) -> None:
    with opened(tmp_path):
        pos3.upload(s3.url("out"), interval=None)
        with pytest.raises(pos3.RemoteNotFoundError):
            pos3.download(s3.url("out"))


def test_another_place_is_not_downloaded_over_what_the_mirror_uploads(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"other/a": b"theirs", "other/b": b"2"})
    local = tmp_path / "here"
    with opened(tmp_path):
        pos3.upload(s3.url("out"), local, interval=None)
        write_tree(local, {"a": b"mine"})
        with pytest.raises(pos3.ConflictError, match="writes there"):
            pos3.download(s3.url("other"), local, adopt=True)
        assert contents(local) == {"a": b"mine"}
    assert s3.objects("out/") == {"a": b"mine"}


@pytest.mark.parametrize("second", [pos3.upload, pos3.sync], ids=["upload", "sync"])
@pytest.mark.parametrize("first", [pos3.download, pos3.upload, pos3.sync], ids=["download", "upload", "sync"])
def test_calls_of_one_place_compose_as_one_after_the_other(
    s3: S3Site, tmp_path: Path, first: Callable[..., Path], second: Callable[..., Path]
) -> None:
    s3.put("data/a", b"1")
    with opened(tmp_path):
        path = first(s3.url("data"))
        if first is not pos3.download:
            write_tree(path, {"b": b"2"})
        assert second(s3.url("data")) == path
        write_tree(path, {"c": b"3"})
        assert pos3.download(s3.url("data")) == path
    written = {"c": b"3"} | ({} if first is pos3.download else {"b": b"2"})
    assert s3.objects("data/") == written | ({} if first is pos3.upload else {"a": b"1"})


# -- no conflict


def test_a_copy_between_places_by_a_download_and_an_upload_of_the_same_path(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"a/x.json": b"1", "a/y": b"2"})
    with opened(tmp_path):
        local = pos3.download(s3.url("a"))
        pos3.upload(s3.url("b"), local)
        pos3.upload(s3.url("c/x.json"), local / "x.json", delete=False)
    assert s3.objects("b/") == {"x.json": b"1", "y": b"2"}
    assert s3.objects("c/") == {"x.json": b"1"}
    with opened(tmp_path) as mirror:
        local = pos3.download(s3.url("a"))
        pos3.upload(s3.url("b"), local)
        mirror.finish()
        assert (mirror.report().downloaded_files, mirror.report().uploaded_files) == (0, 0)


def test_one_local_path_is_uploaded_to_two_places(s3: S3Site, tmp_path: Path) -> None:
    local = tmp_path / "here"
    for content in (b"1", b"2"):
        with opened(tmp_path) as mirror:
            pos3.upload(s3.url("one"), local)
            pos3.upload(s3.url("two"), local)
            write_tree(local, {"a": content})
            pos3.flush()
            assert mirror.report().uploaded_files == 2
        assert s3.objects() == {"one/a": content, "two/a": content}


def test_two_downloads_without_deletes_fill_one_directory(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"one/a": b"1", "two/b": b"2"})
    for _ in range(2):
        with opened(tmp_path):
            pos3.download(s3.url("one"), tmp_path / "here", delete=False)
            pos3.download(s3.url("two"), tmp_path / "here", delete=False)
        assert contents(tmp_path / "here") == {"a": b"1", "b": b"2"}


def test_two_downloads_that_both_have_a_file_of_one_name_are_an_error_that_names_it(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"one/a": b"1", "two/a": b"2", "two/b": b"2"})
    with opened(tmp_path):
        pos3.download(s3.url("one"), tmp_path / "here", delete=False)
        with pytest.raises(pos3.ConflictError, match="'a'") as failure:
            pos3.download(s3.url("two"), tmp_path / "here", delete=False, adopt=True)
        assert s3.url("one") in str(failure.value)
    assert contents(tmp_path / "here") == {"a": b"1"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param({"exclude": "*.log"}, {"exclude": "*.txt"}, {"a.log", "b.txt", "c"}, id="exclude"),
        pytest.param({"include": "c"}, {}, {"a.log", "b.txt", "c"}, id="include"),
        pytest.param({"compare": "size"}, {}, {"a.log", "b.txt", "c"}, id="compare"),
        pytest.param({"delete": False}, {}, {"a.log", "b.txt", "c"}, id="delete"),
    ],
)
def test_downloads_of_one_place_with_other_arguments_come_one_after_the_other(
    s3: S3Site, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], expected: set[str]
) -> None:
    s3.put_all({"data/a.log": b"1", "data/b.txt": b"2", "data/c": b"3"})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"), **first)
        assert pos3.download(s3.url("data"), **second) == path
        assert set(contents(path)) == expected


def test_a_place_is_downloaded_to_two_local_paths(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    with opened(tmp_path):
        paths = [pos3.download(s3.url("data"), tmp_path / name) for name in ("one", "two")]
    assert [contents(path) for path in paths] == [{"a": b"1"}] * 2


def test_the_same_upload_with_another_interval_takes_the_shorter_one(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path) as mirror:
        path = pos3.upload(s3.url("out"), interval=3600)
        assert pos3.upload(s3.url("out"), interval=0.05) == path
        assert pos3.upload(s3.url("out"), interval=None) == path
        write_tree(path, {"a": b"1"})
        deadline = threading.Event()
        for _ in range(400):
            if s3.objects("out/"):
                break
            deadline.wait(0.05)
        assert s3.objects("out/") == {"a": b"1"}
        assert len(mirror.registrations()) == 1


@pytest.mark.parametrize("order", [(False, True), (True, False)], ids=["safer-second", "safer-first"])
def test_the_same_upload_with_another_sync_on_error_is_pushed_on_errors(
    s3: S3Site, tmp_path: Path, order: tuple[bool, bool]
) -> None:
    with pytest.raises(ZeroDivisionError), opened(tmp_path):  # noqa: PT012
        for sync_on_error in order:
            path = pos3.upload(s3.url("out"), interval=None, sync_on_error=sync_on_error)
        write_tree(path, {"a": b"1"})
        _ = 1 / 0
    assert s3.objects("out/") == {"a": b"1"}


# -- deadlocks


def upload_at_once(mirror: pos3.Mirror, url: str, begin: threading.Barrier, failures: list[Exception]) -> None:
    begin.wait()
    try:
        mirror.upload(url, interval=None, delete=False)
    except Exception as error:  # noqa: BLE001 - looked at by the test
        failures.append(error)


def test_threads_that_upload_to_nested_places_that_were_restored_do_not_wait_for_each_other(
    s3: S3Site, tmp_path: Path
) -> None:
    s3.put_all({"data/a": b"1", "data/sub/b": b"2"})
    with opened(tmp_path):
        references = [pos3.reference(pos3.download(s3.url(key))) for key in ("data", "data/sub")]
    for _ in range(10):
        with opened(tmp_path) as mirror:
            for reference in references:
                assert reference is not None
                mirror.restore(reference)
            begin = threading.Barrier(2)
            failures: list[Exception] = []

            threads = [
                threading.Thread(target=upload_at_once, args=(mirror, s3.url(key), begin, failures))
                for key in ("data", "data/sub")
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert not any(thread.is_alive() for thread in threads)
            assert failures == []
