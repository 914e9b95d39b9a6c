"""What every store promises, checked on each of them: see the docstrings of pos3.store.base.Store."""

from __future__ import annotations

import gc
import gzip
import hashlib
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import fsspec
import pytest

import pos3
from pos3.entries import Entry, PathRange
from pos3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    EndpointError,
    RemoteNotFoundError,
    StoreError,
    TransferCancelledError,
)
from pos3.store import Store, UnsortedListingError, carried_out, open_store
from pos3.url import Location
from tests.support import (
    YOURS,
    Fault,
    Handler,
    MotoServer,
    Proxy,
    RcloneServer,
    ResetBefore,
    S3Site,
    ScriptedServer,
    Server,
    Status,
    Stored,
    Traits,
    Truncate,
    on,
)
from tests.support.trees import ODD_NAMES, longest_name, pseudo_random

PutBefore = Callable[..., Proxy]
MIB = 1 << 20
SIBLINGS = 1010
# moto takes several milliseconds to store an object.
BELOW = {"rclone": 3050, "moto": 1010, "memory": 1010, "env": 1010}


def fetch(store: Store, *arguments: Any) -> Entry:
    return carried_out(store, lambda: store.download(*arguments))


def send(store: Store, *arguments: Any) -> str:
    return carried_out(store, lambda: store.upload(*arguments))


def s3_store(bucket: str, profile: pos3.Profile | None = None) -> Store:
    return open_store(Location("s3", bucket, ""), profile, 4)


@dataclass(frozen=True)
class Place:
    """One store under test, and a direct line to what it holds."""

    store: Store
    traits: Traits
    put: Callable[[str, bytes], object]
    get: Callable[[str], bytes]
    keys: Callable[[], dict[str, Stored]]
    uploads: Callable[[], list[str]]

    def put_all(self, objects: dict[str, bytes]) -> None:
        for key, data in objects.items():
            self.put(key, data)

    def listed(self, key: str = "") -> Entry:
        """The object of exactly this key, as the store lists it."""
        [entry] = self.store.entries(key, is_prefix=False)
        return entry

    def download(self, key: str, target: Path, *told: Any) -> Entry:
        return fetch(self.store, key, self.listed(key), str(target), *told)


def of_site(site: S3Site) -> Place:
    server, bucket = site.server, site.bucket
    return Place(s3_store(bucket), server.traits, site.put, site.get, site.keys, lambda: server.uploads(bucket))


def of_memory(bucket: str) -> Place:
    files = fsspec.filesystem("memory")

    def keys() -> dict[str, Stored]:
        found = files.find(f"/{bucket}", detail=True)
        return {name[len(bucket) + 2 :]: Stored(details["size"], "", 0.0) for name, details in found.items()}

    return Place(
        open_store(Location("memory", bucket, ""), None, 4),
        Traits(any_key=False, versions=False),
        lambda key, data: files.pipe_file(f"/{bucket}/{key}", data),
        lambda key: bytes(files.cat_file(f"/{bucket}/{key}")),
        keys,
        list,
    )


STORES = ["rclone", "moto", "memory", *YOURS]
HOLD_MARKERS = ["moto", "memory", *YOURS]
HOLD_ANY_KEY = ["moto", *YOURS]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, new_site: Callable[[Server], S3Site]) -> Place:
    if request.param == "memory":
        return of_memory(f"pos3-test-{uuid.uuid4().hex[:16]}")
    return of_site(new_site(request.getfixturevalue(request.param)))


where_markers_are_held = pytest.mark.parametrize("place", HOLD_MARKERS, indirect=True)
where_any_key_is_held = pytest.mark.parametrize("place", HOLD_ANY_KEY, indirect=True)
each_store_and_kind_of_key = pytest.mark.parametrize(
    ("place", "key"),
    [
        *(pytest.param(store, "data/x", id=f"{store}-plain-key") for store in STORES),
        *(pytest.param(store, "data/../x", id=f"{store}-odd-key") for store in HOLD_ANY_KEY),
    ],
    indirect=["place"],
)


@pytest.fixture
def moto_place(moto_site: S3Site) -> Place:
    return of_site(moto_site)


def crowd_keys(kind: str) -> list[str]:
    """More than a page of siblings that sort before the directory, and several pages in the directory."""
    siblings = [f"data-{number:04}" for number in range(SIBLINGS)]
    return [*siblings, *(f"data/{number:04}" for number in range(BELOW[kind])), "data0", "z"]


@pytest.fixture(scope="module")
def crowds() -> dict[str, str]:
    """The bucket with the crowd, by server; filled once, only ever read."""
    return {}


@pytest.fixture(scope="module")
def at_the_end() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def below(request: pytest.FixtureRequest) -> int:
    """How many objects the crowd has below `data/`."""
    return BELOW[request.node.callspec.params["place"]]


@pytest.fixture
def crowd(place: Place, request: pytest.FixtureRequest, crowds: dict[str, str], at_the_end: ExitStack) -> Place:
    """A store that holds `crowd_keys(kind)`, not to be written to."""
    kind = request.node.callspec.params["place"]
    if kind not in crowds:
        crowds[kind] = fill_crowd(kind, request)
        if kind in YOURS:
            at_the_end.callback(request.getfixturevalue(kind).drop_bucket, crowds[kind])
    bucket = crowds[kind]
    if kind == "memory":
        return of_memory(bucket)
    return of_site(S3Site(request.getfixturevalue(kind), bucket))


def fill_crowd(kind: str, request: pytest.FixtureRequest) -> str:
    bucket, keys = f"pos3-test-{uuid.uuid4().hex[:16]}", crowd_keys(kind)
    if kind == "memory":
        of_memory(bucket).put_all(dict.fromkeys(keys, b""))
        return bucket
    server: Server = request.getfixturevalue(kind)
    server.create_bucket(bucket)
    if isinstance(server, RcloneServer):
        for key in keys:
            path = server.data / bucket / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    elif isinstance(server, MotoServer):
        server.put_empty(bucket, keys)
    else:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: server.put(bucket, key), keys))
    return bucket


