"""Downloads that are pinned to a fingerprint."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import S3Site, contents, write_tree
from tests.support.program import run_program

FILES = {"a.txt": b"1", "b/c.txt": b"22", "b/d/e.bin": b"333"}


@contextmanager
def opened(tmp_path: Path, cache: str = "cache", **options: Any) -> Iterator[pos3.Mirror]:
    with pos3.mirror(tmp_path / cache, show_progress=False, **options) as mirror:
        yield mirror


@pytest.fixture
def site(s3: S3Site) -> S3Site:
    s3.put_all({f"data/{name}": content for name, content in FILES.items()})
    return s3


def fingerprint_of(site: S3Site, tmp_path: Path, **filters: Any) -> str:
    with opened(tmp_path):
        fingerprint = pos3.fingerprint(site.url("data"), **filters)
    assert fingerprint is not None
    return fingerprint


def test_objects_that_are_what_they_were_are_downloaded(site: S3Site, tmp_path: Path) -> None:
    fingerprint = fingerprint_of(site, tmp_path)
    for _ in range(2):
        with opened(tmp_path):
            path = pos3.download(site.url("data"), fingerprint=fingerprint.upper())
            assert contents(path) == FILES
            assert pos3.fingerprint(path) == fingerprint
    with opened(tmp_path, offline=True):
        assert pos3.download(site.url("data"), fingerprint=fingerprint) == path


def test_what_is_new_gone_and_changed_is_named_and_nothing_is_changed(site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        path = pos3.download(site.url("data"))
        fingerprint = pos3.fingerprint(path)
    site.delete("data/a.txt")
    site.put("data/b/c.txt", b"33")
    site.put_all({f"data/new/{number:02}": b"" for number in range(12)})
    with opened(tmp_path), pytest.raises(pos3.FingerprintMismatchError) as failure:
        pos3.download(site.url("data"), fingerprint=fingerprint)
    error = pickle.loads(pickle.dumps(failure.value))
    assert (error.gone, error.changed) == (("a.txt",), ("b/c.txt",))
    assert error.new == tuple(f"new/{number:02}" for number in range(10))
    assert (error.url, error.expected) == (site.url("data"), fingerprint)
    text = str(error)
    assert "nothing was changed:\n  new: 12 ('new/00', " in text
    assert "'new/09' and 2 more)\n  gone: 1 ('a.txt')\n  changed: 1 ('b/c.txt')\nNow there are 14 objects (5 B)" in text
    assert contents(path) == FILES
    with opened(tmp_path):
        assert error.actual == pos3.fingerprint(site.url("data"))
        with pytest.raises(pos3.FingerprintMismatchError):
            pos3.plan_download(site.url("data"), fingerprint=fingerprint)
        pos3.download(site.url("data"), fingerprint=error.actual)
    assert set(contents(path)) == set(site.objects("data/"))


def test_a_part_of_what_the_cache_has_on_record_can_be_told_as_well(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    with opened(tmp_path):
        pos3.download(rclone_site.url("data"))
        fingerprint = pos3.fingerprint(rclone_site.url("data/b"), include="*.txt")
        rclone_site.put("data/b/c.txt", b"333")
        with pytest.raises(pos3.FingerprintMismatchError, match=r"changed: 1 \('c.txt'\)"):
            pos3.download(rclone_site.url("data/b"), fingerprint=fingerprint, include="*.txt")


def test_without_a_record_the_error_tells_what_is_there_now(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    fingerprint = fingerprint_of(rclone_site, tmp_path)
    rclone_site.put("data/a.txt", b"2")
    with opened(tmp_path), pytest.raises(pos3.FingerprintMismatchError) as failure:
        pos3.download(rclone_site.url("data"), fingerprint=fingerprint)
    assert (failure.value.new, failure.value.gone, failure.value.changed) == ((), (), ())
    assert "no record" in str(failure.value)
    now = fingerprint_of(rclone_site, tmp_path)
    assert f"Now there are 3 objects (6 B) with the fingerprint {now}. Pass that" in str(failure.value)
    assert not (tmp_path / "cache/_").exists()


@pytest.mark.parametrize("missing_ok", [False, True])
def test_objects_that_are_all_gone_are_a_mismatch(rclone_site: S3Site, tmp_path: Path, missing_ok: bool) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    with opened(tmp_path):
        path = pos3.download(rclone_site.url("data"))
        fingerprint = pos3.fingerprint(path)
    for name in FILES:
        rclone_site.delete(f"data/{name}")
    with opened(tmp_path), pytest.raises(pos3.FingerprintMismatchError, match=r"gone: 3 .*\nNow there are none"):
        pos3.download(rclone_site.url("data"), fingerprint=fingerprint, missing_ok=missing_ok)
    assert contents(path) == FILES


@pytest.mark.parametrize(
    "filters", [{"include": "*.txt"}, {"exclude": ["b/d"]}, {"include": "b", "exclude": "*.bin"}], ids=str
)
def test_filters_choose_what_is_pinned(rclone_site: S3Site, tmp_path: Path, filters: dict[str, Any]) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    fingerprint = fingerprint_of(rclone_site, tmp_path, **filters)
    rclone_site.put("data/b/d/e.bin", b"other")
    with opened(tmp_path):
        pos3.download(rclone_site.url("data"), fingerprint=fingerprint, **filters)
        rclone_site.put("data/b/c.txt", b"other")
    with opened(tmp_path), pytest.raises(pos3.FingerprintMismatchError, match=r"changed: 1 \('b/c.txt'\)"):
        pos3.download(rclone_site.url("data"), fingerprint=fingerprint, **filters)


def test_files_that_others_write_are_no_part_of_pinned_data(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    fingerprint = fingerprint_of(rclone_site, tmp_path)
    with opened(tmp_path):
        path = pos3.sync(rclone_site.url("data"))
        write_tree(path, {"a.txt": b"of the writer"})
        with opened(tmp_path), pytest.raises(pos3.ConflictError, match=r"'a\.txt'"):
            pos3.download(rclone_site.url("data"), fingerprint=fingerprint)


@pytest.mark.parametrize("fingerprint", ["", "abc", "g" * 64, 5, b"a" * 64], ids=repr)
def test_what_is_no_fingerprint_is_refused(rclone_site: S3Site, tmp_path: Path, fingerprint: Any) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match=r"fingerprint=.*64 hexa") as failure:
        pos3.download(rclone_site.url("data"), fingerprint=fingerprint)
    assert failure.value.argument == "fingerprint"


def test_commands_tell_and_take_fingerprints(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    url, here = rclone_site.url("data"), tmp_path / "here"
    (fingerprint,) = run_program("fingerprint", url, "--exclude", "*.bin").lines
    assert fingerprint == fingerprint_of(rclone_site, tmp_path, exclude="*.bin")
    shown = json.loads(run_program("fingerprint", url, "--json").lines[0])
    assert shown == {"url": url, "fingerprint": fingerprint_of(rclone_site, tmp_path)}
    options = ("download", url, "--local", here, "--exclude", "*.bin", "--fingerprint", fingerprint)
    assert run_program(*options).status == 0
    rclone_site.put("data/a.txt", b"other")
    failed = run_program(*options)
    assert (failed.status, (here / "a.txt").read_bytes()) == (1, b"1")
    assert "changed: 1 ('a.txt')" in failed.stderr
    nothing = run_program("fingerprint", rclone_site.url("nothing"))
    assert (nothing.status, nothing.stdout) == (1, "")


def test_a_part_is_pinned_by_its_own_fingerprint(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    part = pos3.Part(rclone_site.url("data"), after="a.txt", exclude=("*.bin",))
    with opened(tmp_path):
        fingerprint = pos3.fingerprint(part)
        path = pos3.download(part, fingerprint=fingerprint)
        assert contents(path) == {"b/c.txt": b"22"}
        assert pos3.fingerprint(part) == fingerprint
    rclone_site.put_all({"data/a.txt": b"outside of the range", "data/b/x.bin": b"excluded"})
    with opened(tmp_path):
        assert pos3.download(part, fingerprint=fingerprint) == path
    rclone_site.put_all({"data/b/c.txt": b"other", "data/z.txt": b"new"})
    with opened(tmp_path), pytest.raises(pos3.FingerprintMismatchError) as failure:
        pos3.download(str(part), fingerprint=fingerprint)
    assert (failure.value.new, failure.value.gone, failure.value.changed) == (("z.txt",), (), ("b/c.txt",))
    assert contents(path) == {"b/c.txt": b"22"}


def test_commands_tell_and_take_the_fingerprint_of_a_part(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put_all({f"data/{name}": content for name, content in FILES.items()})
    _, part = run_program("partition", rclone_site.url("data"), "--parts", "2").lines
    [shown] = run_program("fingerprint", "--json", part).objects
    with opened(tmp_path):
        assert shown == {"url": part, "fingerprint": pos3.fingerprint(pos3.Part.parse(part))}
    pinned = ("download", part, "--local", tmp_path / "here", "--fingerprint", shown["fingerprint"])
    assert run_program(*pinned).status == 0
    assert set(contents(tmp_path / "here")) == {name for name in FILES if name in pos3.Part.parse(part)}
