"""Listings of which several pages are asked for at once: latency, real servers, and such that do not play along.

What is true of any keys and borders is in test_ranges.py.
"""

from __future__ import annotations

import os
import threading
import uuid
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.entries import Entry, PathRange, Record
from pos3.errors import StoreError
from pos3.state.index import Index
from pos3.state.root_index import Place, RootIndex
from pos3.store import Landmarks, Store, nothing_known, open_store, twice_if_unsorted
from pos3.store.s3 import listing as s3_listing
from pos3.url import Location
from tests.faults.base import PutBefore, eventually
from tests.support import (
    FailPage,
    Fault,
    Hang,
    Latency,
    MotoServer,
    OtherQuery,
    Proxy,
    RcloneServer,
    Relay,
    Request,
    S3Site,
    Slowdown,
    Status,
    contents,
    later_pages,
    write_tree,
)
from tests.support.trees import ODD_NAMES

# More than what makes it worth while, and pages that a few objects fill.
SLOW = Latency(seconds=0.03, match=lambda request: request.kind == "LIST")
SMALL_PAGES = OtherQuery(query={"max-keys": "20"})
NAMES = sorted(f"{number // 10:02}/{number:03}" for number in range(300))


def store_of(bucket: str, workers: int = 8) -> Store:
    return open_store(Location("s3", bucket, ""), None, workers)


def listed(store: Store, landmarks: Landmarks = nothing_known, key: str = "data") -> list[str]:
    return [entry.path for entry in store.entries(key, is_prefix=True, landmarks=landmarks)]


def every_known(after: str, steps: int) -> str:
    """The landmarks of an index that knows all names."""
    known = [name for name in NAMES if name > after]
    return known[steps - 1] if steps <= len(known) else ""


def starts_within(request: Request) -> bool:
    return "start-after" in request.query


def continues(request: Request) -> bool:
    return "continuation-token" in request.query


def starts_of(proxy: Proxy) -> set[str]:
    """Where the ranges began that were asked for, directories that were looked at left out."""
    return {request.query["start-after"] for request in proxy.requests if starts_within(request) and not looks(request)}


def passing_over(border: str) -> Fault:
    """A server that begins one key too late, behind this border only."""
    keys = [f"data/{name}" for name in NAMES]
    too_late = keys[bisect_right(keys, border)]
    return OtherQuery(query={"start-after": too_late}, match=lambda request: request.query.get("start-after") == border)


def looks(request: Request) -> bool:
    return "delimiter" in request.query


@pytest.fixture(scope="module")
def filled(moto: MotoServer) -> str:
    """A bucket with 300 objects in 30 directories below `data/`, and neighbours that only begin alike."""
    bucket = moto.create_bucket(f"pos3-test-{uuid.uuid4().hex[:16]}")
    moto.put_empty(bucket, [*(f"data/{name}" for name in NAMES), "data-1", "data0/x", "data1"])
    return bucket


@pytest.fixture
def tree(moto_site: S3Site, filled: str) -> S3Site:
    """What is filled, not to be written to."""
    return S3Site(moto_site.server, filled)


@pytest.fixture
def put_before(proxied: PutBefore) -> Callable[..., Proxy]:
    """A proxy as of a store that keeps waiting and has small pages."""

    def put(site: S3Site, *faults: Fault) -> Proxy:
        return proxied(site, SLOW, SMALL_PAGES, *faults)

    return put


landmarks_or_none = pytest.mark.parametrize(
    "landmarks", [pytest.param(nothing_known, id="unknown"), pytest.param(every_known, id="known")]
)


@landmarks_or_none
def test_pages_are_asked_for_at_once_and_come_in_order(
    tree: S3Site, put_before: PutBefore, landmarks: Landmarks
) -> None:
    proxy = put_before(tree)
    assert listed(store_of(tree.bucket), landmarks) == NAMES
    assert proxy.peak >= 3
    assert proxy.count() <= 15 * 1.4


@pytest.mark.parametrize("is_prefix", [True, False])
@landmarks_or_none
def test_neighbours_that_only_begin_alike_are_not_listed(
    tree: S3Site, put_before: PutBefore, landmarks: Landmarks, is_prefix: bool
) -> None:
    put_before(tree)
    entries = store_of(tree.bucket).entries("data", is_prefix=is_prefix, landmarks=landmarks)
    assert [entry.path for entry in entries] == NAMES


def test_a_whole_bucket_is_listed_at_once_too(tree: S3Site, put_before: PutBefore) -> None:
    proxy = put_before(tree)
    assert listed(store_of(tree.bucket), key="") == sorted(tree.keys())
    assert any(starts_within(request) for request in proxy.requests)