def paths(store: Store, key: str, *, is_prefix: bool) -> list[str]:
    """The paths of a listing; a store that turns out to be unsorted is asked again, as its contract says."""
    try:
        return [entry.path for entry in store.entries(key, is_prefix=is_prefix)]
    except UnsortedListingError:
        return [entry.path for entry in store.entries(key, is_prefix=is_prefix)]


def needs(trait: bool) -> None:
    if not trait:
        pytest.skip("this server cannot hold such keys")


# survey


@pytest.mark.parametrize(
    ("keys", "is_object", "is_prefix"),
    [
        pytest.param(["data"], True, False, id="object"),
        pytest.param(["data/x"], False, True, id="prefix"),
        pytest.param(["data/deep/er/x"], False, True, id="deep-prefix"),
        pytest.param([], False, False, id="nothing"),
        pytest.param(["data-2/x", "data.txt", "data0", "dat", "database/x"], False, False, id="only-siblings"),
        pytest.param(["data-2/x", "data/x", "data0"], False, True, id="prefix-among-siblings"),
        pytest.param(["data", "data-2"], True, False, id="object-among-siblings"),
    ],
)
def test_a_survey_tells_objects_from_prefixes(place: Place, keys: list[str], is_object: bool, is_prefix: bool) -> None:
    place.put_all(dict.fromkeys(keys, b"x"))
    found = place.store.survey("data")
    assert (found.is_object, found.is_prefix) == (is_object, is_prefix)


@where_any_key_is_held
def test_a_survey_sees_an_object_and_a_prefix_of_one_name(place: Place) -> None:
    needs(place.traits.any_key)
    place.put_all({"data": b"1", "data/x": b"2"})
    found = place.store.survey("data")
    assert (found.is_object, found.is_prefix) == (True, True)


@where_markers_are_held
def test_a_survey_takes_a_marker_for_a_prefix(place: Place) -> None:
    needs(place.traits.markers)
    place.store.put_marker("data/")
    found = place.store.survey("data")
    assert (found.is_object, found.is_prefix) == (False, True)


def test_a_survey_of_the_root_tells_whether_the_bucket_holds_anything(place: Place) -> None:
    place.put("x", b"1")
    found = place.store.survey("")
    assert (found.is_object, found.is_prefix) == (False, True)


def test_a_survey_finds_a_prefix_behind_more_than_a_page_of_siblings(crowd: Place) -> None:
    found = crowd.store.survey("data")
    assert (found.is_object, found.is_prefix) == (False, True)
    assert crowd.store.survey("data-0001").is_object
    found = crowd.store.survey("dat")
    assert (found.is_object, found.is_prefix) == (False, False)


def test_a_survey_tells_the_time_of_the_store(place: Place) -> None:
    place.put("data/x", b"1")
    assert abs(place.store.survey("data").server_time - time.time()) < 5
    assert place.store.clock_set_back_seconds == 0


def test_a_survey_remembers_what_was_written_this_very_moment(place: Place) -> None:
    place.put_all({"data/x": b"1", "data/deep/y": b"2", "data-2": b"3"})
    found = place.store.survey("data")
    assert {path for path, _ in found.recent} == {"x", "deep/y"}
    assert found.recent == {(entry.path, entry.etag) for entry in place.store.entries("data", is_prefix=True)}


@pytest.mark.parametrize("key", ["", "data"])
def test_a_survey_of_a_missing_bucket_says_so(s3: S3Site, key: str) -> None:
    with pytest.raises(BucketNotFoundError, match="pos3-no-such-bucket"):
        s3_store("pos3-no-such-bucket").survey(key)


# entries


def test_entries_come_in_code_point_order_with_relative_paths(place: Place) -> None:
    names = ["Z", "a", "a!b", "a-b/c", "a/b", "a/é", "a/～", "a/🚀", "a0", "é", "～", "🚀"]
    if not place.traits.any_key:
        names.remove("a")
    place.put_all({f"data/{name}": name.encode() for name in reversed(names)})
    place.put_all({"data-2/x": b"", "data0": b"", "other": b""})
    assert paths(place.store, "data", is_prefix=False) == names
    assert paths(place.store, "data", is_prefix=True) == names


def test_entries_of_the_root_are_all_keys(place: Place) -> None:
    place.put_all({"b/c": b"1", "a": b"2"})
    assert paths(place.store, "", is_prefix=True) == paths(place.store, "", is_prefix=False) == ["a", "b/c"]


def test_an_entry_tells_size_time_and_etag(place: Place) -> None:
    place.put("data/x", b"1234")
    [entry] = place.store.entries("data", is_prefix=True)
    assert (entry.path, entry.size_bytes, entry.inode, entry.unusable) == ("x", 4, 0, "")
    assert abs(entry.modified_ns / 1e9 - time.time()) < 10
    assert entry.etag
    assert '"' not in entry.etag


def test_an_etag_changes_with_the_content(place: Place) -> None:
    place.put("data/x", b"1")
    before = place.listed("data/x").etag
    place.put("data/x", b"2")
    assert place.listed("data/x").etag != before


def test_an_object_of_exactly_this_key_comes_alone(place: Place) -> None:
    place.put_all({"data": b"1", "data-2": b"2", "data0": b"3"})
    assert paths(place.store, "data", is_prefix=False) == [""]


def test_with_is_prefix_an_object_of_this_key_does_not_count(place: Place) -> None:
    place.put("data", b"1")
    assert paths(place.store, "data", is_prefix=True) == []


@where_any_key_is_held
def test_an_object_and_a_prefix_of_one_name_are_told_apart(place: Place) -> None:
    needs(place.traits.any_key)
    place.put_all({"data": b"1", "data/x": b"2"})
    assert paths(place.store, "data", is_prefix=False) == [""]
    assert paths(place.store, "data", is_prefix=True) == ["x"]


@pytest.mark.parametrize("is_prefix", [True, False])
def test_entries_of_what_does_not_exist_are_none(place: Place, is_prefix: bool) -> None:
    place.put_all({"data-2/x": b"", "dat": b"", "data0": b""})
    assert paths(place.store, "data", is_prefix=is_prefix) == []


