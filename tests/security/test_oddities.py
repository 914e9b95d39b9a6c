"""Answers that are no answers: one error of pos3 each, or quiet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import pos3
from pos3.jobs.manifest import Manifest
from tests.support import write_tree
from tests.support.hostile import HostileStore, Play, element, found, page, raw

pytestmark = pytest.mark.usefixtures("short_pauses")
Stage = Callable[[dict[str, Play]], HostileStore]
MIB = 1 << 20
DOCTYPE = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(7))
    + b"]>"
)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 4000,
        b'{"pos3_set": 1, "files": ' + b"[" * 3900,
        b'{"pos3_set": 1, "files": ' + b"9" * 4000 + b', "size_bytes": 1, "sha256": ""}',
        b'{"pos3_set": 1, "files": [], "size_bytes": {}, "sha256": 3}',
        b'{"pos3_set": 1, "files": true, "size_bytes": 1.5, "sha256": "x"}',
        b'{"pos3_set": 1, "files": NaN, "size_bytes": -1, "sha256": null}',
        b"\xff\xfe",
        b"null",
    ],
    ids=lambda content: content[:30].decode("latin-1"),
)
def test_a_marker_that_is_no_manifest_is_that_of_another_writer(content: bytes) -> None:
    assert Manifest.parse(content) is None


def test_a_marker_of_brackets_is_one_of_another_writer_in_a_download_as_well(hostile: Stage, tmp_path: Path) -> None:
    content = b"[" * 4000
    listed = page(element("data/_SUCCESS", len(content), "e"), element("data/a"))
    hostile(
        {
            "LIST": lambda request: raw(
                200,
                page(element("data/_SUCCESS", len(content), "e"))
                if request.query["prefix"].startswith("data/_SUCCESS")
                else listed,
            ),
            "GET": lambda request: found(content, b"e") if request.key.endswith("_SUCCESS") else found(),
            "HEAD": lambda request: found(content, b"e") if request.key.endswith("_SUCCESS") else found(),
        }
    )
    with pos3.mirror(tmp_path, show_progress=False):
        root = pos3.download("s3://bucket/data", require_marker="_SUCCESS")
    assert (root / "a").read_bytes() == b"abc"


def uploaded(tmp_path: Path) -> None:
    local = write_tree(tmp_path / "local", {"big": b"x" * (9 * MIB)})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload("s3://bucket/out", local, interval=None)


@pytest.mark.parametrize(
    "answer",
    [b"<R><UploadId>\xff\xfe</UploadId></R>", b"<R><UploadId>a\x00b</UploadId></R>", b"<R/>", b"", b"\xff" * 1000],
    ids=ascii,
)
def test_an_upload_id_that_is_none_is_one_error(hostile: Stage, tmp_path: Path, answer: bytes) -> None:
    hostile({"POST ?uploads": raw(200, answer), "LIST": raw(200, page())})
    with pytest.raises(pos3.TransferError) as failure:
        uploaded(tmp_path)
    assert all(isinstance(each, pos3.StoreError) for each in failure.value.failures)


@pytest.mark.parametrize("etag", [b"\xff\xfe", b"&#10;", b"x" * 100_000], ids=lambda etag: ascii(etag[:9]))
def test_an_etag_that_is_no_utf_8_is_no_crash(hostile: Stage, tmp_path: Path, etag: bytes) -> None:
    name = b"CompleteMultipartUploadResult"
    hostile(
        {
            "POST ?uploadId": raw(200, b"<%b><ETag>%b</ETag></%b>" % (name, etag, name)),
            "LIST": raw(200, page()),
            "PUT ?partNumber": found(b"", b"\xff\xfe"),
            "HEAD": found(b"x" * (9 * MIB), b"\xff\xfe-2"),
        }
    )
    uploaded(tmp_path)


@pytest.mark.parametrize(
    "etag",
    ["0" * 32 + "-" + "9" * 5000, "0" * 32 + "-0", "0" * 32 + "-" + "9" * 18, "x" * 100_000],
    ids=lambda e: e[:40],
)
def test_an_etag_of_many_digits_is_no_crash(hostile: Stage, tmp_path: Path, etag: str) -> None:
    hostile({"LIST": raw(200, page(element("data/a", etag=etag))), "GET": found(b"abc", etag.encode()[:60_000])})
    with pos3.mirror(tmp_path, show_progress=False):
        assert (pos3.download("s3://bucket/data") / "a").read_bytes() == b"abc"


@pytest.mark.parametrize("size", ["9" * 30, "9" * 5000, "9" * 20, "-1", "1e3"], ids=lambda size: ascii(size[:9]))
def test_a_listed_size_that_is_none_is_one_error(hostile: Stage, tmp_path: Path, size: str) -> None:
    hostile({"LIST": raw(200, page(element("data/a", size)))})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.StoreError, match="no listing"):
        pos3.download("s3://bucket/data")


@pytest.mark.parametrize("length", [b"9" * 5000, b"9" * 30, b"-1", b"\xd9\xa3"], ids=lambda length: ascii(length[:9]))
def test_a_length_that_is_none_is_one_error(hostile: Stage, tmp_path: Path, length: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: " + length + b"\r\n\r\n"
    hostile({"LIST": raw(403), "HEAD": answer, "GET": answer + b"abc"})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises((pos3.StoreError, pos3.TransferError)):
        pos3.download("s3://bucket/data")


@pytest.mark.parametrize(
    "answer",
    [
        DOCTYPE + b"<DeleteResult><Error><Key>out/b</Key><Code>x</Code><Message>&h;</Message></Error></DeleteResult>",
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><DeleteResult/>',
        b"<DeleteResult>" + b"<a>" * 100_000,
        b"<?xml version='1.0' encoding='no-such'?><DeleteResult/>",
        b"\xff\xfe<\x00",
    ],
    ids=["entities", "external", "deep", "encoding", "utf-16"],
)
def test_an_answer_to_a_delete_that_declares_a_document_type_is_one_error(
    hostile: Stage, tmp_path: Path, answer: bytes
) -> None:
    local = write_tree(tmp_path / "local", {"a": b"abc"})
    hostile({"LIST": raw(200, page(element("out/b"))), "POST ?delete": raw(200, answer)})
    with (
        pytest.raises(pos3.TransferError) as failure,
        pos3.mirror(tmp_path / "cache", show_progress=False),
    ):
        pos3.upload("s3://bucket/out", local, interval=None, delete=True)
    [error] = failure.value.failures
    assert isinstance(error, pos3.StoreError)
    assert "not valid XML" in str(error)
    assert len(str(error)) < 500


def test_a_status_line_that_is_none_is_one_error_and_prints_nothing(
    hostile: Stage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for line in (b"HTTP/1.1 200\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 abc\r\n", b"200 OK\r\n", b"HTTP/2 200\r\n", b"\x00"):
        hostile({"GET": line + b"Content-Length: 3\r\n\r\nabc"})
        with suppress(pos3.TransferError), pos3.mirror(tmp_path, show_progress=False):
            assert (pos3.download("s3://bucket/data", tmp_path / "x") / "a").read_bytes() == b"abc"
    assert capfd.readouterr().err == ""
    assert threading.active_count() < 50
