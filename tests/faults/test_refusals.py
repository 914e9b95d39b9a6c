"""What a server refuses for good: the cause and the key are named, and the others are carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, eventually, opened, small_files
from tests.support import (
    S3Site,
    Status,
    contents,
    on,
    write_tree,
)
from tests.support.trees import many_files


@pytest.mark.parametrize(
    ("status", "code"), [(403, "InvalidObjectState"), (400, "KMS.DisabledException"), (405, "MethodNotAllowed")]
)
def test_an_object_that_cannot_be_read_is_named_with_the_servers_own_code(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, status: int, code: str
) -> None:
    """Archived objects, for one, answer 403, and no other credentials would help."""
    s3.put_all({"data/archived": b"1", "data/other": b"2"})
    proxied(s3, Status(status, code, match=on("GET", key="archived")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=f"data/archived.*{code}"):
        pos3.download(s3.url("data"))


@pytest.mark.parametrize("direction", ["download", "upload"])
def test_one_file_that_is_forbidden_does_not_keep_the_others(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, direction: str
) -> None:
    files = small_files(40, 10)
    proxied(s3, Status(403, "AccessDenied", match=on("GET", "PUT", key="/3/003$")))
    if direction == "download":
        s3.put_all({f"data/{name}": data for name, data in files.items()})
        with opened(tmp_path), pytest.raises(pos3.TransferError) as caught:
            pos3.download(s3.url("data"))
        arrived = contents(tmp_path / "cache" / "_" / s3.bucket / "data")
    else:
        s3.put("data/stale", b"")
        tree = write_tree(tmp_path / "tree", files)
        with pytest.raises(pos3.TransferError) as caught, opened(tmp_path):
            pos3.upload(s3.url("data"), tree, interval=None)
        arrived = s3.objects("data/")
        assert arrived.pop("stale") == b""
    assert "data/3/003" in str(caught.value)
    assert len(caught.value.failures) == 1
    assert isinstance(caught.value.failures[0], pos3.AccessDeniedError)
    del files["3/003"]
    assert arrived == files


def test_one_object_that_the_server_cannot_read_does_not_keep_the_others(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    files = small_files(20, 10)
    rclone_site.put_all({f"data/{name}": data for name, data in files.items()})
    proxied(rclone_site, Status(500, "InternalError", match=on("GET", key="/0/000$")))
    with opened(tmp_path, max_workers=1), pytest.raises(pos3.TransferError, match="data/0/000") as caught:
        pos3.download(rclone_site.url("data"))
    assert len(caught.value.failures) == 1
    del files["0/000"]
    assert contents(tmp_path / "cache" / "_" / rclone_site.bucket / "data") == files


def test_thousands_of_failed_downloads_are_one_short_error(
    three_pages: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = proxied(three_pages, Status(403, "AccessDenied", match=on("GET")))
    with opened(tmp_path), pytest.raises(pos3.TransferError) as caught:
        pos3.download(three_pages.url("data"))
    assert len(str(caught.value)) < 2000
    assert 100 <= len(caught.value.failures) <= 200
    assert proxy.count("GET") <= 200
    assert caplog.records == []


def test_thousands_of_failed_uploads_are_one_short_error_and_few_lines(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    tree = many_files(tmp_path / "tree", 2000)
    proxy = proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT")))
    with pytest.raises(pos3.TransferError) as caught, opened(tmp_path):  # noqa: PT012
        pos3.upload(rclone_site.url("data"), tree, interval=0.2)
        eventually(lambda: caplog.records)
    assert len(str(caught.value)) < 2000
    assert 100 <= len(caught.value.failures) <= 200
    assert proxy.count("PUT") <= 600
    assert len(caplog.records) <= 3
    assert all(len(record.getMessage()) < 2000 for record in caplog.records)
    assert rclone_site.keys() == {}


def test_many_keys_that_cannot_be_files_are_one_short_error(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({f"data/x//{number}": b"" for number in range(150)})
    with opened(tmp_path), pytest.raises(pos3.UnsafeKeysError) as caught:
        pos3.download(moto_site.url("data"))
    assert len(str(caught.value)) < 4000
    assert len(caught.value.problems) == 100


def test_thousands_of_files_that_cannot_be_uploaded_are_one_short_line_each_time(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    for number in range(1500):
        (tree / f"broken-{number}").symlink_to("nowhere")
    with opened(tmp_path) as mirror:
        pos3.upload(rclone_site.url("data"), tree, interval=None)
    assert rclone_site.objects("data/") == {"a": b"1"}
    assert len(mirror.report().kept) == 1000
    assert sum(len(record.getMessage()) for record in caplog.records) < 2000
    assert len(str(mirror.report())) < 2000