def test_odd_names_are_listed_as_they_are(place: Place) -> None:
    place.put_all({f"data/{name}": name.encode() for name in ODD_NAMES})
    assert paths(place.store, "data", is_prefix=True) == sorted(ODD_NAMES)


@where_any_key_is_held
def test_names_that_are_no_paths_are_listed_as_they_are(place: Place) -> None:
    needs(place.traits.any_key)
    names = ["../up", "./here", "//two", "/abs", "a", "a/", "a/b", "x/../y", longest_name("data/")]
    place.put_all({f"data/{name}": b"1" for name in names})
    assert paths(place.store, "data", is_prefix=True) == sorted(names)


@where_markers_are_held
def test_the_directorys_own_marker_is_left_out_and_others_are_listed(place: Place) -> None:
    needs(place.traits.markers)
    for key in ("data/", "data/void/"):
        place.store.put_marker(key)
    assert paths(place.store, "data", is_prefix=True) == ["void/"]


@pytest.mark.parametrize("is_prefix", [True, False])
def test_a_listing_of_several_pages_is_whole_and_in_order(crowd: Place, below: int, is_prefix: bool) -> None:
    assert paths(crowd.store, "data", is_prefix=is_prefix) == [f"{number:04}" for number in range(below)]


@pytest.mark.parametrize("is_prefix", [True, False])
def test_a_range_of_a_listing_has_its_paths_alone(crowd: Place, below: int, is_prefix: bool) -> None:
    every = [f"{number:04}" for number in range(below)]
    middle, late = every[below // 2], every[-3]
    for after, until in [
        ("", middle),
        (middle, late),
        (late, ""),
        ("0003x", "0005-"),
        (middle, middle),
        ("\U0010ffff", ""),
    ]:
        within = PathRange(after, until)
        found = [entry.path for entry in crowd.store.entries("data", is_prefix=is_prefix, within=within)]
        assert found == [path for path in every if path in within]


def test_an_object_alone_lies_in_the_first_range(place: Place) -> None:
    place.put_all({"data": b"whole"})
    ranges = [PathRange("", "x"), PathRange("x", "y"), PathRange("y", "")]
    found = [[entry.path for entry in place.store.entries("data", is_prefix=False, within=within)] for within in ranges]
    assert found == [[""], [], []]


def test_an_object_behind_nothing_but_siblings_is_not_found(crowd: Place) -> None:
    assert paths(crowd.store, "data-", is_prefix=False) == []
    assert paths(crowd.store, "data-0500", is_prefix=False) == [""]


def test_entries_of_a_missing_bucket_are_an_error_and_not_none(s3: S3Site) -> None:
    with pytest.raises(BucketNotFoundError):
        list(s3_store("pos3-no-such-bucket").entries("data", is_prefix=True))


# children


def test_children_are_one_level_in_code_point_order(place: Place) -> None:
    place.put_all(dict.fromkeys(["data/b/c/d", "data/b/e", "data/b-2", "data/a", "data/é/x", "data-2/x"], b"12"))
    found = list(place.store.children("data"))
    assert [entry.path for entry in found] == ["a", "b-2", "b/", "é/"]
    assert found[0].size_bytes == 2


def test_children_of_the_root_are_the_first_segments(place: Place) -> None:
    place.put_all(dict.fromkeys(["b/c", "a"], b""))
    assert [entry.path for entry in place.store.children("")] == ["a", "b/"]


@pytest.mark.parametrize("key", ["", "data"])
def test_children_are_those_that_begin_as_was_asked(place: Place, key: str) -> None:
    below = f"{key}/" if key else ""
    place.put_all({f"{below}{name}": b"1" for name in ("run-1/a", "run-1/b", "run-2", "runs", "a", "z/run-3")})
    assert [entry.path for entry in place.store.children(key, "run-")] == ["run-1/", "run-2"]
    assert list(place.store.children(key, "x")) == []


@where_any_key_is_held
def test_an_object_and_a_directory_of_one_name_are_two_children(place: Place) -> None:
    needs(place.traits.any_key)
    place.put_all(dict.fromkeys(["data/x", "data/x/y"], b""))
    assert [entry.path for entry in place.store.children("data")] == ["x", "x/"]


def test_what_does_not_exist_has_no_children(place: Place) -> None:
    place.put_all({"data-2/x": b"", "data0": b""})
    assert list(place.store.children("data")) == []


def test_children_of_several_pages_are_whole(crowd: Place, below: int) -> None:
    assert [entry.path for entry in crowd.store.children("data")] == [f"{number:04}" for number in range(below)]


def test_the_first_page_of_one_level_is_enough_where_not_all_is_needed(crowd: Place, below: int) -> None:
    found = [entry.path for entry in crowd.store.children("data", most_pages=1)]
    assert set(found) <= {f"{number:04}" for number in range(below)}
    # The store in memory has no pages, and holds ten more than one of S3.
    assert 0 < len(found) <= min(below, 1010)


def test_odd_names_are_children_as_they_are(place: Place) -> None:
    place.put_all({f"data/{name}/x": b"" for name in ODD_NAMES if "/" not in name})
    assert [entry.path for entry in place.store.children("data")] == sorted(f"{n}/" for n in ODD_NAMES if "/" not in n)


# download


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 16 * MIB + 3], ids=["empty", "byte", "block", "more", "large"])
def test_a_download_is_whole_and_counted_and_tells_its_version(place: Place, tmp_path: Path, size: int) -> None:
    data = pseudo_random(size)
    place.put("data/x", data)
    moved: list[int] = []
    delivered = place.download("data/x", tmp_path / "x", moved.append)
    assert (tmp_path / "x").read_bytes() == data
    assert sum(moved) == size
    listed = place.listed("data/x")
    assert (delivered.size_bytes, delivered.etag) == (size, listed.etag)
    assert abs(delivered.modified_ns - listed.modified_ns) < 1e9


