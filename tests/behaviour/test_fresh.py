"""``fresh=True``: an upload or sync that begins with an empty path of the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.faults.base import opened, running, until_printed
from tests.support import S3Site, contents, write_tree

Register = Callable[..., Path]
both = pytest.mark.parametrize("register", [pos3.upload, pos3.sync], ids=["upload", "sync"])


def pushed(site: S3Site, tmp_path: Path, files: dict[str, bytes], key: str = "out") -> Path:
    with opened(tmp_path):
        return write_tree(pos3.upload(site.url(key), interval=None), files)


def test_a_fresh_upload_holds_nothing_of_earlier_ones(s3: S3Site, tmp_path: Path) -> None:
    out = pushed(s3, tmp_path, {"old": b"1", "deep/old": b"2"})
    with opened(tmp_path):
        assert pos3.upload(s3.url("out"), interval=None, fresh=True) == out
        assert list(out.iterdir()) == []
        write_tree(out, {"new": b"3"})
        pos3.flush()
        assert set(s3.keys("out/")) == {"out/old", "out/deep/old", "out/new"}, "deletes come at the end"
        assert pos3.upload(s3.url("out"), interval=None, fresh=True) == out
        assert contents(out) == {"new": b"3"}, "it was emptied at the registration, once"
    assert s3.objects("out/") == {"new": b"3"}


def test_a_fresh_sync_downloads_everything_anew(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"out/a": b"1", "out/b": b"2"})
    with opened(tmp_path):
        out = pos3.sync(s3.url("out"), interval=None)
    (out / "empty").mkdir()
    with opened(tmp_path) as mirror:
        pos3.sync(s3.url("out"), interval=None, fresh=True)
        assert not (out / "empty").exists()
    assert mirror.report().downloaded_files == 2
    assert s3.objects("out/") == contents(out) == {"a": b"1", "b": b"2"}


def test_a_fresh_upload_of_one_file_begins_without_it(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        model = pos3.upload(s3.url("model.pt"), interval=None)
        model.write_bytes(b"1")
    with opened(tmp_path):
        pos3.upload(s3.url("model.pt"), interval=None, fresh=True)
        assert not model.exists()
        model.write_bytes(b"2")
    assert s3.get("model.pt") == b"2"


@both
@pytest.mark.parametrize(
    "change",
    [
        lambda out: write_tree(out, {"new": b"1"}),
        lambda out: write_tree(out, {"old": b"x"}),
        lambda out: (out / "link").symlink_to(out / "old"),
    ],
    ids=["never pushed", "changed", "link"],
)
def test_what_may_be_in_no_store_is_not_removed(
    s3: S3Site, tmp_path: Path, register: Register, change: Callable[[Path], object]
) -> None:
    out = pushed(s3, tmp_path, {"old": b"1", "older": b"2"})
    change(out)
    before = contents(out)
    with opened(tmp_path):
        with pytest.raises(pos3.PlanRefusedError, match=r"holds 1 file.*nothing was changed.*pos3 recover"):
            register(s3.url("out"), interval=None, fresh=True)
        assert contents(out) == before
    assert s3.objects("out/") == {"old": b"1", "older": b"2"}


@both
def test_a_path_outside_the_cache_is_never_emptied(s3: S3Site, tmp_path: Path, register: Register) -> None:
    local = write_tree(tmp_path / "local", {"mine": b"1"})
    cached = tmp_path / "cache" / "_" / s3.bucket / "linked"
    cached.parent.mkdir(parents=True)
    cached.symlink_to(local)
    with opened(tmp_path):
        for outside in (local, tmp_path / "cache", tmp_path):
            with pytest.raises(pos3.InvalidArgumentError, match="only paths below the cache root"):
                register(s3.url("out"), outside, interval=None, fresh=True)
        with pytest.raises(pos3.UnsafeKeysError):
            register(s3.url("out"), tmp_path / "cache" / ".pos3", interval=None, fresh=True)
        with pytest.raises(pos3.InvalidArgumentError, match="a symbolic link leads from"):
            register(s3.url("linked"), interval=None, fresh=True)
        with pytest.raises(pos3.InvalidArgumentError, match="is a local path with files"):
            register(local, fresh=True)
    assert contents(local) == {"mine": b"1"}
    assert not s3.keys()


USING = """
import signal, sys, pos3
with pos3.mirror(sys.argv[1], show_progress=False):
    pos3.download(sys.argv[2])
    print("open", flush=True)
    signal.pause()
"""


@both
@pytest.mark.parametrize("used", ["out", "out/deep", ""], ids=["itself", "below", "above"])
def test_what_another_open_mirror_uses_is_not_emptied(
    s3: S3Site, tmp_path: Path, register: Register, used: str
) -> None:
    out = pushed(s3, tmp_path, {"a": b"1", "deep/b": b"2"})
    with running(USING, tmp_path / "cache", s3.url(used)) as user, opened(tmp_path):
        until_printed(user, "open")
        with pytest.raises(pos3.ConflictError, match="an open mirror uses"):
            register(s3.url("out"), interval=None, fresh=True)
        assert contents(out) == {"a": b"1", "deep/b": b"2"}


def test_files_that_a_download_around_the_path_has_brought_may_go(s3: S3Site, tmp_path: Path) -> None:
    """And the memory of them goes as well: a file on record that is missing looks as if somebody had deleted it."""
    s3.put_all({"data/a": b"1", "data/out/b": b"2", "data/out/deep/c": b"3"})
    with opened(tmp_path):
        data = pos3.download(s3.url("data"))
    with opened(tmp_path):
        pos3.download(s3.url("data/out/deep"))
    with opened(tmp_path):
        pos3.upload(s3.url("data/out"), interval=None, fresh=True)
        assert contents(data) == {"a": b"1"}
    assert set(s3.keys("data/")) == {"data/a", "data/out/b", "data/out/deep/c"}, "nothing to push deletes nothing"
    with opened(tmp_path) as mirror:
        pos3.download(s3.url("data"))
    assert (mirror.report().unchanged, mirror.report().downloaded_files) == (1, 2)


@both
def test_fresh_is_true_or_false(s3: S3Site, tmp_path: Path, register: Register) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match="fresh='yes': expected True or False"):
        register(s3.url("out"), fresh="yes")
