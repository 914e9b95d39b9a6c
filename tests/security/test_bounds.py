"""Answers without an end: whatever a store sends, pos3 takes no more memory, disk or time than was to be expected."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Self

import pytest

import pos3
from tests.support import Request, write_tree
from tests.support.hostile import BLOCK, MD5_OF_ABC, HostileStore, Play, element, endless, error, found, page, raw
from tests.support.program import ROOT

Stage = Callable[[dict[str, Play]], HostileStore]
MIB = 1 << 20
ETAG = b'ETag: "' + MD5_OF_ABC.encode() + b'"'
_MEASURED = """
import resource, sys
import pos3
from pos3.store import retry
# As many attempts as ever.
retry._FIRST_PAUSE_SECONDS, retry._LONGEST_PAUSE_SECONDS = 0.01, 0.25
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with pos3.mirror(sys.argv[1], show_progress=False):
        {call}
    print("done")
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def measured(call: str, cache: Path) -> tuple[str, int, float]:
    """What came of a call in a process of its own, how many MiB it took at the most, and how many seconds."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURED.format(call=call), str(cache)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=90,
    )
    told, _, kib = ran.stdout.strip().rpartition("\n")
    assert kib, ran.stderr
    return told, int(kib) // 1024, time.monotonic() - began


LS = "pos3.ls('s3://bucket/data', recursive=True)"
DOWNLOAD = "pos3.download('s3://bucket/data')"


def disk_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and ".pos3" not in path.parts)


class Watch:
    """The most that a directory held while this was open, as far as it was looked at."""

    def __init__(self, root: Path):
        self.root, self.most_bytes = root, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            try:
                self.most_bytes = max(self.most_bytes, disk_bytes(self.root))
            except OSError:
                continue

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"<ListBucketResult><IsTruncated>false</IsTruncated>", id="page"),
        pytest.param(b"<ListBucketResult><Contents><Key>", id="key"),
        pytest.param(b"\r\n", id="anything"),
    ],
)
def test_a_page_that_never_ends_is_an_error(hostile: Stage, tmp_path: Path, begin: bytes) -> None:
    store = hostile({"LIST": lambda _: endless(200, begin)})
    told, mib, seconds = measured(LS, tmp_path)
    assert "longer than" in told or "no S3 server" in told
    assert told.startswith(("StoreError", "TooLongError", "EndpointError", "StrangeAnswerError"))
    assert mib < 150
    assert seconds < 20
    assert len(store.asked) < 8


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
@pytest.mark.parametrize(
    "begin", [b"<Error><Code>AccessDenied</Code><Message>no</Message>", b"<html>"], ids=["s3", "html"]
)
def test_the_body_of_an_error_that_never_ends_is_cut(hostile: Stage, tmp_path: Path, status: int, begin: bytes) -> None:
    hostile({"LIST": lambda _: endless(status, begin), "HEAD": raw(403)})
    told, mib, _ = measured(LS, tmp_path)
    assert told.startswith(
        ("AccessDeniedError", "EndpointError", "StrangeAnswer", "BusyError", "StoreError", "RemoteNot")
    )
    if status != 404:
        assert ("AccessDenied" in told) == (b"AccessDenied" in begin or (status == 403 and b"Error" not in begin))
    assert mib < 50


def test_an_error_that_tells_a_long_body_is_still_that_error(hostile: Stage, tmp_path: Path) -> None:
    """A gateway's page of HTML may be long, and the object's own length does not bound it."""
    long = b"<Error><Code>AccessDenied</Code><Message>no</Message>" + b" " * (3 * MIB) + b"</Error>"
    hostile({"GET": raw(403, long)})
    with (
        pos3.mirror(tmp_path, show_progress=False),
        pytest.raises(pos3.TransferError, match="access denied") as failure,
    ):
        pos3.download("s3://bucket/data")
    assert isinstance(failure.value.failures[0], pos3.AccessDeniedError)


@pytest.mark.parametrize("listed", [3, 300_000, 20 * MIB], ids=["small", "middle", "ranges"])
@pytest.mark.parametrize("honours_ranges", [True, False], ids=["206", "200"])
def test_an_object_that_is_longer_than_listed_is_an_error_and_no_more_of_it_is_written(
    hostile: Stage, tmp_path: Path, listed: int, honours_ranges: bool
) -> None:
    def body(request: Request) -> Iterator[bytes]:
        wanted = request.headers.get("range", "")
        if not wanted or not honours_ranges:
            return endless(200, b"", BLOCK, ETAG)
        content_range = b"Content-Range: " + wanted.replace("=", " ").encode() + b"/%d" % listed
        return endless(206, b"", BLOCK, ETAG, content_range)

    length = b"HTTP/1.1 200 OK\r\n" + ETAG + b"\r\nContent-Length: %d\r\n\r\n" % listed
    hostile({"LIST": raw(200, page(element("data/a", listed))), "GET": body, "HEAD": length})
    with Watch(tmp_path) as watch:
        told, mib, _ = measured(DOWNLOAD, tmp_path)
    assert "longer than" in told
    assert "ObjectChanged" in told or "TransferError" in told
    assert watch.most_bytes <= listed
    assert mib < 150
    assert not list(tmp_path.rglob("a"))


def test_what_an_object_longer_than_listed_is_called(hostile: Stage, tmp_path: Path) -> None:
    hostile({"GET": found(b"x" * 10_000)})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.TransferError) as failure:
        pos3.download("s3://bucket/data")
    [error] = failure.value.failures
    assert isinstance(error, pos3.StoreError)
    assert "longer than the 3 bytes that it was listed with" in str(error)


def test_an_object_that_was_replaced_by_a_longer_one_is_downloaded(hostile: Stage, tmp_path: Path) -> None:
    etag = b"7ac66c0f148de9519b8bd264312c4d64"
    hostile({"GET": found(b"abcdefg", etag), "HEAD": found(b"abcdefg", etag)})
    with pos3.mirror(tmp_path, show_progress=False):
        assert (pos3.download("s3://bucket/data") / "a").read_bytes() == b"abcdefg"


@pytest.mark.parametrize("call", [LS, DOWNLOAD, "pos3.ls('s3://bucket/data')", "pos3.upload('s3://bucket/data')"])
def test_a_listing_of_empty_pages_that_never_ends_is_an_error(hostile: Stage, tmp_path: Path, call: str) -> None:
    numbers = count()
    store = hostile({"LIST": lambda _: raw(200, page(token=f"t{next(numbers)}"))})
    told, _, seconds = measured(call, tmp_path)
    assert "empty pages" in told or "nothing new" in told
    assert seconds < 40
    assert len(store.asked) < 2500


def test_an_unsorted_listing_that_brings_nothing_new_ends(hostile: Stage, tmp_path: Path) -> None:
    numbers = count()
    pages = (page(element("data/b"), element("data/a"), token=f"t{number}") for number in numbers)
    hostile({"LIST": lambda _: raw(200, next(pages)), "HEAD": raw(404)})
    told, _, _ = measured(LS, tmp_path)
    assert "nothing new" in told


def test_some_empty_pages_are_no_error(hostile: Stage, tmp_path: Path) -> None:
    numbers = count()

    def listed(_: Request) -> bytes:
        number = next(numbers)
        return raw(
            200, page(*([element("data/b")] if number == 30 else []), token="" if number >= 30 else f"t{number}")
        )

    hostile(
        {
            "LIST": lambda request: (
                raw(200, page(element("data/a"), token="t")) if len(request.query) < 5 else listed(request)
            )
        }
    )
    told, _, _ = measured(f"assert len({LS}) == 2", tmp_path)
    assert told == "done"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\nX: ", BLOCK], id="one-header"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000], id="many-headers"),
        pytest.param([b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000], id="many-heads"),
        pytest.param([b"", b"HTTP/1.1 103 Early\r\nX: " + b"y" * 90_000 + b"\r\n\r\n"], id="long-heads"),
    ],
)
def test_headers_that_never_end_are_an_error(hostile: Stage, tmp_path: Path, head: list[bytes]) -> None:
    def wire(_: Request) -> Iterator[bytes]:
        yield head[0]
        while True:
            yield head[1]

    hostile({"LIST": wire})
    told, mib, seconds = measured(LS, tmp_path)
    assert told.startswith(("UnreachableError", "EndpointError", "StoreError"))
    assert mib < 100
    assert seconds < 30


def test_a_refusal_of_a_large_object_keeps_its_cause(hostile: Stage, tmp_path: Path) -> None:
    hostile({"LIST": raw(200, page(element("data/a", 20 * MIB))), "GET": error("AccessDenied", "no", 403)})
    with pos3.mirror(tmp_path, show_progress=False), pytest.raises(pos3.TransferError, match="access denied"):
        pos3.download("s3://bucket/data")


@pytest.mark.parametrize(
    "piece",
    [
        b"<Contents><Key>a</Key></Contents>",
        element("a", modified="2026").encode(),
        b"<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>",
    ],
    ids=["bare", "whole", "directories"],
)
def test_a_page_of_more_objects_than_any_server_sends_is_one_error_and_asked_for_once(
    hostile: Stage, tmp_path: Path, piece: bytes
) -> None:
    store = hostile({"LIST": raw(200, page(piece.decode() * (20 * MIB // len(piece))))})
    told, mib, seconds = measured(LS, tmp_path)
    assert told.startswith("StoreError: ")
    assert "more than 10000 entries" in told
    assert len(store.asked) == 1
    assert mib < 300
    assert seconds < 20


def test_an_answer_of_more_elements_than_any_server_sends_takes_little_memory(hostile: Stage, tmp_path: Path) -> None:
    body = b"<DeleteResult>" + b"<a>" * 2_000_000 + b"</a>" * 2_000_000 + b"</DeleteResult>"
    hostile({"POST ?delete": raw(200, body), "LIST": raw(200, page(element("data/a"), element("data/b")))})
    write_tree(tmp_path / "tree", {"a": b"abc"})
    upload = f"pos3.upload('s3://bucket/data', {str(tmp_path / 'tree')!r}, interval=None)"
    told, mib, _ = measured(upload, tmp_path / "cache")
    assert told.startswith("TransferError: ")
    assert mib < 300