def test_a_large_download_is_taken_in_ranges(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    data = pseudo_random(40 * MIB)
    s3.put("x", data)
    proxy = proxied(s3)
    place = of_site(s3)
    for name in ("one", "two"):
        place.download("x", tmp_path / name)
        assert (tmp_path / name).read_bytes() == data
    gets = [request for request in proxy.requests if request.kind == "GET"]
    assert len(gets) == 10
    assert all(request.received == 8 * MIB for request in gets)


@pytest.mark.parametrize("kind", ["file", "symlink", "broken-symlink"])
def test_a_download_writes_new_files_only(place: Place, tmp_path: Path, kind: str) -> None:
    place.put("x", b"remote")
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    if kind != "broken-symlink":
        (target if kind == "file" else elsewhere).write_bytes(b"local")
    if kind != "file":
        target.symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        place.download("x", target)
    assert target.is_symlink() == (kind != "file")
    assert not elsewhere.exists() or elsewhere.read_bytes() == b"local"


def test_a_file_in_the_way_stays_even_when_the_request_is_repeated(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    moto_site.put("x/../x", b"remote")
    (tmp_path / "target").write_bytes(b"local")
    place = of_site(moto_site)
    expected = place.listed("x/../x")
    proxied(moto_site, ResetBefore(times=1, match=on("GET")))
    with pytest.raises(FileExistsError):
        fetch(s3_store(moto_site.bucket), "x/../x", expected, str(tmp_path / "target"), lambda size: None)
    assert (tmp_path / "target").read_bytes() == b"local"


def test_an_object_that_is_gone_is_not_found(place: Place, tmp_path: Path) -> None:
    place.put("other", b"1")
    with pytest.raises(RemoteNotFoundError, match="gone/x"):
        fetch(place.store, "gone/x", Entry("", 1, 0, "0" * 32), str(tmp_path / "x"), lambda size: None)
    with pytest.raises(RemoteNotFoundError, match="gone/x"):
        fetch(place.store, "gone/x", Entry("", 20 * MIB, 0, "0" * 32), str(tmp_path / "x"), lambda size: None)


@pytest.mark.parametrize("sizes", [(3, 5), (3, 20 * MIB), (20 * MIB, 3), (20 * MIB, 30 * MIB)], ids=str)
def test_a_newer_version_than_the_listed_one_is_delivered_whole(
    place: Place, tmp_path: Path, sizes: tuple[int, int]
) -> None:
    place.put("x", pseudo_random(sizes[0], seed=1))
    listed = place.listed("x")
    newer = pseudo_random(sizes[1], seed=2)
    place.put("x", newer)
    moved: list[int] = []
    delivered = fetch(place.store, "x", listed, str(tmp_path / "x"), moved.append)
    assert (tmp_path / "x").read_bytes() == newer
    assert (delivered.size_bytes, delivered.etag) == (len(newer), place.listed("x").etag)
    assert sum(moved) == len(newer)


@pytest.mark.parametrize("size", [10, 5 * MIB, 40 * MIB], ids=["small", "stream", "large"])
def test_a_download_that_is_cancelled_stops_and_leaves_nothing(place: Place, tmp_path: Path, size: int) -> None:
    place.put("x", pseudo_random(size))
    meter = Meter()
    with pytest.raises(TransferCancelledError):
        place.download("x", tmp_path / "x", meter.moved, meter)
    assert meter.bytes == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [10, 5 * MIB, 40 * MIB], ids=["small", "stream", "large"])
def test_a_progress_that_fails_fails_the_transfer(place: Place, tmp_path: Path, size: int) -> None:
    place.put("x", pseudo_random(size))
    (tmp_path / "source").write_bytes(pseudo_random(size))

    def broken(size_bytes: int) -> None:
        if size_bytes > 0:
            raise BrokenProgressError

    with pytest.raises(BrokenProgressError):
        place.download("x", tmp_path / "x", broken)
    with pytest.raises(BrokenProgressError):
        send(place.store, "y", str(tmp_path / "source"), size, broken)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert list(place.keys()) == ["x"]
    assert place.uploads() == []


@pytest.mark.parametrize("key", ["x", "x/../x"], ids=["plain-key", "odd-key"])
def test_a_body_that_stopped_short_is_counted_once(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, key: str
) -> None:
    data = pseudo_random(3 * MIB)
    moto_site.put(key, data)
    proxied(moto_site, Truncate(times=2, match=on("GET")))
    place = of_site(moto_site)
    moved: list[int] = []
    place.download(key, tmp_path / "x", moved.append)
    assert (tmp_path / "x").read_bytes() == data
    assert sum(moved) == len(data)


def test_objects_with_odd_keys_go_both_ways(place: Place, tmp_path: Path) -> None:
    keys = [*ODD_NAMES, *(["../up", "a//b", "/abs", "a/", "./x"] if place.traits.any_key else [])]
    source, target = tmp_path / "source", tmp_path / "target"
    etags = {}
    for key in keys:
        source.write_bytes(key.encode())
        etags[key] = send(place.store, key, str(source), len(key.encode()), lambda size: None)
        assert place.get(key) == key.encode()
    listed = {entry.path: entry for entry in place.store.entries("", is_prefix=True)}
    assert {path: entry.etag for path, entry in listed.items()} == etags
    for key, entry in listed.items():
        delivered = fetch(place.store, key, entry, str(target), lambda size: None)
        assert target.read_bytes() == key.encode()
        assert delivered.etag == entry.etag
        target.unlink()


@pytest.mark.parametrize("key", ["x", "x/../x"], ids=["plain-key", "odd-key"])
def test_a_compressed_object_arrives_as_it_is_stored(moto_site: S3Site, tmp_path: Path, key: str) -> None:
    data = gzip.compress(b"content" * 1000)
    moto_site.server.s3.put_object(Bucket=moto_site.bucket, Key=key, Body=data, ContentEncoding="gzip")
    delivered = of_site(moto_site).download(key, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == data
    assert delivered.size_bytes == len(data)


# upload


class BrokenProgressError(Exception):
    """What the progress of a test raises."""


class Meter(Event):
    """Counts bytes, and cancels the transfer before a piece with which more than `after` bytes would have moved."""

    def __init__(self, after: int = 0):
        super().__init__()
        self.after = after
        self.bytes = 0
        self.most_bytes = 0

    def moved(self, size: int) -> None:
        self.bytes += size
        self.most_bytes = max(self.most_bytes, self.bytes)

    def is_set(self) -> bool:
        return self.most_bytes >= self.after


@each_store_and_kind_of_key
@pytest.mark.parametrize(
    "size", [0, 1, 8 * MIB, 8 * MIB + 1, 24 * MIB], ids=["empty", "byte", "whole", "two-parts", "three-parts"]
)
def test_an_upload_is_whole_and_counted_and_tells_the_etag(place: Place, tmp_path: Path, size: int, key: str) -> None:
    needs(place.traits.any_key or key == "data/x")
    data = pseudo_random(size)
    (tmp_path / "x").write_bytes(data)
    moved: list[int] = []
    etag = send(place.store, key, str(tmp_path / "x"), size, moved.append)
    assert place.get(key) == data
    assert sum(moved) == size
    assert etag == next(entry.etag for entry in place.store.entries("", is_prefix=True) if entry.path == key)
    assert place.uploads() == []


@each_store_and_kind_of_key
@pytest.mark.parametrize(
    ("size", "wanted"),
    [(10, 4), (10, 0), (20 * MIB, 9 * MIB + 5), (20 * MIB, 5)],
    ids=["few-bytes", "none", "parts", "large-to-small"],
)
def test_of_a_file_that_has_grown_only_the_first_bytes_are_stored(
    place: Place, tmp_path: Path, size: int, wanted: int, key: str
) -> None:
    needs(place.traits.any_key or key == "data/x")
    data = pseudo_random(size)
    (tmp_path / "x").write_bytes(data)
    moved: list[int] = []
    send(place.store, key, str(tmp_path / "x"), wanted, moved.append)
    assert place.get(key) == data[:wanted]
    assert sum(moved) == wanted


@each_store_and_kind_of_key
@pytest.mark.parametrize(
    ("size", "wanted"),
    [(4, 10), (0, 10), (9 * MIB + 5, 20 * MIB), (5, 20 * MIB), (0, 20 * MIB)],
    ids=["few-bytes", "emptied", "parts", "parts-to-bytes", "parts-to-nothing"],
)
def test_of_a_file_that_has_shrunk_what_is_left_is_stored(
    place: Place, tmp_path: Path, size: int, wanted: int, key: str
) -> None:
    needs(place.traits.any_key or key == "data/x")
    data = pseudo_random(size)
    (tmp_path / "x").write_bytes(data)
    moved: list[int] = []
    etag = send(place.store, key, str(tmp_path / "x"), wanted, moved.append)
    assert place.get(key) == data
    assert sum(moved) == size
    assert etag == next(entry.etag for entry in place.store.entries("", is_prefix=True) if entry.path == key)


def test_an_upload_replaces_the_object(place: Place, tmp_path: Path) -> None:
    place.put("data/x", b"a longer content")
    (tmp_path / "x").write_bytes(b"new")
    send(place.store, "data/x", str(tmp_path / "x"), 3, lambda size: None)
    assert place.get("data/x") == b"new"


@each_store_and_kind_of_key
@pytest.mark.parametrize(
    ("size", "after"), [(10, 0), (40 * MIB, 0), (40 * MIB, 30 * MIB)], ids=["whole", "first-part", "later-part"]
)
def test_an_upload_that_is_cancelled_stops_and_leaves_nothing(
    place: Place, tmp_path: Path, size: int, after: int, key: str
) -> None:
    needs(place.traits.any_key or key == "data/x")
    (tmp_path / "x").write_bytes(pseudo_random(size))
    meter = Meter(after)
    with pytest.raises(TransferCancelledError):
        send(place.store, key, str(tmp_path / "x"), size, meter.moved, meter)
    assert meter.bytes == 0
    assert list(place.keys()) == []
    assert place.uploads() == []


def test_an_upload_that_stops_keeps_the_object_that_was_there(place: Place, tmp_path: Path) -> None:
    place.put("x", b"old")
    (tmp_path / "x").write_bytes(pseudo_random(20 * MIB))
    meter = Meter(9 * MIB)
    with pytest.raises(TransferCancelledError):
        send(place.store, "x", str(tmp_path / "x"), 20 * MIB, meter.moved, meter)
    assert place.get("x") == b"old"


def test_an_upload_whose_parts_are_refused_is_aborted(moto_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxied(moto_site, Status(code=403, error_code="AccessDenied", match=on("PUT ?partNumber")))
    (tmp_path / "x").write_bytes(pseudo_random(20 * MIB))
    moved: list[int] = []
    with pytest.raises(AccessDeniedError, match="data/x"):
        send(s3_store(moto_site.bucket), "data/x", str(tmp_path / "x"), 20 * MIB, moved.append)
    assert sum(moved) == 0
    assert moto_site.server.uploads(moto_site.bucket) == []
    assert list(moto_site.keys()) == []


def test_a_source_that_is_gone_is_an_error_that_names_it(place: Place, tmp_path: Path) -> None:
    for size in (1, 20 * MIB):
        with pytest.raises(FileNotFoundError) as caught:
            send(place.store, "data/x", str(tmp_path / "gone"), size, lambda size: None)
        assert caught.value.filename == str(tmp_path / "gone")
    assert list(place.keys()) == []
    assert place.uploads() == []


def test_an_upload_to_a_missing_bucket_says_so(s3: S3Site, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pseudo_random(9 * MIB))
    for size in (1, 9 * MIB):
        with pytest.raises(BucketNotFoundError):
            send(s3_store("pos3-no-such-bucket"), "x", str(tmp_path / "x"), size, lambda size: None)


# delete


def test_deleted_objects_are_gone_and_others_stay(place: Place) -> None:
    keys = [f"data/{name}" for name in ODD_NAMES]
    place.put_all({**dict.fromkeys(keys, b"1"), "data/stays": b"2", "data-2": b"3"})
    assert place.store.delete(keys) == []
    assert sorted(place.keys()) == ["data-2", "data/stays"]


def test_an_object_that_is_gone_counts_as_deleted(place: Place) -> None:
    place.put("data/x", b"1")
    assert place.store.delete(["data/gone", "data/x", "gone/too"]) == []
    assert list(place.keys()) == []


def test_deletes_that_are_stopped_are_returned_and_ask_for_nothing(place: Place) -> None:
    place.put_all({"data/x": b"1", "data/y": b"2"})
    cancelled = Event()
    cancelled.set()
    failed = place.store.delete(["data/x", "data/y"], cancelled)
    assert [(key, type(error)) for key, error in failed] == [
        ("data/x", TransferCancelledError),
        ("data/y", TransferCancelledError),
    ]
    assert set(place.keys()) == {"data/x", "data/y"}


def test_nothing_to_delete_is_no_request(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3)
    assert s3_store(s3.bucket).delete([]) == []
    assert proxy.kinds == {}


def test_more_than_a_thousand_objects_are_deleted_in_batches(s3: S3Site, proxied: PutBefore) -> None:
    s3.put_all({f"data/{number}": b"" for number in (0, 999, 1000, 2049)})
    s3.put("stays", b"")
    proxy = proxied(s3)
    assert s3_store(s3.bucket).delete([f"data/{number}" for number in range(2050)]) == []
    assert list(s3.keys()) == ["stays"]
    assert proxy.kinds == {"POST ?delete": 3}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (501, "NotImplemented"),
        (400, "InvalidRequest"),
        (400, "MalformedXML"),
        (400, "MissingContentMD5"),
        (405, "MethodNotAllowed"),
    ],
)
def test_objects_are_deleted_one_by_one_where_batches_are_refused(
    s3: S3Site, proxied: PutBefore, status: int, code: str
) -> None:
    s3.put_all(dict.fromkeys(["a", "b/c", "stays"], b""))
    proxy = proxied(s3, Status(code=status, error_code=code, match=on("POST ?delete")))
    store = s3_store(s3.bucket)
    assert store.delete(["a", "gone", "b/c"]) == []
    assert list(s3.keys()) == ["stays"]
    assert store.delete(["stays"]) == []
    assert proxy.kinds["DELETE"] == 4


def test_a_delete_that_is_denied_is_returned_for_each_key(s3: S3Site, proxied: PutBefore) -> None:
    s3.put_all(dict.fromkeys(["a", "b"], b""))
    proxied(s3, Status(code=403, error_code="AccessDenied"))
    failed = s3_store(s3.bucket).delete(["a", "b"])
    assert [key for key, _ in failed] == ["a", "b"]
    assert all(isinstance(error, AccessDeniedError) for _, error in failed)


def test_what_cannot_be_deleted_is_returned_with_its_cause(s3: S3Site, proxied: PutBefore) -> None:
    s3.put_all(dict.fromkeys(["a", "b"], b""))
    proxied(
        s3,
        Status(code=400, error_code="InvalidRequest", match=on("POST ?delete")),
        Status(code=403, error_code="AccessDenied", match=on("DELETE", key="^b$")),
    )
    [(key, error)] = s3_store(s3.bucket).delete(["a", "b"])
    assert key == "b"
    assert isinstance(error, AccessDeniedError)
    assert f"s3://{s3.bucket}/b" in str(error)
    assert list(s3.keys()) == ["b"]


def test_a_busy_store_is_asked_again_for_a_delete(s3: S3Site, proxied: PutBefore) -> None:
    s3.put_all(dict.fromkeys(["a", "b"], b""))
    proxied(s3, Status(code=503, error_code="SlowDown", times=2, match=on("POST ?delete")))
    assert s3_store(s3.bucket).delete(["a", "b"]) == []
    assert list(s3.keys()) == []


# put_marker


def test_a_marker_is_held_as_an_empty_directory_or_leaves_nothing(place: Place) -> None:
    place.put("data/x", b"1")
    etag = place.store.put_marker("data/void/")
    assert (etag is not None) == place.traits.markers
    listed = {entry.path: entry.etag for entry in place.store.entries("data", is_prefix=True)}
    assert list(listed) == (["x"] if etag is None else ["void/", "x"])
    assert listed.get("void/") == etag
    assert place.store.put_marker("data/other/") == etag
    assert place.get("data/x") == b"1"


def test_a_server_that_refuses_markers_cannot_hold_them_and_takes_all_else(tmp_path: Path) -> None:
    held: dict[str, bytes] = {}

    class Refusing(Handler):
        def respond(self) -> None:
            body, key = self.body(), urlsplit(self.path).path.removeprefix("/bucket/")
            if self.command == "GET":
                self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            elif key.endswith("/"):
                self.answer(400, b"<Error><Code>InvalidObjectName</Code><Message>empty segment</Message></Error>")
            else:
                held[key] = body
                self.answer(200, ETag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')

    tree = tmp_path / "tree"
    (tree / "void").mkdir(parents=True)
    (tree / "file").write_bytes(b"1")
    with ScriptedServer(Refusing) as server:
        profile = pos3.Profile("refusing", server.endpoint_url, access_key="key", secret_key="secret")
        assert s3_store("bucket", profile).put_marker("void/") is None
        with pos3.mirror(cache_root=tmp_path / "cache", show_progress=False) as mirror:
            pos3.upload("s3://bucket/data", tree, profile=profile, interval=None)
    assert held == {"data/file": b"1"}
    assert [kept.path for kept in mirror.report().kept] == ["void/"]


@where_markers_are_held
def test_a_marker_can_be_deleted_again(place: Place) -> None:
    needs(place.traits.markers)
    place.put("data/x", b"1")
    place.store.put_marker("data/void/")
    assert place.store.delete(["data/void/"]) == []
    assert paths(place.store, "data", is_prefix=True) == ["x"]


# Errors


def requests_of(store: Store, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """One call of each kind."""
    (tmp_path / "source").write_bytes(b"1")
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    return {
        "survey": lambda: store.survey("data"),
        "entries": lambda: list(store.entries("data", is_prefix=False)),
        "children": lambda: list(store.children("data")),
        "download": lambda: fetch(store, "data", Entry("", 1, 0, "0" * 32), target, lambda size: None),
        "upload": lambda: send(store, "data", source, 1, lambda size: None),
        "put_marker": lambda: store.put_marker("data/"),
    }


def test_a_wrong_secret_is_a_credentials_error_that_does_not_show_it(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-private")
    began = time.monotonic()
    for call in requests_of(s3_store(rclone_site.bucket), tmp_path).values():
        with pytest.raises(CredentialsError, match=rclone_site.bucket) as caught:
            call()
        assert "wrong-and-private" not in str(caught.value)
    assert time.monotonic() - began < 10


def test_no_credentials_at_all_is_a_credentials_error(
    moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for call in requests_of(s3_store(moto_site.bucket), tmp_path).values():
        with pytest.raises(CredentialsError, match="no credentials"):
            call()


def test_an_endpoint_where_nobody_listens_is_an_endpoint_error_within_half_a_minute(
    tmp_path: Path, moto_site: S3Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        unused_port = unused.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port}")
        calls = requests_of(s3_store(moto_site.bucket), tmp_path)
        began = time.monotonic()
        with ThreadPoolExecutor(len(calls)) as pool:
            running = {name: pool.submit(call) for name, call in calls.items()}
        errors = {name: call.exception() for name, call in running.items()}
    assert time.monotonic() - began < 30
    for name, error in errors.items():
        assert isinstance(error, EndpointError), name
        assert moto_site.bucket in str(error), name
        assert f"http://127.0.0.1:{unused_port}" in str(error), name


REFUSALS = [
    pytest.param(403, "AccessDenied", AccessDeniedError, "access denied", id="denied"),
    pytest.param(403, "InvalidAccessKeyId", CredentialsError, r"not known at http://127\.0\.0\.1", id="unknown-key"),
    pytest.param(403, "RequestTimeTooSkewed", CredentialsError, "clock", id="clock-skew"),
    pytest.param(400, "ExpiredToken", CredentialsError, "expired", id="expired"),
    pytest.param(400, "InvalidRequest", StoreError, "InvalidRequest", id="any-other"),
]


@pytest.mark.parametrize(("status", "code", "kind", "text"), REFUSALS)
def test_a_refusal_names_the_cause_and_the_key_whatever_was_asked(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, status: int, code: str, kind: type[Exception], text: str
) -> None:
    moto_site.put("data", b"1")
    proxied(moto_site, Status(code=status, error_code=code))
    for call in requests_of(s3_store(moto_site.bucket), tmp_path).values():
        with pytest.raises(kind, match=text) as caught:
            call()
        assert f"s3://{moto_site.bucket}/data" in str(caught.value)


@pytest.fixture
def only_below(s3: S3Site, proxied: PutBefore) -> Store:
    """A store whose policy allows no listing but that of `data/`."""
    proxied(s3, OnlyBelow(match=on("LIST")))
    return s3_store(s3.bucket)


@dataclass
class OnlyBelow(Status):
    """Refuses listings of any other prefix than `data/`, as a policy on `s3:prefix` does."""

    code: int = 403
    error_code: str = "AccessDenied"

    def strikes(self, request: object, dice: object) -> bool:
        allowed = getattr(request, "query", {}).get("prefix", "").startswith("data/")
        return not allowed and super().strikes(request, dice)  # type: ignore[arg-type]


def test_a_policy_that_allows_only_the_listing_below_the_key_is_enough(s3: S3Site, only_below: Store) -> None:
    s3.put_all({"data/x": b"1", "data/y/z": b"2", "data-2": b"3"})
    found = only_below.survey("data")
    assert (found.is_object, found.is_prefix) == (False, True)
    assert paths(only_below, "data", is_prefix=False) == ["x", "y/z"]
    assert paths(only_below, "data", is_prefix=True) == ["x", "y/z"]
    assert [entry.path for entry in only_below.children("data")] == ["x", "y/"]


def test_a_policy_that_allows_only_other_listings_is_access_denied(s3: S3Site, only_below: Store) -> None:
    s3.put("other/x", b"1")
    with pytest.raises(AccessDeniedError, match="other"):
        list(only_below.entries("other", is_prefix=True))


def test_what_may_not_be_listed_does_not_pass_for_missing(s3: S3Site, proxied: PutBefore) -> None:
    s3.put("data/x", b"1")
    proxied(s3, Status(code=403, error_code="AccessDenied", match=on("LIST")))
    store = s3_store(s3.bucket)
    with pytest.raises(AccessDeniedError, match="data"):
        store.survey("data")
    with pytest.raises(AccessDeniedError, match="data"):
        list(store.entries("data", is_prefix=False))


def test_a_single_object_can_be_reached_where_no_listing_is_allowed(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put("data", b"1")
    proxied(s3, Status(code=403, error_code="AccessDenied", match=on("LIST")))
    store = s3_store(s3.bucket)
    assert store.survey("data").is_object
    [entry] = store.entries("data", is_prefix=False)
    assert (entry.path, entry.size_bytes) == ("", 1)
    fetch(store, "data", entry, str(tmp_path / "x"), lambda size: None)
    assert (tmp_path / "x").read_bytes() == b"1"


def test_a_scheme_that_nobody_knows_is_an_error_before_any_request() -> None:
    with pytest.raises(pos3.InvalidURLError, match="nonsense"):
        open_store(Location("nonsense", "bucket", ""), None, 4)


# Listings that are not what they should be


class ListingServer(ScriptedServer):
    """Answers listings of any bucket from a list of keys, in the order given, and nothing else."""

    def __init__(self, keys: list[str], page_size: int = 1000, spoil: Callable[[str], str] = lambda page: page):
        class Listings(Handler):
            def respond(self) -> None:
                if self.command == "GET":
                    self.list_page()
                elif urlsplit(self.path).path.partition("/")[2].partition("/")[2] in keys:
                    dated = "Thu, 01 Jan 2026 00:00:00 GMT"
                    self.answer(200, Content_Length="3", ETag=f'"{"0" * 32}"', Last_Modified=dated)
                else:
                    self.answer(404)

            def list_page(self) -> None:
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                below = [key for key in keys if key.startswith(query.get("prefix", ""))]
                start = int(query.get("continuation-token", "0"))
                page = spoil(listing_page(below, start, page_size)).encode()
                self.answer(200, page, Content_Type="application/xml")

        super().__init__(Listings)


def listing_page(keys: list[str], start: int, page_size: int) -> str:
    chosen, end = keys[start : start + page_size], start + page_size
    more = end < len(keys)
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{'0' * 32}&quot;</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in chosen
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name><KeyCount>{len(chosen)}</KeyCount><MaxKeys>{page_size}</MaxKeys>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        f"{f'<NextContinuationToken>{end}</NextContinuationToken>' if more else ''}{contents}</ListBucketResult>"
    )


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch, isolated_home: Path) -> Iterator[Callable[..., Store]]:
    """`listing(keys, page_size, spoil)`: a store whose server lists these keys in this order."""
    servers: list[ListingServer] = []

    def serve(keys: list[str], page_size: int = 1000, spoil: Callable[[str], str] = lambda page: page) -> Store:
        server = ListingServer(keys, page_size, spoil)
        servers.append(server)
        for name, value in Server(server.__enter__().endpoint_url).environment().items():
            monkeypatch.setenv(name, value)
        return s3_store("bucket")

    yield serve
    for server in servers:
        server.__exit__()


TREE = ["data-2/x", "data.txt", *(f"data/{number:02}" for number in range(12)), "data0", "data9"]


@pytest.mark.parametrize("page_size", [1000, 2])
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(TREE, id="sorted"),
        pytest.param(TREE[::-1], id="reversed"),
        pytest.param(sorted(TREE, key=lambda key: (key.count("/"), key)), id="files-first"),
        pytest.param(sorted(TREE, key=lambda key: (-key.count("/"), key)), id="directories-first"),
        pytest.param([*TREE[8:], *TREE[:8]], id="rotated"),
    ],
)
def test_a_store_that_does_not_list_in_order_is_found_out_and_still_listed_whole(
    listing: Callable[..., Store], keys: list[str], page_size: int
) -> None:
    store = listing(keys, page_size)
    whole = [f"{number:02}" for number in range(12)]
    assert paths(store, "data", is_prefix=False) == whole
    assert paths(store, "data", is_prefix=True) == whole
    assert paths(store, "", is_prefix=True) == sorted(keys)


@pytest.mark.parametrize("page_size", [1000, 5])
def test_keys_that_only_begin_alike_are_not_below_wherever_a_page_ends(
    listing: Callable[..., Store], page_size: int
) -> None:
    inside = [f"{number:02}" for number in range(12)]
    store = listing([*(f"data/{name}" for name in inside), "data0", "data0/x"], page_size)
    assert paths(store, "data", is_prefix=False) == inside


@pytest.mark.parametrize("page_size", [1000, 2])
def test_an_exact_object_is_found_in_whatever_order_a_store_lists(
    listing: Callable[..., Store], page_size: int
) -> None:
    store = listing(["data-3", "data-2", "data-1", "data"], page_size)
    assert paths(store, "data", is_prefix=False) == [""]
    assert store.survey("data").is_object


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        pytest.param("<IsTruncated>true</IsTruncated>", "<IsTruncated/>", "more pages follow", id="empty-is-truncated"),
        pytest.param("<NextContinuationToken>7</NextContinuationToken>", "", "more pages follow", id="no-token"),
        pytest.param("</ListBucketResult>", "", "XML|500", id="cut-off"),
    ],
)
def test_a_page_that_is_not_whole_never_passes_for_a_listing(
    listing: Callable[..., Store], before: str, after: str, text: str
) -> None:
    store = listing(TREE, 7, lambda page: page.replace(before, after))
    with pytest.raises(StoreError, match=text):
        list(store.entries("data", is_prefix=True))


