"""What is remembered of a local root is kept for each place that it mirrors: a URL at an endpoint."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

import pos3
from pos3.entries import UNKNOWN_OWNER, Record
from pos3.state.cache import list_cache, verify_cache
from pos3.state.index import Index, page_query
from pos3.state.root_index import Place, RootIndex
from pos3.store import endpoint_of
from tests.faults.base import opened, run_python
from tests.support import MotoServer, Proxy, RcloneServer, S3Site, contents, write_tree

# As version 1 of the index had it.
VERSION_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size_bytes INT, modified_ns INT, inode INT, etag TEXT, owner TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS root (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def index_of(cache: Path, local: Path, url: str, endpoint: str) -> Index:
    return Index(RootIndex(str(cache), str(local)), Place(endpoint, url))


def make_version_1(root: RootIndex, url: str, records: list[Record]) -> None:
    """The file that an older pos3 would have left."""
    root.delete()
    os.makedirs(root.directory, mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(root.path)) as connection, connection:
        connection.executescript(VERSION_1)
        connection.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)", [record[:6] for record in records])
        facts = {"local": root.local, "url": url, "used_at": "1000.5", "filled": "yes", "holds_markers": "no"}
        connection.executemany("INSERT INTO root VALUES (?, ?)", facts.items())


def numbered(count: int, owner: str = "me") -> list[Record]:
    return [Record(f"{number:06}", number, number, number, f"e{number}", owner) for number in range(count)]


def test_a_directory_that_is_copied_from_one_url_to_another_keeps_the_records_of_both(
    s3: S3Site, tmp_path: Path
) -> None:
    s3.put_all({"from/a": b"1", "from/b": b"2"})
    local = tmp_path / "local"
    for _ in range(2):
        with opened(tmp_path):
            pos3.download(s3.url("from"), local)
        with opened(tmp_path) as mirror:
            pos3.upload(s3.url("to"), local, interval=None)
    assert mirror.report().uploaded_files == 0
    assert s3.objects("to/") == contents(local)
    for url in (s3.url("from"), s3.url("to")):
        records = index_of(tmp_path / "cache", local, url, endpoint_of("s3", None)).records()
        assert [record.path for record in records] == ["a", "b"]


def test_records_of_a_url_at_another_endpoint_never_count(
    rclone: RcloneServer, moto: MotoServer, moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bucket name at two servers: what is pushed to one of them is not in the other."""
    rclone.create_bucket(moto_site.bucket)
    with opened(tmp_path):
        write_tree(pos3.upload(moto_site.url("out"), interval=None), {"a": b"1", "b": b"2"})
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    with opened(tmp_path):
        pos3.upload(moto_site.url("out"), interval=None)
        assert pos3.flush().uploaded_files == 2
        assert set(rclone.keys(moto_site.bucket, "out/")) == {"out/a", "out/b"}