def test_no_more_pages_are_under_way_than_workers(tree: S3Site, put_before: PutBefore) -> None:
    proxy = put_before(tree)
    assert listed(store_of(tree.bucket, workers=3), every_known) == NAMES
    assert 2 <= proxy.peak <= 3


def test_a_listing_of_one_page_is_one_request(moto: MotoServer, moto_site: S3Site, put_before: PutBefore) -> None:
    moto.put_empty(moto_site.bucket, [f"data/{name}" for name in NAMES[:20]])
    proxy = put_before(moto_site)
    assert listed(store_of(moto_site.bucket), every_known) == NAMES[:20]
    assert proxy.count() == 1


def test_a_store_that_answers_soon_is_asked_for_one_page_after_the_other(
    tree: S3Site, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_listing, "_WORTH_SECONDS", 60)
    proxy = proxied(tree, SMALL_PAGES)
    assert listed(store_of(tree.bucket), every_known) == NAMES
    assert (proxy.count(), proxy.peak) == (15, 1)


def test_a_flat_directory_of_unknown_keys_is_listed_one_page_after_the_other(
    moto: MotoServer, moto_site: S3Site, put_before: PutBefore
) -> None:
    flat = [name.replace("/", "-") for name in NAMES[:100]]
    moto.put_empty(moto_site.bucket, [f"data/{name}" for name in flat])
    proxy = put_before(moto_site)
    assert listed(store_of(moto_site.bucket)) == flat
    assert proxy.count() <= 6
    assert proxy.peak == 1


@landmarks_or_none
def test_a_server_that_ignores_start_after_is_found_out_once_and_listed_whole(
    tree: S3Site, put_before: PutBefore, landmarks: Landmarks
) -> None:
    proxy = put_before(tree, OtherQuery(query={"start-after": ""}))
    store = store_of(tree.bucket)
    assert listed(store, landmarks) == NAMES
    proxy.clear()
    assert listed(store, landmarks) == NAMES
    assert not any(starts_within(request) for request in proxy.requests)


@landmarks_or_none
def test_a_server_that_refuses_start_after_is_listed_whole(
    tree: S3Site, put_before: PutBefore, landmarks: Landmarks
) -> None:
    put_before(tree, Status(501, "NotImplemented", match=starts_within))
    assert listed(store_of(tree.bucket), landmarks) == NAMES


def test_a_server_that_begins_elsewhere_is_listed_whole(tree: S3Site, put_before: PutBefore) -> None:
    put_before(tree, OtherQuery(query={"start-after": "data/20/205"}, match=starts_within))
    assert listed(store_of(tree.bucket), every_known) == NAMES


@landmarks_or_none
def test_a_server_that_passes_over_a_key_behind_one_border_is_listed_whole(
    tree: S3Site, put_before: PutBefore, landmarks: Landmarks
) -> None:
    sound = put_before(tree)
    assert listed(store_of(tree.bucket), landmarks) == NAMES
    _, border, *_ = sorted(starts_of(sound))
    proxy = put_before(tree, passing_over(border))
    assert listed(store_of(tree.bucket), landmarks) == NAMES
    assert border in starts_of(proxy)


@landmarks_or_none
@pytest.mark.parametrize("is_prefix", [True, False])
def test_a_range_is_listed_by_pages_at_once_and_no_page_behind_it_is_asked_for(
    tree: S3Site, put_before: PutBefore, landmarks: Landmarks, is_prefix: bool
) -> None:
    proxy = put_before(tree)
    within = PathRange(NAMES[99], NAMES[199])
    entries = store_of(tree.bucket).entries("data", is_prefix=is_prefix, landmarks=landmarks, within=within)
    assert [entry.path for entry in entries] == NAMES[100:200]
    assert proxy.peak >= 2
    # Five pages with them, the beginning of the next one at each end of a range, and looks at directories.
    assert proxy.count() <= 12
    starts = {request.query["start-after"] for request in proxy.requests if starts_within(request)}
    assert max(starts) <= f"data/{NAMES[199]}"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(OtherQuery(query={"start-after": ""}), id="ignores-it"),
        pytest.param(Status(501, "NotImplemented", match=starts_within), id="refuses-it"),
        pytest.param(OtherQuery(query={"start-after": "data/20/205"}, match=starts_within), id="begins-elsewhere"),
        pytest.param(
            OtherQuery(query={"start-after": f"data/{NAMES[100]}"}, match=starts_within), id="begins-too-late"
        ),
    ],
)
def test_where_a_server_begins_elsewhere_a_range_is_whole(tree: S3Site, put_before: PutBefore, fault: Fault) -> None:
    fault.struck = 0
    put_before(tree, fault)
    store, within = store_of(tree.bucket), PathRange(NAMES[99], NAMES[199])
    for _ in range(2):
        entries = store.entries("data", is_prefix=True, within=within)
        assert [entry.path for entry in entries] == NAMES[100:200]
    assert fault.struck