def test_a_page_that_repeats_for_ever_is_an_error(listing: Callable[..., Store]) -> None:
    token = re.compile("<NextContinuationToken>[0-9]+<")
    store = listing(TREE, 4, lambda page: token.sub("<NextContinuationToken>4<", page))
    with pytest.raises(StoreError, match="repeats"):
        list(store.entries("data", is_prefix=True))


@pytest.mark.parametrize("page", ["<html><body>Welcome</body></html>", "<ListAllMyBucketsResult/>"], ids=["html", "s3"])
def test_an_endpoint_that_answers_with_something_else_is_named_as_the_cause(
    listing: Callable[..., Store], page: str
) -> None:
    store = listing(TREE, 7, lambda _: page)
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:\d+ .*; check the endpoint's URL"):
        store.survey("data")


@pytest.mark.parametrize("place", [store for store in STORES if store != "memory"], indirect=True)
def test_listing_a_thousand_keys_costs_under_25_ms_of_cpu(crowd: Place, below: int) -> None:
    """Guards against a fall back to boto3's own parser, which takes 150 ms; this one takes about 10 ms.

    What the rest of the test run holds in memory is kept out of the garbage collector's work.
    """
    costs = []
    gc.collect()
    gc.freeze()
    try:
        for _ in range(5):
            began = time.thread_time()
            assert len(list(crowd.store.entries("data", is_prefix=True))) == below
            costs.append((time.thread_time() - began) / below * 1000)
    finally:
        gc.unfreeze()
    assert min(costs) < 0.025


@pytest.mark.parametrize("fault", [Status(code=500, times=1), ResetBefore(times=1)], ids=["500", "reset"])
def test_a_page_that_fails_for_the_moment_is_asked_again(s3: S3Site, proxied: PutBefore, fault: Fault) -> None:
    s3.put("data/x", b"1")
    fault.struck = 0
    proxied(s3, fault)
    assert paths(s3_store(s3.bucket), "data", is_prefix=True) == ["x"]
