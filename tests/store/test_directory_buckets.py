"""Directory buckets of AWS, played by a server in memory that refuses what AWS's documentation says they refuse."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.store.s3.completion import MultipartUpload
from pos3.store.s3.store import S3Store
from pos3.store.s3.unfinished import abort
from pos3.store.s3.uploads import UNTOLD
from tests.support import MemoryServer, Server, contents, write_tree
from tests.support.program import run_program
from tests.support.trees import pseudo_random

BUCKET = "pos3-tests--use1-az4--x-s3"
FILES = {"a": b"1", "b/c": b"22", "b/d": b"333", "b-e": b"", "large": pseudo_random(17 << 20), "z/y/x": b"4444"}
HOUR = 3600


def url(key: str) -> str:
    return f"s3://{BUCKET}/{key}"


@pytest.fixture(params=[2, 1000], ids=["pages-of-2", "one-page"])
def server(
    request: pytest.FixtureRequest, serve_from_memory: Callable[..., MemoryServer], monkeypatch: pytest.MonkeyPatch
) -> MemoryServer:
    # Sessions are tested with real addresses.
    monkeypatch.setenv("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH", "true")
    # As botocore says for AWS itself.
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")

    def random_etag(_: bytes) -> str:
        return f'"{uuid.uuid4().hex}"'

    return serve_from_memory(directories=True, page_keys=request.param, etag=random_etag, etag_of_parts=random_etag)


def opened(tmp_path: Path, name: str = "cache") -> pos3.mirror:
    return pos3.mirror(tmp_path / name, show_progress=False)


def upload(tmp_path: Path) -> None:
    with opened(tmp_path):
        pos3.upload(url("data"), tmp_path / "tree", interval=None)


def test_uploads_downloads_and_deletes_are_those_of_any_bucket(server: MemoryServer, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", FILES)
    server.put("data-beside", b"stays", age_seconds=HOUR)
    upload(tmp_path)
    assert server.objects == {"data-beside": b"stays", **{f"data/{name}": body for name, body in FILES.items()}}
    with opened(tmp_path, "other"):
        assert contents(pos3.download(url("data"))) == FILES
    server.moved()
    for cache in ("cache", "other"):
        with opened(tmp_path, cache):
            pos3.download(url("data"), tree if cache == "cache" else None, adopt=True)
    upload(tmp_path)
    assert server.moved() == []
    for gone in ("a", "b/c", "z/y/x"):
        (tree / gone).unlink()
    shutil.rmtree(tree / "z")
    (tree / "new").write_bytes(b"5")
    upload(tmp_path)
    left = contents(tree)
    assert server.objects == {"data-beside": b"stays", **{f"data/{name}": body for name, body in left.items()}}
    with opened(tmp_path, "other"):
        assert contents(pos3.download(url("data"))) == contents(tree)
    assert {each.status for each in server.asked} <= {200, 204, 206, 404}


def test_an_object_and_a_prefix_are_told_apart(server: MemoryServer, tmp_path: Path) -> None:
    for key in ("data", "data/x", "data-1", "other/a", "other/b/c"):
        server.put(key, key.encode(), age_seconds=HOUR)
    with opened(tmp_path):
        assert pos3.download(url("data"), tmp_path / "one").read_bytes() == b"data"
        assert contents(pos3.download(url("data/"))) == {"x": b"data/x"}
        assert pos3.ls(url("other")) == [url("other/a"), url("other/b")]
        assert pos3.ls(url("other"), recursive=True) == [url(f"other/{name}") for name in ("a", "b", "b/c")]
        with pytest.raises(pos3.RemoteNotFoundError):
            pos3.download(url("dat"))
        with pytest.raises(pos3.ConflictError):
            pos3.upload(url("other"), write_tree(tmp_path / "tree", {"file": b""}) / "file")
    assert {each.status for each in server.asked} <= {200, 404}


def test_sync_publish_and_the_command_line_work(server: MemoryServer, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", FILES)
    with opened(tmp_path):
        pos3.publish(url("set"), tree)
    with opened(tmp_path, "other"):
        assert contents(pos3.download(url("set"), require_marker="_SUCCESS")).keys() == {*FILES, "_SUCCESS"}
    local = tmp_path / "synced"
    for _ in range(2):
        ran = run_program("sync", url("set"), "--local", local, "--cache-root", tmp_path / "cli")
        assert (ran.status, contents(local).keys()) == (0, {*FILES, "_SUCCESS"}), ran.stderr
    with opened(tmp_path, "cli"):
        (pos3.sync(url("set"), local, interval=None) / "more").write_bytes(b"6")
    assert server.objects["set/more"] == b"6"
    assert {each.status for each in server.asked} <= {200, 204, 206, 404}


def test_large_objects_are_sent_and_kept_with_the_checksum_that_such_buckets_know(
    server: MemoryServer, tmp_path: Path
) -> None:
    write_tree(tmp_path / "tree", FILES)
    upload(tmp_path)
    sent = [each for each in server.asked if each.method == "PUT"]
    assert all(each.headers["x-amz-sdk-checksum-algorithm"] == "CRC32" for each in sent)
    [begun] = [each for each in server.asked if each.method == "POST" and "uploads" in each.query]
    assert begun.headers["x-amz-checksum-type"] == "COMPOSITE"


def test_an_upload_whose_id_was_lost_is_found_by_its_directory(server: MemoryServer) -> None:
    for key in ("d/x", "d/x", "d/x-longer", "e/x"):
        Server(server.endpoint_url).s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    abort([MultipartUpload("d/x", UNTOLD, 0.0)], S3Store(BUCKET, None, 4)._client, 4)
    assert sorted(server.unfinished.values()) == ["d/x-longer", "e/x"]