def test_a_range_begins_right_also_if_the_object_before_it_is_gone(tree: S3Site, put_before: PutBefore) -> None:
    proxy = put_before(tree)
    within = PathRange(f"{NAMES[99]}x", NAMES[110])
    assert [e.path for e in store_of(tree.bucket).entries("data", is_prefix=True, within=within)] == NAMES[100:111]
    assert proxy.count() == 2


def test_a_file_whose_key_is_passed_over_behind_a_border_is_not_deleted(
    moto: MotoServer, moto_site: S3Site, tmp_path: Path, put_before: PutBefore
) -> None:
    moto.put_empty(moto_site.bucket, [f"data/{name}" for name in NAMES])
    local = tmp_path / "local"

    def download() -> pos3.Report:
        with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
            pos3.download(moto_site.url("data"), local)
            return mirror.report()

    assert download().downloaded_files == 300
    sound = put_before(moto_site)
    assert download().unchanged == 300
    assert not any(continues(request) for request in sound.requests)
    proxy = put_before(moto_site, passing_over(sorted(starts_of(sound))[5]))
    again = download()
    assert (again.unchanged, again.downloaded_files, again.deleted_local) == (300, 0, 0)
    assert sorted(contents(local)) == NAMES
    # From the beginning, one page after the other.
    assert sum(continues(request) for request in proxy.requests) == 14


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(403, "AccessDenied", match=looks), id="denied"),
        pytest.param(Status(500, "InternalError", match=looks), id="failing"),
        pytest.param(OtherQuery(query={"delimiter": ""}), id="ignored"),
    ],
)
def test_where_directories_cannot_be_looked_at_the_listing_is_whole(
    tree: S3Site, put_before: PutBefore, fault: Fault
) -> None:
    fault.struck = 0
    put_before(tree, fault)
    assert listed(store_of(tree.bucket)) == NAMES


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Slowdown(match=later_pages, times=3), id="busy"),
        pytest.param(Status(500, "InternalError", match=later_pages, times=3), id="failing"),
        pytest.param(FailPage(page=5, status=503, error_code="SlowDown", times=2), id="one-page"),
    ],
)
@landmarks_or_none
def test_pages_that_fail_for_the_moment_are_asked_for_again(
    tree: S3Site, put_before: PutBefore, fault: Fault, landmarks: Landmarks
) -> None:
    fault.struck = 0
    put_before(tree, fault)
    assert listed(store_of(tree.bucket), landmarks) == NAMES
    assert fault.struck


def test_a_page_that_stays_forbidden_is_an_error_wherever_it_is(tree: S3Site, put_before: PutBefore) -> None:
    beyond = f"data/{NAMES[200]}"
    denied = Status(403, "AccessDenied", match=lambda request: request.query.get("start-after", "") > beyond)
    put_before(tree, denied)
    before = []
    with pytest.raises(pos3.AccessDeniedError, match="data/"):
        before += [entry.path for entry in store_of(tree.bucket).entries("data", is_prefix=True, landmarks=every_known)]
    assert before == NAMES[: len(before)]


def test_whoever_stops_listening_hangs_up(tree: S3Site, put_before: PutBefore) -> None:
    late = f"data/{NAMES[100]}"
    proxy = put_before(tree, Hang(times=None, match=lambda request: request.query.get("start-after", "") > late))
    entries = store_of(tree.bucket).entries("data", is_prefix=True, landmarks=every_known)
    assert [next(entries).path for _ in range(30)] == NAMES[:30]
    eventually(lambda: proxy.under_way)
    entries.close()  # type: ignore[attr-defined]
    eventually(lambda: not proxy.under_way)


def test_a_forked_child_has_connections_of_its_own(tree: S3Site, put_before: PutBefore) -> None:
    put_before(tree)
    store = store_of(tree.bucket)
    assert listed(store, every_known) == NAMES
    child = os.fork()
    if not child:
        os._exit(0 if listed(store, every_known) == NAMES else 1)
    assert listed(store, every_known) == NAMES
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_asked_after_a_listing_needs_no_further_connection(
    moto_site: S3Site, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = set()

    def note(data: bytes) -> bytes:
        # Each connection has a thread of its own.
        connections.add(threading.get_ident())
        return data

    moto_site.put("data/a", b"1")
    # Unlike moto, the proxy keeps connections.
    with Relay(proxied(moto_site).endpoint_url, up=note) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint_url)
        store = store_of(moto_site.bucket)
        assert listed(store) == ["a"]
        assert store.put_marker("data/empty/")
        assert listed(store) == ["a", "empty/"]
    assert len(connections) == 1


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_rclone_begins_where_it_is_asked_to(
    rclone: RcloneServer, rclone_site: S3Site, proxied: PutBefore, known: bool
) -> None:
    names = [f"{number // 100:02}/{number:04}" for number in range(3_500)]
    write_tree(rclone.data / rclone_site.bucket, {f"data/{name}": b"" for name in names})
    proxy = proxied(rclone_site, SLOW)

    def landmark(after: str, steps: int) -> str:
        at = bisect_right(names, after) + steps - 1
        return names[at] if known and at < len(names) else ""

    assert listed(store_of(rclone_site.bucket), landmark) == names
    assert sum(starts_within(request) for request in proxy.requests) >= 2


