"""When two files count as equal: auto, size and checksum, with plain and multipart ETags."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

import pos3
from pos3.store import has_checksum
from pos3.store.s3.checksums import algorithm_of_uploads, encoded
from tests.support import MemoryServer, Proxy, S3Site, contents, write_tree
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
MIB = 1024 * 1024


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def put_multipart(site: S3Site, key: str, data: bytes, part_bytes: int = 5 * MIB) -> str:
    config = TransferConfig(multipart_chunksize=part_bytes, multipart_threshold=part_bytes)
    site.server.s3.upload_fileobj(BytesIO(data), site.bucket, key, Config=config)
    return site.keys()[key].etag


@pytest.mark.parametrize("part_mib", [5, 6, 8], ids=lambda size: f"{size}MiB")
def test_a_multipart_object_is_fetched_once_and_then_known(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, part_mib: int
) -> None:
    data = pseudo_random(13 * MIB)
    assert "-" in put_multipart(moto_site, "data/big", data, part_mib * MIB)
    proxy = proxied(moto_site)
    for gets in (1, 0):
        proxy.clear()
        with opened(tmp_path):
            path = pos3.download(moto_site.url("data"))
        assert (path / "big").read_bytes() == data
        assert proxy.count("GET") == gets


def test_a_multipart_object_of_the_same_size_and_other_content_is_fetched(moto_site: S3Site, tmp_path: Path) -> None:
    first, second = pseudo_random(13 * MIB, 1), pseudo_random(13 * MIB, 2)
    put_multipart(moto_site, "data/big", first)
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"))
    put_multipart(moto_site, "data/big", second)
    with opened(tmp_path):
        pos3.download(moto_site.url("data"))
    assert (path / "big").read_bytes() == second


def test_a_local_file_equal_to_a_multipart_object_is_recognised_without_an_index(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    data = pseudo_random(13 * MIB)
    put_multipart(moto_site, "data/big", data)
    here = write_tree(tmp_path / "here", {"big": data})
    proxy = proxied(moto_site)
    with opened(tmp_path):
        pos3.download(moto_site.url("data"), here)
    assert proxy.count("GET") == 0


def test_a_multipart_etag_that_cannot_be_computed_lets_the_times_decide(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    data, other = pseudo_random(13 * MIB, 1), pseudo_random(13 * MIB, 2)
    put_multipart(moto_site, "data/big", data, 6 * MIB + 123)
    modified = moto_site.keys()["data/big"].modified
    here = write_tree(tmp_path / "here", {"big": other})
    proxy = proxied(moto_site)

    os.utime(here / "big", (modified - 100, modified - 100))
    with pos3.mirror(tmp_path / "cache-1", show_progress=False):
        pos3.upload(moto_site.url("data"), here)
    assert moto_site.get("data/big") == data
    assert proxy.count("PUT") == 0

    with pos3.mirror(tmp_path / "cache-2", show_progress=False):
        pos3.download(moto_site.url("data"), here, adopt=True)
    assert (here / "big").read_bytes() == data

    (here / "big").write_bytes(other)
    os.utime(here / "big", (modified + 100, modified + 100))
    with pos3.mirror(tmp_path / "cache-3", show_progress=False):
        pos3.upload(moto_site.url("data"), here)
    assert moto_site.get("data/big") == other


@pytest.mark.parametrize(
    ("compare", "moved"),
    [
        pytest.param("auto", True, id="auto"),
        pytest.param("size", False, id="size"),
        pytest.param("checksum", True, id="checksum"),
    ],
)
def test_same_size_edits_are_seen_unless_only_sizes_are_compared(
    s3: S3Site, tmp_path: Path, compare: str, moved: bool
) -> None:
    s3.put_all({"data/a": b"1111", "data/size": b"1"})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"), compare=compare)  # type: ignore[arg-type]
    s3.put_all({"data/a": b"2222", "data/size": b"22"})
    with opened(tmp_path):
        pos3.download(s3.url("data"), compare=compare)  # type: ignore[arg-type]
    assert contents(path) == {"a": b"2222" if moved else b"1111", "size": b"22"}
    (path / "a").write_bytes(b"3333")
    (path / "size").write_bytes(b"333")
    with opened(tmp_path):
        pos3.upload(s3.url("data"), compare=compare)  # type: ignore[arg-type]
    assert s3.objects("data/") == {"a": b"3333" if moved else b"2222", "size": b"333"}


def test_checksum_sees_an_edit_that_hides_behind_the_old_time(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1111")
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    before = (path / "a").stat()
    (path / "a").write_bytes(b"2222")
    os.utime(path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    with opened(tmp_path):
        pos3.download(s3.url("data"), compare="checksum")
    assert contents(path) == {"a": b"1111"}


def test_checksum_moves_nothing_when_all_is_equal(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"data/a": b"1111", "data/b": b""})
    proxy = proxied(s3)
    for bodies in (2, 0):
        proxy.clear()
        with opened(tmp_path):
            pos3.download(s3.url("data"), compare="checksum")
        assert proxy.count("GET") == bodies


def test_a_touched_file_with_the_same_content_is_not_sent_again(s3: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1", "b": b"2"})
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    time.sleep(0.05)
    os.utime(tree / "a")
    with opened(tmp_path) as mirror:
        pos3.upload(s3.url("data"), tree)
    assert s3.objects("data/") == {"a": b"1", "b": b"2"}
    assert mirror.report().uploaded_files == 0


def test_a_plan_gives_the_reason_for_each_file(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"data/{name}": b"1111" for name in ("same", "size", "here", "there", "gone")})
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    (path / "size").write_bytes(b"1")
    (path / "here").write_bytes(b"2222")
    s3.put_all({"data/there": b"2222", "data/new": b"1"})
    s3.delete("data/gone")
    with opened(tmp_path):
        reasons = pos3.plan_download(s3.url("data")).reasons
    assert {Path(name).name: reason for name, reason in reasons.items()} == {
        "size": "different size",
        "here": "changed locally",
        "there": "changed remotely",
        "new": "new",
        "gone": "not in the source",
    }


# Checksums that the index remembers

TOUCHED, EDITED = "touched", "edited"


def change(path: Path, how: str) -> None:
    """Changes a file; its size stays, and of an edit the time as well."""
    status = path.stat()
    if how == TOUCHED:
        path.touch()
    else:
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("size_bytes", [1000, 9 * MIB], ids=["one-piece", "parts"])
@pytest.mark.parametrize("how", [TOUCHED, EDITED])
def test_where_etags_prove_nothing_the_checksum_of_an_upload_does(
    serve_from_memory: Callable[..., MemoryServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size_bytes: int,
    how: str,
) -> None:
    if size_bytes > 8 * MIB and algorithm_of_uploads().join is None:
        pytest.skip("without awscrt, checksums of parts do not make one of the whole")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    server = serve_from_memory(etag=lambda body: f'"{zlib.crc32(body):x}"', etag_of_parts=lambda _: '"parts"')
    tree = write_tree(tmp_path / "tree", {"x": pseudo_random(size_bytes), "y": pseudo_random(size_bytes, 1)})

    def uploaded() -> set[str]:
        server.moved()
        with opened(tmp_path):
            pos3.upload("s3://bucket/data", tree, interval=None, compare="checksum")
        return set(server.moved())

    assert uploaded() == {"data/x", "data/y"}
    assert uploaded() == set()
    change(tree / "x", how)
    assert uploaded() == ({"data/x"} if how == EDITED else set())
    assert uploaded() == set()
    assert server.objects == {f"data/{name}": body for name, body in contents(tree).items()}


@pytest.mark.parametrize("size_bytes", [1000, 20 * MIB], ids=["one-piece", "ranges"])
@pytest.mark.parametrize("how", [TOUCHED, EDITED])
def test_a_downloaded_file_is_compared_by_the_checksum_that_has_proven_it(
    moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int, how: str
) -> None:
    def by_etag(*_: object) -> bool:
        raise AssertionError("the file was read for its ETag")

    monkeypatch.setattr("pos3.jobs.job.matches_content", by_etag)
    body = pseudo_random(size_bytes)
    moto_site.server.s3.put_object(Bucket=moto_site.bucket, Key="data/x", Body=body, ChecksumAlgorithm="CRC32")
    for expected in (1, 0, int(how == EDITED), 0):
        with opened(tmp_path) as mirror:
            path = pos3.download(moto_site.url("data"), compare="checksum") / "x"
            assert (path.read_bytes() == body, mirror.report().downloaded_files) == (True, expected)
        if expected == 0:
            change(path, how)


def test_an_index_without_checksums_is_read_and_gains_them(
    moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto_site.server.s3.put_object(Bucket=moto_site.bucket, Key="data/x", Body=b"1", ChecksumAlgorithm="CRC32")
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"))
    [database] = (tmp_path / "cache").rglob("*.sqlite")

    def checksums(forget: bool = False) -> list[str]:
        with closing(sqlite3.connect(database)) as connection, connection:
            if forget:
                connection.execute("UPDATE files SET checksum = ''")
            return [value for (value,) in connection.execute("SELECT checksum FROM files")]

    assert checksums() == [f"CRC32 {encoded(zlib.crc32(b'1').to_bytes(4, 'big'))}"]
    assert checksums(forget=True) == [""]
    (path / "x").touch()
    with opened(tmp_path) as mirror:
        pos3.download(moto_site.url("data"))
        assert mirror.report().downloaded_files == 0
    (path / "x").write_bytes(b"2")
    with opened(tmp_path):
        pos3.download(moto_site.url("data"))
    assert (path / "x").read_bytes() == b"1"
    assert checksums() == [f"CRC32 {encoded(zlib.crc32(b'1').to_bytes(4, 'big'))}"]


@pytest.mark.parametrize("checksum", ["", "CRC99 AAAA", "CRC32", "CRC32 "])
def test_a_checksum_that_cannot_be_computed_here_decides_nothing_and_a_wrong_one_says_so(
    tmp_path: Path, checksum: str
) -> None:
    (tmp_path / "x").write_bytes(b"1")
    assert has_checksum(str(tmp_path / "x"), checksum) is (False if checksum.startswith("CRC32") else None)
