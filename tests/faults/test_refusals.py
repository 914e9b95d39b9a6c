"""What a server refuses for good: the cause and the key are named, and the others are carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, opened, small_files
from tests.support import (
    S3Site,
    Status,
    contents,
    on,
    write_tree,
)


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


def test_thousands_of_failures_are_a_short_message(three_pages: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(three_pages, Status(403, "AccessDenied", match=on("GET")))
    with opened(tmp_path), pytest.raises(pos3.TransferError) as caught:
        pos3.download(three_pages.url("data"))
    assert len(str(caught.value)) < 2000
    assert 100 <= len(caught.value.failures) <= 200
    assert proxy.count("GET") <= 200
