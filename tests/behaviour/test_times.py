"""Times that few programs think of: beyond what 64 bits of nanoseconds hold, and before 1970."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pos3
from pos3.entries import EARLIEST_NS, LATEST_NS, Entry, storable_ns
from pos3.store.clock import seconds_of
from pos3.store.s3.listing import timestamp_ns
from tests.support import Handler, S3Site, ScriptedServer, contents, write_tree

YEARS = {
    1: -62_135_596_800,
    1500: -14_831_769_600,
    1601: -11_644_473_600,
    1969: -86_400,
    2263: 9_246_182_400,
    2446: 15_000_000_000,
    9999: 253_402_300_799,
}


@pytest.fixture(params=YEARS)
def seconds(request: pytest.FixtureRequest) -> int:
    return YEARS[request.param]


@pytest.fixture
def roomy(seconds: int, tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system that can hold the time: many stop at 2038 or 2446."""
    for place in (tmp_path, Path("/dev/shm")):
        if not place.is_dir():
            continue
        with tempfile.TemporaryDirectory(dir=place) as made:
            os.utime(made, (seconds, seconds))
            if os.stat(made).st_mtime == seconds:
                yield Path(made)
                return
    pytest.skip(f"no file system here holds a time of {seconds} s since 1970")


def test_a_file_of_any_year_is_pushed_and_brought_and_a_rerun_moves_nothing(
    s3: S3Site, tmp_path: Path, roomy: Path, seconds: int
) -> None:
    tree = write_tree(roomy / "tree", {"odd": b"1", "usual": b"2"})
    os.utime(tree / "odd", (seconds, seconds))
    moved = []
    for _ in range(3):
        with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
            pos3.upload(s3.url("data"), tree, interval=None)
            mirror.flush()
            moved.append(mirror.report().uploaded_files)
        moved[-1] = mirror.report().uploaded_files
    assert moved == [2, 0, 0]
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        pos3.sync(s3.url("data"), tree, interval=None)
    assert mirror.report().is_empty
    assert s3.objects("data/") == contents(tree) == {"odd": b"1", "usual": b"2"}
    # A change shows, whatever the time was.
    (tree / "odd").write_bytes(b"3")
    with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
        pos3.upload(s3.url("data"), tree, interval=None)
    assert s3.objects("data/") == {"odd": b"3", "usual": b"2"}


def stamp(seconds: int) -> str:
    """As ISO 8601, in the calendar of Python."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.000Z"


class Dated(Handler):
    """One object, at ``data/a``, of whatever time."""

    iso: ClassVar[str]
    http: ClassVar[str]
    gets: ClassVar[int]

    def respond(self) -> None:
        self.body()
        if "list-type" in self.path:
            page = (
                "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated><Contents><Key>data/a</Key>"
                f"<LastModified>{self.iso}</LastModified><ETag>&quot;c4ca4238a0b923820dcc509a6f75849b&quot;</ETag>"
                "<Size>1</Size></Contents></ListBucketResult>"
            )
            self.answer(200, page.encode())
        elif self.command in ("GET", "HEAD"):
            type(self).gets += self.command == "GET"
            self.answer(200, b"1", ETag='"c4ca4238a0b923820dcc509a6f75849b"', Last_Modified=self.http)
        else:
            self.answer(403)


@pytest.mark.parametrize(
    "iso",
    [
        *map(stamp, YEARS.values()),
        "0000-01-01T00:00:00Z",
        "12026-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999999-12:00",
        "1601-01-01T00:00:00",
        "1969-12-31T23:59:59.5Z",
        "2026-01-31T12:00:00+0530",
        "2026-01-31T12:00:00",
    ],
)
@pytest.mark.parametrize("place", ["disk", "memory"])
def test_an_object_of_any_year_is_brought_once(isolated_home: Path, tmp_path: Path, iso: str, place: str) -> None:
    if place == "memory" and not Path("/dev/shm").is_dir():
        pytest.skip("no file system in memory here")
    Dated.iso, Dated.gets = iso, 0
    Dated.http = formatdate(253_402_300_799, usegmt=True)
    with (
        ScriptedServer(Dated) as server,
        tempfile.TemporaryDirectory(dir="/dev/shm" if place == "memory" else tmp_path) as made,
    ):
        lab = pos3.Profile("lab", server.endpoint_url, access_key="key", secret_key="secret")
        for cache in ("cache", "cache", "another"):
            with pos3.mirror(tmp_path / cache, show_progress=False, default_profile=lab):
                pos3.download("s3://bucket/data", Path(made) / "here", adopt=True)
        assert contents(Path(made)) == {"here/a": b"1"}
    assert Dated.gets == 1


def ns_of(text: str) -> int:
    timestamp_ns.cache_clear()
    return timestamp_ns(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1970-01-01T00:00:00Z", 0, id="epoch"),
        pytest.param("1969-12-31T23:59:59.5Z", -500_000_000, id="half-a-second-before"),
        pytest.param("1960-02-29T00:00:00.000001Z", -310_521_599_999_999_000, id="a-microsecond-after"),
        pytest.param("1970-01-01T01:00:00+01:00", 0, id="offset"),
        pytest.param("1970-01-01T00:00:00", 0, id="no-offset"),
        pytest.param("1970-01-01T00:00:01.123456789Z", 1_123_456_000, id="nanoseconds"),
        pytest.param("0001-01-01T00:00:00+14:00", EARLIEST_NS, id="before-year-1"),
        pytest.param("9999-12-31T23:59:59-12:00", LATEST_NS, id="after-year-9999"),
    ],
)
def test_the_time_of_a_listing_is_read_in_utc_to_the_microsecond(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    for zone in ("UTC", "Asia/Kolkata", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert ns_of(text) == expected
    monkeypatch.undo()
    time.tzset()


@given(st.datetimes(timezones=st.just(dt.UTC)).map(lambda moment: moment.replace(microsecond=0)))
def test_header_and_listing_tell_the_same_time(moment: dt.datetime) -> None:
    header = f"{moment:%a, %d %b} {moment.year:04} {moment:%H:%M:%S} GMT"
    iso = f"{moment.year:04}-{moment:%m-%dT%H:%M:%SZ}"
    assert storable_ns(int(seconds_of(header)) * 1_000_000_000) == timestamp_ns(iso)


class Status:
    st_size, st_mtime_ns = 1, 0

    def __init__(self, inode: int):
        self.st_ino = inode


@pytest.mark.parametrize("inode", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_inode_of_any_number_can_be_remembered(inode: int) -> None:
    # As file systems that hash names give them; none of these is here.
    entry = Entry.of_file("a", Status(inode))  # type: ignore[arg-type]
    with sqlite3.connect(":memory:") as connection:
        assert connection.execute("SELECT ?", (entry.inode,)).fetchone() == (entry.inode,)
    assert entry.inode % 2**64 == inode
