"""Both directions at once: resuming, other writers, and registrations that would get in each other's way."""

from __future__ import annotations

import inspect
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Latency, Proxy, S3Site, contents, on, write_tree

PutBefore = Callable[..., Proxy]
Call = Callable[..., Path]


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def test_a_run_resumes_from_its_checkpoint_and_pushes_what_it_adds(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"ckpt/step-1": b"1", "ckpt/state": b"old"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"))
        assert contents(path) == {"step-1": b"1", "state": b"old"}
        write_tree(path, {"step-2": b"2", "state": b"new"})
        (path / "step-1").unlink()
    assert s3.objects("ckpt/") == {"step-2": b"2", "state": b"new"}


def test_the_first_run_starts_with_an_empty_directory(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"))
        assert list(path.iterdir()) == []
        write_tree(path, {"step-1": b"1"})
    assert s3.objects("ckpt/") == {"step-1": b"1"}


def test_a_first_run_deletes_no_local_file(s3: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"precious": b"1"})
    with opened(tmp_path):
        pos3.sync(s3.url("ckpt"), here)
        assert contents(here) == {"precious": b"1"}
    assert s3.objects("ckpt/") == {"precious": b"1"}


def test_a_missing_bucket_is_named_before_the_body_does_work(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        for call in (pos3.sync, pos3.upload, pos3.download):
            with pytest.raises(pos3.BucketNotFoundError, match=f"{s3.bucket}-x"):
                call(f"s3://{s3.bucket}-x/ckpt")
    assert not (tmp_path / "cache" / "_").exists()


def test_same_size_edits_go_both_ways(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"ckpt/a": b"1111", "ckpt/b": b"1111"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"))
        (path / "a").write_bytes(b"2222")
    assert s3.objects("ckpt/") == {"a": b"2222", "b": b"1111"}
    s3.put("ckpt/b", b"3333")
    with opened(tmp_path):
        assert contents(pos3.sync(s3.url("ckpt"))) == {"a": b"2222", "b": b"3333"}


def test_an_unchanged_sync_moves_no_body(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"ckpt/a": b"1", "ckpt/b": b"2"})
    with opened(tmp_path):
        pos3.sync(s3.url("ckpt"))
    proxy = proxied(s3)
    with opened(tmp_path):
        pos3.sync(s3.url("ckpt"))
    assert set(proxy.kinds) == {"LIST"}


@pytest.mark.parametrize("both", [False, True], ids=["none", "both"])
def test_delete_local_and_delete_remote_are_independent_of_each_other(s3: S3Site, tmp_path: Path, both: bool) -> None:
    s3.put_all({"ckpt/a": b"1", "ckpt/gone-here": b"2"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"))
    write_tree(path, {"extra": b"3"})
    with opened(tmp_path):
        pos3.sync(s3.url("ckpt"), delete_local=both, delete_remote=not both)
        assert ("extra" in contents(path)) is not both
        (path / "gone-here").unlink()
    assert ("gone-here" in s3.objects("ckpt/")) is both


def test_a_synced_directory_that_was_emptied_keeps_the_bucket(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"ckpt/a": b"1", "ckpt/b": b"2"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"), interval=0.1)
        for name in ("a", "b"):
            (path / name).unlink()
        time.sleep(0.4)
    assert s3.objects("ckpt/") == {"a": b"1", "b": b"2"}


def test_excluded_keys_are_untouched_both_ways(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"ckpt/a": b"1", "ckpt/x.log": b"remote", "ckpt/there.log": b"remote"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"), exclude="*.log")
        assert contents(path) == {"a": b"1"}
        write_tree(path, {"x.log": b"local", "here.log": b"local", "b": b"2"})
    assert s3.objects("ckpt/") == {"a": b"1", "b": b"2", "x.log": b"remote", "there.log": b"remote"}
    with opened(tmp_path):
        pos3.sync(s3.url("ckpt"), exclude="*.log")
    assert contents(path) == {"a": b"1", "b": b"2", "x.log": b"local", "here.log": b"local"}


def test_what_another_writer_adds_during_a_sync_survives(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"ckpt/a": b"1", "ckpt/gone": b"2", "ckpt/theirs": b"1111"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"), interval=0.1)
        time.sleep(1.1)
        s3.put_all({"ckpt/new": b"3", "ckpt/theirs": b"2222"})
        (path / "gone").unlink()
        time.sleep(0.4)
    assert s3.objects("ckpt/") == {"a": b"1", "new": b"3", "theirs": b"2222"}


def test_two_machines_that_sync_one_prefix_lose_nothing_of_each_other(s3: S3Site, tmp_path: Path) -> None:
    s3.put("ckpt/base", b"0")
    with pos3.mirror(tmp_path / "one", show_progress=False) as one, pos3.mirror(tmp_path / "two", False) as two:
        here, there = one.sync(s3.url("ckpt")), two.sync(s3.url("ckpt"))
        write_tree(here, {"from-one": b"1"})
        write_tree(there, {"from-two": b"2"})
    assert s3.objects("ckpt/") == {"base": b"0", "from-one": b"1", "from-two": b"2"}


def test_sync_of_a_foreign_directory_is_refused_as_a_download_is(s3: S3Site, tmp_path: Path) -> None:
    s3.put("ckpt/a", b"1")
    here = write_tree(tmp_path / "here", {"precious": b"1"})
    with opened(tmp_path), pytest.raises(pos3.PlanRefusedError, match="adopt"):
        pos3.sync(s3.url("ckpt"), here)
    assert contents(here) == {"precious": b"1"}
    assert s3.objects("ckpt/") == {"a": b"1"}


def test_max_delete_holds_for_both_directions(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"ckpt/{name}": b"1" for name in "abcd"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("ckpt"))
    with pytest.raises(pos3.PlanRefusedError, match="3 of 4"), opened(tmp_path):  # noqa: PT012
        pos3.sync(s3.url("ckpt"), max_delete="50%")
        for name in "abc":
            (path / name).unlink()
    assert set(s3.objects("ckpt/")) == set("abcd")
    for name in "abc":
        s3.delete(f"ckpt/{name}")
    with opened(tmp_path):
        pos3.sync(s3.url("ckpt"), delete_local=False)
    write_tree(path, {"x": b"", "y": b"", "z": b""})
    with opened(tmp_path), pytest.raises(pos3.PlanRefusedError):
        pos3.sync(s3.url("ckpt"), max_delete=1)


def test_a_single_object_can_be_synced(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"state.json": b"1", "other": b""})
    with opened(tmp_path):
        path = pos3.sync(s3.url("state.json"))
        assert path.read_bytes() == b"1"
        path.write_bytes(b"2")
    assert s3.objects() == {"state.json": b"2", "other": b""}


def test_a_single_object_that_is_not_there_yet_can_be_synced(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.sync(s3.url("runs/state.json"))
        assert path.parent.is_dir()
        assert not path.exists()
        path.write_bytes(b"1")
    assert s3.objects() == {"runs/state.json": b"1"}


# -- registered again


CALLS = [
    pytest.param(pos3.download, id="download"),
    pytest.param(pos3.upload, id="upload"),
    pytest.param(pos3.sync, id="sync"),
]


@pytest.mark.parametrize("call", CALLS)
def test_registering_the_same_again_changes_nothing(s3: S3Site, tmp_path: Path, proxied: PutBefore, call: Call) -> None:
    s3.put("data/a", b"1")
    proxy = proxied(s3)
    with opened(tmp_path):
        path = call(s3.url("data"), exclude=["*.log"])
        proxy.clear()
        assert call(s3.url("data"), exclude=["*.log"]) == path
        assert call(s3.url("data"), exclude="*.log") == path
        assert call(s3.url("data/"), exclude="*.log") == path
        assert proxy.requests == []
    assert set(s3.objects("data/")) == {"a"}


@pytest.mark.parametrize("call", CALLS[1:])
@pytest.mark.parametrize(
    "other",
    [{"exclude": "*.x"}, {"max_delete": 3}, {"compare": "size"}, {"upload_last": "a"}],
    ids=lambda value: next(iter(value)),
)
def test_pushing_the_same_place_with_other_arguments_is_an_error_that_names_them(
    rclone_site: S3Site, tmp_path: Path, call: Call, other: dict[str, object]
) -> None:
    rclone_site.put("data/a", b"1")
    with opened(tmp_path):
        call(rclone_site.url("data"))
        with pytest.raises(pos3.ConflictError, match=next(iter(other))) as failure:
            call(rclone_site.url("data"), **other)
        assert rclone_site.url("data") in str(failure.value)
        (name,) = other
        assert re.search(rf": {name}=(.*) in the first call, {name}=(.*) in this one\. Pass", str(failure.value))


@pytest.mark.parametrize("call", CALLS[1:])
def test_two_local_paths_that_would_be_pushed_to_one_place_are_an_error(
    rclone_site: S3Site, tmp_path: Path, call: Call
) -> None:
    with opened(tmp_path):
        call(rclone_site.url("data"), tmp_path / "one")
        with pytest.raises(pos3.ConflictError, match="one place"):
            call(rclone_site.url("data"), tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_the_arguments_that_differ_are_told_by_their_names_and_values(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("data/a", b"1")
    changed: dict[str, Any] = {
        "delete_local": False,
        "delete_remote": False,
        "exclude": ["*.x"],
        "include": ["*"],
        "upload_exclude": [],
        "overwrite": ["a"],
        "upload_last": ["b"],
        "follow_symlinks": False,
    }
    with opened(tmp_path):
        pos3.sync(rclone_site.url("data"))
        with pytest.raises(pos3.ConflictError) as failure:
            pos3.sync(rclone_site.url("data"), **changed)
    told = str(failure.value)
    for name, value in changed.items():
        before = inspect.signature(pos3.sync).parameters[name].default
        assert f"{name}={before!r} in the first call, {name}={value!r} in this one" in told
    assert "Filter" not in told
    assert "download_delete" not in told


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((pos3.upload, "data"), (pos3.upload, "data/sub"), id="upload-below-upload"),
        pytest.param((pos3.upload, "data/sub"), (pos3.upload, "data"), id="upload-above-upload"),
        pytest.param((pos3.sync, "data"), (pos3.upload, "data/sub"), id="upload-below-sync"),
        pytest.param((pos3.upload, ""), (pos3.upload, "data"), id="upload-below-bucket"),
    ],
)
def test_pushes_to_nested_places_with_deletes_are_an_error_that_names_both(
    rclone_site: S3Site, tmp_path: Path, first: tuple[Call, str], second: tuple[Call, str]
) -> None:
    rclone_site.put("data/sub/a", b"1")
    with opened(tmp_path):
        first[0](rclone_site.url(first[1]))
        with pytest.raises(ValueError, match="overlap") as failure:
            second[0](rclone_site.url(second[1]))
    assert isinstance(failure.value, pos3.ConflictError)
    for _, key in (first, second):
        assert rclone_site.url(key) in str(failure.value)
    assert rclone_site.objects("data/") == {"sub/a": b"1"}


def test_names_that_only_begin_alike_do_not_overlap(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        for key in ("data", "data-2", "data2", "dat"):
            write_tree(pos3.upload(s3.url(key)), {"x": key.encode()})
    assert s3.objects() == {f"{key}/x": key.encode() for key in ("data", "data-2", "data2", "dat")}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("here", "here", id="same"),
        pytest.param("here", "here/below", id="below"),
        pytest.param("here/below", "here", id="above"),
        pytest.param("here", "link", id="through-a-link"),
    ],
)
@pytest.mark.parametrize("call", [CALLS[0], CALLS[2]])
def test_places_that_would_fill_one_local_directory_are_an_error(
    rclone_site: S3Site, tmp_path: Path, call: Call, first: str, second: str
) -> None:
    rclone_site.put_all({"one/a": b"1", "two/a": b"2"})
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    with opened(tmp_path):
        call(rclone_site.url("one"), tmp_path / first)
        with pytest.raises(pos3.ConflictError, match="overlap"):
            call(rclone_site.url("two"), tmp_path / second)
    assert rclone_site.objects("two/") == {"a": b"2"}


def test_a_part_of_a_download_may_be_downloaded_again(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/sub/b": b"2"})
    with opened(tmp_path):
        whole = pos3.download(s3.url("data"))
        part = pos3.download(s3.url("data/sub"))
        file = pos3.download(s3.url("data/a"))
    assert part == whole / "sub"
    assert file == whole / "a"
    assert contents(whole) == {"a": b"1", "sub/b": b"2"}


def test_two_threads_that_ask_for_the_same_wait_for_one_download(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({f"data/{number}": b"1" for number in range(5)})
    proxy = proxied(s3, Latency(seconds=0.3, match=on("GET")))
    seen: list[dict[str, bytes]] = []
    with opened(tmp_path) as mirror:

        def ask() -> None:
            seen.append(contents(mirror.download(s3.url("data"))))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [{str(number): b"1" for number in range(5)}] * 6
    assert proxy.count("GET") == 5
    assert proxy.count("LIST") == 1


def test_a_file_that_comes_back_after_a_download_removed_it_is_pushed_again(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/b": b"2"})
    with opened(tmp_path):
        pos3.sync(s3.url("data"), interval=None)
    s3.delete("data/b")
    with opened(tmp_path):
        path = pos3.sync(s3.url("data"), interval=None)
        assert contents(path) == {"a": b"1"}
        write_tree(path, {"b": b"2"})
        pos3.flush()
        assert s3.objects("data/") == {"a": b"1", "b": b"2"}


def test_what_exclude_hides_stays_on_record(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a": b"1", "data/hidden": b"2"})
    with opened(tmp_path):
        pos3.sync(s3.url("data"), interval=None)
    with opened(tmp_path) as mirror:
        pos3.sync(s3.url("data"), interval=None, exclude="hidden")
        pos3.flush()
        mirror.finish()
        assert [known.files for known in mirror.registrations()] == [2]


# -- upload_exclude and overwrite


def test_what_upload_exclude_hides_is_downloaded_and_not_pushed(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"run/base/.unfinished": b"theirs", "run/base/data": b"1", "run/foreign": b"2"})
    with opened(tmp_path):
        path = pos3.sync(s3.url("run"), interval=None, upload_exclude=[".unfinished"])
        assert contents(path) == {"base/.unfinished": b"theirs", "base/data": b"1", "foreign": b"2"}
        write_tree(path, {"new/.unfinished": b"mine", "new/data": b"3", "base/.unfinished": b"edited"})
        assert pos3.flush().uploaded_files == 1
        (path / "base" / "data").unlink()
    assert s3.objects("run/") == {"base/.unfinished": b"theirs", "foreign": b"2", "new/data": b"3"}


@pytest.mark.parametrize(
    ("upload_exclude", "pushed"),
    [(None, {"upload"}), ([], {"general", "upload"}), (["upload"], {"general"}), ("upload", {"general"})],
)
def test_upload_exclude_takes_the_place_of_exclude_in_the_pushes_alone(
    s3: S3Site, tmp_path: Path, upload_exclude: list[str] | str | None, pushed: set[str]
) -> None:
    s3.put_all({"run/general": b"theirs", "run/baseline": b"1"})
    with opened(tmp_path):
        path = pos3.sync(
            s3.url("run"), interval=None, delete_remote=False, exclude=["general"], upload_exclude=upload_exclude
        )
        assert contents(path) == {"baseline": b"1"}
        write_tree(path, {"general": b"mine!", "upload": b"3"})
    found = s3.objects("run/")
    assert {name for name in ("general", "upload") if found.get(name) in (b"mine!", b"3")} == pushed
    assert found["baseline"] == b"1"


def test_objects_that_exclude_hides_are_not_deleted_whatever_upload_exclude_says(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"run/raw/huge": b"theirs", "run/a": b"1"})
    with opened(tmp_path) as mirror:
        path = pos3.sync(s3.url("run"), interval=None, exclude=["raw/"], upload_exclude=[])
        assert contents(path) == {"a": b"1"}
        write_tree(path, {"raw/mine": b"2"})
        assert pos3.flush().uploaded_files == 1
        (path / "raw" / "mine").unlink()
        (path / "a").unlink()
        write_tree(path, {"b": b"3"})
    assert s3.objects("run/") == {"raw/huge": b"theirs", "b": b"3"}
    assert [kept.path for kept in mirror.report().kept] == ["raw/huge"]


def test_a_file_that_is_never_pushed_survives_the_next_download_of_the_sync(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"run/a": b"1", "run/old.lock": b"2"})
    for _ in range(2):
        with opened(tmp_path):
            path = pos3.sync(s3.url("run"), interval=None, upload_exclude=["*.lock"])
            write_tree(path, {"mine.lock": b"here only", "stray": b"3"})
    s3.delete("run/old.lock")
    s3.delete("run/stray")
    with opened(tmp_path):
        pos3.sync(s3.url("run"), interval=None, upload_exclude=["*.lock"])
        assert contents(path) == {"a": b"1", "mine.lock": b"here only"}
    assert s3.objects("run/") == {"a": b"1"}


def test_overwrite_of_a_sync_does_not_download_again_what_is_unchanged(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({"run/state.json": b"{}", "run/a": b"1"})
    with opened(tmp_path):
        pos3.sync(s3.url("run"), interval=None)
    proxy = proxied(s3)
    with opened(tmp_path):
        pos3.sync(s3.url("run"), interval=None, overwrite=["state.json"])
    assert [(request.kind, request.key) for request in proxy.requests if request.key] == [("PUT", "run/state.json")]