def test_a_rerun_asks_at_the_keys_that_it_knows(
    moto: MotoServer, moto_site: S3Site, tmp_path: Path, put_before: PutBefore
) -> None:
    moto.put_empty(moto_site.bucket, [f"data/{name}" for name in NAMES])
    proxy = put_before(moto_site)

    def download() -> pos3.Report:
        with pos3.mirror(tmp_path / "cache", show_progress=False) as mirror:
            pos3.download(moto_site.url("data"), tmp_path / "local")
            return mirror.report()

    assert download().downloaded_files == 300
    proxy.clear()
    rerun = download()
    assert (rerun.unchanged, rerun.downloaded_files, rerun.deleted_local) == (300, 0, 0)
    assert set(proxy.kinds) == {"LIST"}
    assert not any(looks(request) for request in proxy.requests)
    assert proxy.count() <= 16
    # Some keys go, others come, on both sides of the borders.
    gone = [*NAMES[17:23], *NAMES[39:42], NAMES[-1]]
    moto.s3.delete_objects(
        Bucket=moto_site.bucket, Delete={"Objects": [{"Key": f"data/{name}"} for name in gone], "Quiet": True}
    )
    moto.put_empty(moto_site.bucket, [f"data/{name}-new" for name in (NAMES[0], *NAMES[58:62], NAMES[200], NAMES[-2])])
    changed = download()
    assert (changed.downloaded_files, changed.deleted_local) == (7, len(gone))
    assert {f"data/{path}" for path in contents(tmp_path / "local")} == set(moto_site.keys("data/"))


def test_ranges_can_begin_at_odd_names(moto_site: S3Site, proxied: PutBefore) -> None:
    names = sorted(ODD_NAMES)
    moto_site.put_all({f"data/{name}": b"" for name in names})
    proxy = proxied(moto_site, SLOW, OtherQuery(query={"max-keys": "3"}))

    def landmark(after: str, steps: int) -> str:
        at = bisect_right(names, after) + steps - 1
        return names[at] if at < len(names) else ""

    store = store_of(moto_site.bucket)
    assert listed(store, landmark) == names
    proxy.clear()
    assert listed(store, landmark) == names
    assert any(starts_within(request) for request in proxy.requests)


def test_the_landmarks_of_an_index_are_every_so_many_records(tmp_path: Path) -> None:
    root = RootIndex(str(tmp_path), "/data")
    index = Index(root, Place("", "s3://bucket/data"))
    assert index.landmarks()("", 1) == ""
    index.mark_used()
    index.write(Record(f"{number:03}", 0, 0, 0, "") for number in range(100))
    landmarks = index.landmarks()
    assert [landmarks(after, 3) for after in ("", "002", "005", "00", "010x")] == ["002", "005", "008", "002", "013"]
    assert [landmarks("097", steps) for steps in (1, 2, 3)] == ["098", "099", ""]
    for other in (Place("", "s3://bucket/other"), Place("http://elsewhere", "s3://bucket/data")):
        assert Index(root, other).landmarks()("", 1) == ""


def test_a_store_in_another_order_is_listed_whole_all_the_same(tree: S3Site, put_before: PutBefore) -> None:
    """Its pages are in order, and the whole is not."""
    shuffled = OtherQuery(query={"start-after": "data/10/105", "continuation-token": ""}, match=later_pages, times=1)
    put_before(tree, shuffled)
    store = store_of(tree.bucket)
    assert twice_if_unsorted(lambda: listed(store, every_known)) == NAMES


def test_entries_are_what_they_are_one_after_the_other(
    tree: S3Site, put_before: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_before(tree)
    at_once: list[Entry] = list(store_of(tree.bucket).entries("data", is_prefix=True))
    monkeypatch.setattr(s3_listing, "_WORTH_SECONDS", 60)
    assert list(store_of(tree.bucket).entries("data", is_prefix=True)) == at_once


def test_a_page_that_repeats_for_ever_is_an_error(tree: S3Site, put_before: PutBefore) -> None:
    put_before(tree, OtherQuery(query={"continuation-token": "", "start-after": "data/00/005"}, match=later_pages))
    store = store_of(tree.bucket)
    with pytest.raises(StoreError, match="repeats"):
        twice_if_unsorted(lambda: listed(store))