def test_an_index_of_version_1_is_taken_over_with_all_that_it_knows(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    records = [Record("", 1, 2, 3, "e", "x"), Record("ä/b", 4, 5 << 40, 6, "f-2"), Record("b", 7, 8, 9, "g", "y")]
    make_version_1(root, "s3://bucket/data", records)
    index = Index(root, Place("http://here", "s3://bucket/data"))
    assert list(index.records()) == [record._replace(owner=UNKNOWN_OWNER) for record in sorted(records)]
    assert (root.get_note("local"), root.get_note("filled"), index.get_note("holds_markers")) == ("/data", "yes", "no")
    [known] = root.places()
    assert (known.place, known.used_at) == (Place(None, "s3://bucket/data"), 1000.5)
    assert not list(Path(root.directory).glob("*.broken*"))


def test_an_index_of_version_1_that_knows_no_url_is_taken_over_as_an_empty_one(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    make_version_1(root, "", numbered(3))
    index = Index(root, Place("", "s3://bucket/data"))
    assert list(index.records()) == []
    index.write(numbered(2))
    assert list(index.records()) == numbered(2)


def test_records_without_an_endpoint_count_for_the_first_one_that_asks_for_their_url(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    make_version_1(root, "s3://bucket/data", numbered(3))
    first, second = (Index(root, Place(f"http://{name}", "s3://bucket/data")) for name in ("first", "second"))
    assert not Index(root, Place("http://first", "s3://bucket/other")).is_known
    assert [len(list(index.records())) for index in (second, first)] == [3, 3], "a look alone settles nothing"
    first.mark_used()
    assert [len(list(index.records())) for index in (second, first)] == [0, 3]


def test_a_run_after_the_upgrade_costs_a_listing_and_no_body(
    s3: S3Site, tmp_path: Path, proxied: Callable[..., Proxy]
) -> None:
    s3.put_all({"data/a": b"1", "data/b": b"2"})
    proxy = proxied(s3)
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
    index = index_of(tmp_path / "cache", path, s3.url("data"), endpoint_of("s3", None))
    make_version_1(index.root, s3.url("data"), list(index.records()))
    proxy.clear()
    with opened(tmp_path):
        pos3.download(s3.url("data"))
    assert proxy.kinds == {"LIST": 1}
    assert [(record.path, record.owner) for record in index.records()] == [("a", UNKNOWN_OWNER), ("b", UNKNOWN_OWNER)]


MIGRATING = """
import sys
from pos3.state.index import Index
from pos3.state.root_index import Place, RootIndex
print("ready", flush=True)
sys.stdin.read()
index = Index(RootIndex(sys.argv[1], "/data"), Place("", "s3://bucket/data"))
index.mark_used()
print(len(list(index.records())))
"""


def test_several_processes_that_take_over_one_index_at_once_lose_no_record(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    make_version_1(root, "s3://bucket/data", numbered(30_000))
    reading, writing = os.pipe()
    programs = [run_python(MIGRATING, tmp_path, stdin=reading) for _ in range(4)]
    os.close(reading)
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    os.close(writing)
    assert [program.communicate(timeout=60)[0] for program in programs] == ["30000\n"] * 4
    assert not list(Path(root.directory).glob("*.broken*"))


def test_records_of_a_place_are_read_in_the_order_of_the_index_and_not_sorted(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    Index(root, Place("", "s3://bucket/data")).write(numbered(1000))
    with closing(sqlite3.connect(root.path)) as connection:
        for comparison in (">", ">="):
            query = f"EXPLAIN QUERY PLAN {page_query(comparison)}"  # type: ignore[arg-type]
            plan = [row[3] for row in connection.execute(query, ("s3://bucket/data", "", "000500"))]
            assert "SEARCH files USING PRIMARY KEY (place=? AND path>?)" in plan


def test_only_the_places_that_were_used_last_are_remembered(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    for number in range(20):
        index = Index(root, Place("", f"s3://bucket/run-{number}"))
        index.mark_used()
        index.write(numbered(2))
    assert len(root.places()) == 16
    assert list(index.records()) == numbered(2)
    with closing(sqlite3.connect(root.path)) as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (32,)


def test_a_root_is_clean_if_each_file_is_as_one_of_its_places_has_it(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"from/a": b"1", "from/b": b"2"})
    with opened(tmp_path):
        path = pos3.download(s3.url("from"))
    with opened(tmp_path):
        pos3.upload(s3.url("to"), path, interval=None, exclude="b")
    [cached] = list_cache(str(tmp_path / "cache"))
    assert (cached.url, cached.is_dirty) == (s3.url("to"), False)
    assert verify_cache(str(tmp_path / "cache")) == []
    (path / "a").unlink()
    (path / "b").write_bytes(b"22")
    found = {Path(problem.local).name: problem.problem for problem in verify_cache(str(tmp_path / "cache"))}
    assert found == {"a": "missing", "b": "changed since it was synced"}
    assert list_cache(str(tmp_path / "cache"))[0].is_dirty


def test_a_path_of_the_cache_stands_for_what_it_mirrors_at_the_endpoint_of_now(
    rclone: RcloneServer, moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto_site.put("data/a", b"1")
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"))
    with opened(tmp_path) as mirror:
        reference = mirror.reference(path)
        assert reference is not None
        assert reference.url == moto_site.url("data/")
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    with opened(tmp_path) as mirror:
        assert mirror.reference(path) is None


CONFIG = """
[default]
endpoint_url = https://global.example.com/
[profile service]
services = lab
endpoint_url = https://global.example.com
[services lab]
s3 =
  endpoint_url = https://LAB.example.com/base/
[profile ignoring]
endpoint_url = https://global.example.com
ignore_configured_endpoint_urls = true
[profile china]
region = cn-north-1
[profile aws]
region = eu-north-1
"""


@pytest.mark.parametrize(
    ("profile", "environment", "expected"),
    [
        (pos3.Profile("a", "https://S3.Example.com/"), {}, "https://s3.example.com"),
        (pos3.Profile("b", "https://s3.example.com", access_key="k", secret_key="s"), {}, "https://s3.example.com"),
        (pos3.Profile("a", "https://x"), {"AWS_ENDPOINT_URL_S3": "http://y"}, "https://x"),
        (None, {"AWS_ENDPOINT_URL": "http://x:9000"}, "http://x:9000"),
        (None, {"AWS_ENDPOINT_URL": "http://x", "AWS_ENDPOINT_URL_S3": "http://who:hunter2@y"}, "http://y"),
        (None, {"AWS_ENDPOINT_URL": "http://x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
        (None, {}, "https://global.example.com"),
        (None, {"AWS_PROFILE": "service"}, "https://lab.example.com/base"),
        (pos3.Profile("a", None, aws_profile="service"), {}, "https://lab.example.com/base"),
        (None, {"AWS_PROFILE": "ignoring"}, ""),
        (None, {"AWS_PROFILE": "aws"}, ""),
        (None, {"AWS_PROFILE": "china"}, "aws:cn"),
    ],
)
def test_an_endpoint_is_the_one_that_boto3_would_use(
    profile: pos3.Profile | None,
    environment: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert endpoint_of("s3", profile) == expected
    assert endpoint_of("memory", None) == ""


def test_several_that_write_to_a_new_place_at_once_have_all_written(tmp_path: Path) -> None:
    count = 6
    for attempt in range(10):
        index, ready = (
            index_of(tmp_path, tmp_path / "root", f"s3://bucket/{attempt}", "https://s3.example.com"),
            Barrier(count),
        )

        def write(number: int, index: Index = index, ready: Barrier = ready) -> None:
            ready.wait()
            index.write([Record(f"file-{number}", 1, 1, 1, "etag", "owner")])

        with ThreadPoolExecutor(count) as threads:
            list(threads.map(write, range(count)))
        assert [record.path for record in index.records()] == [f"file-{number}" for number in range(count)]
