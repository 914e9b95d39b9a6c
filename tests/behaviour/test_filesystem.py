"""`pos3://` for fsspec: what others open through it comes from the current mirror."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.bag
import fsspec
import pytest

import pos3
from tests.support import Proxy, S3Site, contents

PutBefore = Callable[..., Proxy]
OBJECTS = {"data/a.csv": b"x\n1\n", "data/b.csv": b"x\n2\n", "data/deep/c.csv": b"x\n3\n", "top": b"t"}


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all(OBJECTS)
    return rclone_site


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[pos3.Mirror]:
    with pos3.mirror(tmp_path / "cache", show_progress=False) as opened:
        yield opened


def url(site: S3Site, key: str = "") -> str:
    return f"pos3://{site.bucket}/{key}" if key else f"pos3://{site.bucket}"


@pytest.fixture
def files() -> Any:
    return fsspec.filesystem("pos3")


def test_a_file_is_read_through_the_cache(site: S3Site, mirror: pos3.Mirror) -> None:
    with fsspec.open(url(site, "data/a.csv")) as file:
        assert file.read() == b"x\n1\n"
    with fsspec.open(url(site, "data/a.csv"), "r", encoding="utf-8") as file:
        assert file.read() == "x\n1\n"
    assert contents(Path(mirror.cache_root) / "_" / site.bucket) == {"data/a.csv": b"x\n1\n"}


def test_an_object_is_downloaded_once(site: S3Site, proxied: PutBefore, mirror: pos3.Mirror, files: Any) -> None:
    proxy = proxied(site)
    for _ in range(3):
        assert files.cat_file(url(site, "top")) == b"t"
    assert files.cat_file(url(site, "top"), start=1) == b""
    assert [request.key for request in proxy.requests if request.kind == "GET"] == ["top"]


def test_what_the_mirror_has_downloaded_already_is_read(
    site: S3Site, proxied: PutBefore, mirror: pos3.Mirror, files: Any
) -> None:
    mirror.download(site.url("data"))
    proxy = proxied(site)
    assert files.cat(url(site, "data/deep/c.csv")) == b"x\n3\n"
    assert [request for request in proxy.requests if request.kind == "GET"] == []


def test_what_the_mirror_is_going_to_push_is_not_replaced(site: S3Site, mirror: pos3.Mirror, files: Any) -> None:
    out = mirror.sync(site.url("data"), interval=None)
    (out / "a.csv").write_bytes(b"new")
    assert files.cat(url(site, "data/a.csv")) == b"new"


@pytest.mark.usefixtures("mirror")
def test_listings_have_the_names_that_fsspec_expects(site: S3Site, files: Any) -> None:
    bucket = site.bucket
    assert files.ls(url(site), detail=False) == [f"{bucket}/data", f"{bucket}/top"]
    assert files.ls(url(site, "data/"), detail=False) == [
        f"{bucket}/data/{name}" for name in ("a.csv", "b.csv", "deep")
    ]
    assert files.ls(url(site, "top"), detail=False) == [f"{bucket}/top"]
    assert files.glob(url(site, "data/*.csv")) == [f"{bucket}/data/a.csv", f"{bucket}/data/b.csv"]
    assert files.glob(url(site, "**/c.csv")) == [f"{bucket}/data/deep/c.csv"]
    assert files.find(url(site)) == [f"{bucket}/{key}" for key in sorted(OBJECTS)]
    assert [len(names) for _, _, names in files.walk(url(site))] == [1, 2, 1]
    assert files.du(url(site)) == sum(map(len, OBJECTS.values()))


@pytest.mark.usefixtures("mirror")
def test_objects_are_told_from_directories_and_from_nothing(site: S3Site, files: Any) -> None:
    told = files.info(url(site, "top"))
    assert (told["name"], told["size"], told["type"]) == (f"{site.bucket}/top", 1, "file")
    assert told["ETag"]
    assert told["LastModified"] == files.modified(url(site, "top"))
    assert files.info(url(site, "data")) == {"name": f"{site.bucket}/data", "size": 0, "type": "directory"}
    assert [files.isfile(url(site, key)) for key in ("top", "data", "no")] == [True, False, False]
    assert [files.isdir(url(site, key)) for key in ("top", "data", "no", "")] == [False, True, False, True]
    assert [files.exists(url(site, key)) for key in ("top", "data", "no")] == [True, True, False]
    assert not files.exists("pos3://pos3-test-there-is-no-such-bucket/key")
    for missing in (files.info, files.ls, files.cat_file):
        with pytest.raises(FileNotFoundError):
            missing(url(site, "no"))


def test_a_directory_is_not_downloaded_by_opening_it(site: S3Site, mirror: pos3.Mirror, files: Any) -> None:
    with pytest.raises(IsADirectoryError, match=r"pos3\.download brings all of it"):
        files.open(url(site, "data"))
    assert not (Path(mirror.cache_root) / "_" / site.bucket).exists()


@pytest.mark.usefixtures("mirror")
def test_a_profile_may_be_named_in_the_url(site: S3Site, files: Any) -> None:
    pos3.register_profile("lab", site.server.endpoint_url)
    address = f"pos3://lab@{site.bucket}"
    assert files.ls(f"{address}/data", detail=False)[0] == f"lab@{site.bucket}/data/a.csv"
    assert files.glob(f"{address}/data/*.csv")[1] == f"lab@{site.bucket}/data/b.csv"
    assert files.cat(files.ls(f"{address}/data", detail=False)[0]) == b"x\n1\n"
    with pytest.raises(pos3.ProfileError):
        files.cat(f"pos3://nobody@{site.bucket}/top")


@pytest.mark.parametrize(
    "write",
    [
        lambda files, address: files.open(address, "wb"),
        lambda files, address: files.open(address, "a"),
        lambda files, address: files.pipe(address, b"1"),
        lambda files, address: files.touch(address),
        lambda files, address: files.rm(address),
        lambda files, address: files.makedirs(address),
        lambda files, address: files.mv(address, address + "2"),
        lambda files, address: files.put(__file__, address),
    ],
    ids=["open", "append", "pipe", "touch", "rm", "makedirs", "mv", "put"],
)
@pytest.mark.usefixtures("mirror")
def test_writing_is_one_error_that_names_what_writes(
    site: S3Site, files: Any, write: Callable[[Any, str], object]
) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match=r"pos3:// is for reading; pos3\.upload registers"):
        write(files, url(site, "top"))
    assert site.objects() == OBJECTS


@pytest.mark.parametrize("call", ["ls", "info", "exists", "isfile", "isdir", "cat_file", "glob"])
def test_without_a_mirror_the_usual_error_comes(call: str, files: Any) -> None:
    with pytest.raises(pos3.NoMirrorError, match="no mirror is open"):
        getattr(files, call)("pos3://bucket/data/*.csv" if call == "glob" else "pos3://bucket/data")


def test_any_thread_reads_through_the_only_mirror(site: S3Site, mirror: pos3.Mirror) -> None:
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(fsspec.filesystem("pos3").cat(url(site, "top"))))
    thread.start()
    thread.join()
    assert read == [b"t"]
    lines = dask.bag.read_text(url(site, "data/*.csv")).compute(scheduler="threads")
    assert sorted(lines) == ["1\n", "2\n", "x\n", "x\n"]


def test_a_pickled_file_reads_through_the_mirror_that_is_open_there(site: S3Site, tmp_path: Path) -> None:
    with pos3.mirror(tmp_path / "here", show_progress=False):
        pickled = pickle.dumps(fsspec.open(url(site, "top")))
    with pos3.mirror(tmp_path / "there", show_progress=False), pickle.loads(pickled) as file:
        assert file.read() == b"t"
    assert (tmp_path / "there/_" / site.bucket / "top").exists()
    assert not (tmp_path / "here/_" / site.bucket).exists()
