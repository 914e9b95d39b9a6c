"""Downloads and listings of what a versioned bucket held at an earlier time."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlsplit

import pytest

import pos3
from tests.support import YOURS, Handler, Proxy, S3Site, ScriptedServer, Server, Status, contents, on
from tests.support.program import run_program

LARGE_BYTES = 17 * 1024 * 1024
PutBefore = Callable[..., Proxy]


@dataclass(frozen=True)
class History:
    """A bucket, and what it held below ``data`` at some times."""

    bucket: str
    states: dict[datetime, dict[str, bytes]]

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/data"

    @property
    def times(self) -> list[datetime]:
        return list(self.states)


STEPS: list[dict[str, bytes | None]] = [
    {"a": b"1", "b": b"1", "dir/x": b"1", "dir/z +&<é": b"1", "dir-y": b"1"},
    {"a": b"22", "b": None, "dir/new": b"22", "dir/x": None},
    {"b": b"333", "dir/new": None, "dir/z +&<é": None, "a": None},
]


def wait_for_next_second() -> datetime:
    """Returns the time, and returns in the second after it, since S3 tells times in whole seconds."""
    now = datetime.now(UTC)
    time.sleep(1.01 - now.microsecond / 1e6)
    return now


@pytest.fixture(scope="module", params=["moto", *YOURS])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server that can keep versions."""
    found: Server = request.getfixturevalue(request.param)
    if not found.traits.versions:
        pytest.skip("this server keeps no versions")
    return found


@pytest.fixture(scope="module")
def made_history(server: Server) -> Iterator[History]:
    bucket = server.create_bucket(f"pos3-test-{uuid.uuid4().hex[:16]}")
    server.keep_versions(bucket)
    history = History(bucket, {})
    state: dict[str, bytes] = {}
    history.states[wait_for_next_second()] = {}
    for step in STEPS:
        for name, content in step.items():
            if content is None:
                server.delete(bucket, f"data/{name}")
                del state[name]
            else:
                server.put(bucket, f"data/{name}", content)
                state[name] = content
        history.states[wait_for_next_second()] = dict(state)
    yield history
    server.drop_bucket(bucket)


@pytest.fixture
def site(server: Server, new_site: Callable[[Server], S3Site]) -> S3Site:
    """A fresh bucket that keeps versions, and the environment at its server."""
    site = new_site(server)
    server.keep_versions(site.bucket)
    return site


@pytest.fixture
def history(made_history: History, site: S3Site) -> History:
    """The same history for each test, and the environment at its server."""
    return made_history


def put_version(site: S3Site, key: str, content: bytes) -> str:
    """Stores an object, and returns the id of its version."""
    version_id: str = site.server.s3.put_object(Bucket=site.bucket, Key=key, Body=content)["VersionId"]
    return version_id


def mirror(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_a_download_brings_what_was_there_at_that_time(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr("pos3.store.s3.versions.PAGE_SIZE", page_size)
    with mirror(tmp_path):
        paths = {moment: pos3.download(history.url, as_of=moment, missing_ok=True) for moment in history.times}
        now = pos3.download(history.url)
        for moment, path in paths.items():
            assert contents(path) == history.states[moment]
            listed = pos3.ls(f"{history.url}/", recursive=True, as_of=moment)
            assert set(listed) >= {f"{history.url}/{name}" for name in history.states[moment]}
        assert contents(now) == history.states[history.times[-1]]
        assert len({now, *paths.values()}) == len(paths) + 1
    with mirror(tmp_path) as again:
        for moment in history.times[1:]:
            assert pos3.download(history.url, as_of=moment) == paths[moment]
    assert again.report().is_empty or again.report().downloaded_files == 0


def test_a_listing_shows_what_was_there_at_that_time(history: History, tmp_path: Path) -> None:
    empty, first, second, third = history.times
    url = history.url
    with mirror(tmp_path):
        assert pos3.ls(url, as_of=empty) == []
        names = ["a", "b", "dir", "dir-y"]
        assert pos3.ls(url, as_of=first.isoformat()) == sorted(f"{url}/{name}" for name in names)
        assert pos3.ls(f"{url}/dir", as_of=second) == [f"{url}/dir/new", f"{url}/dir/z +&<é"]
        assert pos3.ls(f"{url}/dir", as_of=third) == []
        assert pos3.ls(f"{url}/b", as_of=second) == []
        assert pos3.ls(f"{url}/b", as_of=first) == [f"{url}/b"]
        everything = {f"{url}/{name}" for name in history.states[second]} | {f"{url}/dir"}
        assert set(pos3.ls(url, recursive=True, as_of=second)) == everything


def test_a_large_object_comes_in_ranges_of_its_version(site: S3Site, proxied: PutBefore, tmp_path: Path) -> None:
    old, new = (letter * LARGE_BYTES for letter in (b"1", b"2"))
    site.put("large", old)
    moment = wait_for_next_second()
    site.put("large", new)
    proxy = proxied(site)
    with mirror(tmp_path):
        assert pos3.download(site.url("large"), as_of=moment).read_bytes() == old
        assert pos3.download(site.url("large")).read_bytes() == new
    assert sum("range" in map(str.lower, request.headers) for request in proxy.requests) > 2


def test_a_single_object_and_a_part_come_as_they_were(history: History, tmp_path: Path) -> None:
    _, first, second, _ = history.times
    with mirror(tmp_path):
        assert pos3.download(f"{history.url}/a", as_of=first).read_bytes() == b"1"
        assert pos3.download(f"{history.url}/a", as_of=second).read_bytes() == b"22"
        assert contents(pos3.download(f"{history.url}/dir", as_of=second, include="n*")) == {"new": b"22"}
        assert not pos3.plan_download(f"{history.url}/a", as_of=first).to_copy
        with pytest.raises(pos3.RemoteNotFoundError):
            pos3.download(f"{history.url}/b", as_of=second)


def test_the_past_can_be_pinned_used_offline_and_brought_to_a_path_of_choice(history: History, tmp_path: Path) -> None:
    _, first, second, _ = history.times
    with mirror(tmp_path):
        pos3.download(history.url)
        path = pos3.download(history.url, as_of=first)
        fingerprint = pos3.fingerprint(path)
        assert fingerprint != pos3.fingerprint(history.url)
        here = pos3.download(history.url, local=tmp_path / "here", as_of=first, fingerprint=fingerprint)
        assert contents(here) == history.states[first]
        with pytest.raises(pos3.FingerprintMismatchError, match="changed: 1"):
            pos3.download(history.url, as_of=second, fingerprint=fingerprint)
    with mirror(tmp_path, offline=True):
        assert pos3.download(history.url, as_of=first) == path
        assert len(pos3.ls(history.url, as_of=first)) == 4
        with pytest.raises(pos3.OfflineError):
            pos3.download(history.url, as_of=second)


def test_times_are_the_same_however_they_are_written(history: History, tmp_path: Path) -> None:
    moment = history.times[1]
    there = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with mirror(tmp_path):
        paths = {pos3.download(f"{history.url}/a", as_of=written) for written in (moment, there, there.isoformat())}
    (path,) = paths
    assert f"_@{moment:%Y%m%dT%H%M%S}" in str(path)


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        pytest.param(datetime(2026, 11, 1), "no offset", id="naive datetime"),
        pytest.param("2026-11-01T12:00", "no offset", id="naive text"),
        pytest.param("2026-11-01", "no offset", id="a day"),
        pytest.param("yesterday", "expected an aware datetime", id="a word"),
        pytest.param(1234567890, "expected an aware datetime", id="a number"),
        pytest.param("", "expected an aware datetime", id="nothing"),
        pytest.param(datetime.now(UTC) + timedelta(days=1), "in the future", id="tomorrow"),
        pytest.param(datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "too far away", id="too late"),
    ],
)
def test_what_is_no_time_in_the_past_is_refused(moto_site: S3Site, tmp_path: Path, moment: Any, told: str) -> None:
    with mirror(tmp_path):
        for call in (pos3.download, pos3.ls, pos3.plan_download):
            with pytest.raises(pos3.InvalidArgumentError, match=told) as failure:
                call(moto_site.url("data"), as_of=moment)
            assert failure.value.argument == "as_of"
    assert not (tmp_path / "cache/_").exists()


def test_a_bucket_without_versioning_is_an_error_that_says_so(
    server: Server, new_site: Callable[[Server], S3Site], tmp_path: Path
) -> None:
    plain = new_site(server)
    plain.put("data/a", b"1")
    moment = wait_for_next_second()
    with mirror(tmp_path):
        for call in (pos3.download, pos3.ls):
            with pytest.raises(pos3.StoreError, match="the bucket has no versioning"):
                call(plain.url("data"), as_of=moment)
    ran = run_program("ls", "--versions", plain.url())
    assert (ran.status, "the bucket has no versioning" in ran.stderr) == (1, True)
    assert not list((tmp_path / "cache").glob("_@*"))


def test_versioning_that_is_suspended_is_told(site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site.put("a", b"1")
    site.server.s3.put_bucket_versioning(Bucket=site.bucket, VersioningConfiguration={"Status": "Suspended"})
    with mirror(tmp_path), caplog.at_level(logging.WARNING, "pos3"):
        assert pos3.ls(site.url(), as_of=datetime.now(UTC)) == [site.url("a")]
    assert "versioning is suspended" in caplog.text


def test_other_stores_have_no_past(tmp_path: Path) -> None:
    with mirror(tmp_path):
        with pytest.raises(pos3.InvalidArgumentError, match=r"only of s3:// URLs, not of memory://"):
            pos3.download("memory://x/y", as_of="2020-01-01T00:00Z")
        with pytest.raises(pos3.InvalidURLError, match="needs a remote URL"):
            pos3.download(tmp_path, as_of="2020-01-01T00:00Z")
        with pytest.raises(pos3.InvalidURLError, match="needs a remote URL"):
            pos3.ls(tmp_path, as_of="2020-01-01T00:00Z")


def test_what_was_deleted_for_good_since_is_one_error(site: S3Site, tmp_path: Path) -> None:
    url = site.url("data")
    versions = {name: put_version(site, f"data/{name}", b"old") for name in ("a", "b", "c", "d")}
    site.put("data/c", b"older")
    wait_for_next_second()
    versions["c"] = put_version(site, "data/c", b"newer")
    moment = wait_for_next_second()
    with mirror(tmp_path):
        path = pos3.download(url, as_of=moment)
    before = contents(path)
    assert before == {"a": b"old", "b": b"old", "c": b"newer", "d": b"old"}
    for name in ("a", "c"):
        site.server.delete(site.bucket, f"data/{name}", versions[name])
    told = r"2 objects were downloaded as of .* deleted .*: 'a', 'c'\."
    with mirror(tmp_path), pytest.raises(pos3.VersionsDeletedError, match=told) as failure:
        pos3.download(url, as_of=moment)
    assert failure.value.paths == ("a", "c")
    assert contents(path) == before
    with mirror(tmp_path, offline=True):
        assert pos3.download(url, as_of=moment) == path
    with pos3.mirror(tmp_path / "another", show_progress=False):
        assert contents(pos3.download(url, as_of=moment)) == {"b": b"old", "c": b"older", "d": b"old"}


def test_versions_that_go_during_a_download_are_one_error(
    history: History, site: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    proxied(site, Status(404, "NoSuchVersion", match=on("GET", key="data/(a|b)")))
    with mirror(tmp_path), pytest.raises(pos3.TransferError) as failure:
        pos3.download(history.url, as_of=history.times[1])
    assert len(failure.value.failures) == 2
    assert str(failure.value).count("this version was deleted for good") == 2


def test_credentials_that_may_not_ask_for_versioning_are_told_so(
    history: History, site: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    proxied(site, Status(403, "AccessDenied", match=lambda request: "versioning" in request.query))
    with mirror(tmp_path), pytest.raises(pos3.AccessDeniedError, match="versioning of s3://"):
        pos3.download(history.url, as_of=history.times[1])


def test_a_path_of_the_past_travels_as_of_that_time(history: History, tmp_path: Path) -> None:
    first = history.times[1]
    with mirror(tmp_path):
        pos3.download(history.url)
        whole = pos3.download(history.url, as_of=first)
        references = [pos3.reference(whole), pos3.reference(whole / "a"), pos3.reference(whole / "dir")]
        assert [pos3.restore(reference) for reference in references] == [whole, whole / "a", whole / "dir"]
    with pos3.mirror(tmp_path / "another machine", show_progress=False):
        assert contents(pos3.restore(references[0])) == history.states[first]
        assert pos3.restore(references[1]).read_bytes() == b"1"
        assert set(contents(pos3.restore(references[2]))) == {"x", "z +&<é"}


def test_commands_show_versions_and_bring_the_past(history: History, tmp_path: Path) -> None:
    _, first, second, _ = history.times
    lines = run_program("ls", "--versions", history.url).lines
    of_a = [line.split("  ") for line in lines if line.endswith("/a")]
    assert sorted(columns[-3].strip() for columns in of_a) == ["1", "2", "deleted"]
    assert f"{history.url}/dir" in lines
    assert not any(line.endswith("dir/x") for line in lines)
    shown = [json.loads(line) for line in run_program("ls", "--versions", "-r", "--json", f"{history.url}/a").lines]
    assert sorted((item["size_bytes"], item["is_deleted"], item["is_latest"]) for item in shown) == [
        (0, True, True),
        (1, False, False),
        (2, False, False),
    ]
    assert run_program("ls", "-r", "--as-of", second.isoformat(), f"{history.url}/dir").lines == [
        f"{history.url}/dir/new",
        f"{history.url}/dir/z +&<é",
    ]
    here = tmp_path / "here"
    ran = run_program("download", f"{history.url}/dir", "--local", here, "--as-of", first.isoformat())
    assert (ran.status, set(contents(here))) == (0, {"x", "z +&<é"})
    assert run_program("ls", "--as-of", "2020-01-01", history.url).status == 1


def test_a_listing_of_the_past_asks_for_each_page_once_and_downloads_by_version(
    history: History, site: S3Site, proxied: PutBefore, tmp_path: Path
) -> None:
    proxy = proxied(site)
    with mirror(tmp_path):
        pos3.download(f"{history.url}/", as_of=history.times[1], include="b")
    sent = [(request.method, request.key, request.query) for request in proxy.requests]
    assert [key for method, key, _ in sent if method == "GET" and key] == ["data/b"]
    assert all("versionId" in query for _, key, query in sent if key)
    assert len(sent) == 3


# Parts, patterns and details


@pytest.mark.parametrize("page_size", [1, 3, 1000])
def test_a_part_brings_and_lists_its_range_of_that_time(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr("pos3.store.s3.versions.PAGE_SIZE", page_size)
    first, second = history.times[1], history.times[2]
    state = history.states[first]
    part = pos3.Part(history.url, after="a", until="dir/x")
    rest = pos3.Part(history.url, after="dir/x")
    inside = {name for name in state if name in part}
    assert inside == {"b", "dir-y", "dir/x"}
    with mirror(tmp_path):
        path = pos3.download(part, as_of=first)
        assert set(contents(path)) == inside
        assert pos3.ls(part, recursive=True, as_of=first) == [
            f"{history.url}/{name}" for name in ("b", "dir", "dir-y", "dir/x")
        ]
        assert [item.size_bytes for item in pos3.ls(part, as_of=first, details=True)] == [1, 0, 1]
        assert pos3.download(str(rest), as_of=first) == path
        assert contents(path) == {name: content for name, content in state.items() if name != "a"}
        of_second = {name: content for name, content in history.states[second].items() if name in part}
        assert contents(pos3.download(part, as_of=second)) == of_second == {"dir-y": b"1", "dir/new": b"22"}
    with mirror(tmp_path, offline=True):
        assert pos3.download(part, as_of=first) == path
        with pytest.raises(pos3.OfflineError):
            pos3.download(history.url, as_of=first)
        with pytest.raises(pos3.OfflineError):
            pos3.download(part)


def test_a_part_asks_for_no_versions_before_it(history: History, site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(site)
    with pos3.mirror(show_progress=False):
        assert pos3.ls(pos3.Part(f"{history.url}/", after="a", until="b"), as_of=history.times[1]) == [
            f"{history.url}/b"
        ]
    [listing] = [request.query for request in proxy.requests if "versions" in request.query]
    assert listing["key-marker"].startswith("data/`")


def test_what_was_deleted_for_good_is_an_error_of_its_part_alone(site: S3Site, tmp_path: Path) -> None:
    url = site.url("data")
    version = put_version(site, "data/a", b"old")
    site.put("data/b", b"old")
    moment = wait_for_next_second()
    parts = [pos3.Part(url, until="a"), pos3.Part(url, after="a")]
    with mirror(tmp_path):
        pos3.download(url, as_of=moment)
    site.server.delete(site.bucket, "data/a", version)
    with mirror(tmp_path):
        assert set(contents(pos3.download(parts[1], as_of=moment))) == {"a", "b"}
        with pytest.raises(pos3.VersionsDeletedError, match=r"1 object was downloaded as of .* deleted .*: 'a'\."):
            pos3.download(parts[0], as_of=moment)


def test_patterns_and_details_are_those_of_that_time(history: History, tmp_path: Path) -> None:
    first, second, third = history.times[1:]
    url = history.url
    with mirror(tmp_path):
        assert pos3.ls(f"{url}/dir*", as_of=first) == [f"{url}/dir", f"{url}/dir-y"]
        assert pos3.ls(f"{url}/dir/[xz]*", as_of=first) == [f"{url}/dir/x", f"{url}/dir/z +&<é"]
        assert pos3.ls(f"{url}/*/new", as_of=second) == [f"{url}/dir/new"]
        assert pos3.ls(f"{url}/*/new", as_of=third) == []
        assert pos3.ls(f"s3://{history.bucket}/**/b", as_of=third) == [f"{url}/b"]
        found = {item.url: item for item in pos3.ls(url, as_of=second, details=True)}
        assert {name.removeprefix(f"{url}/"): item.size_bytes for name, item in found.items()} == {
            "a": 2,
            "dir": 0,
            "dir-y": 1,
        }
        changed = found[f"{url}/a"].modified
        assert changed is not None
        assert first < changed + timedelta(seconds=1) <= second + timedelta(seconds=1)
        with pytest.raises(pos3.InvalidArgumentError, match="the buckets of an earlier time are not known"):
            pos3.ls("s3://", as_of=first)
        with pytest.raises(pos3.InvalidURLError, match=r"ls\(as_of=\.\.\.\) needs a remote URL"):
            pos3.ls(tmp_path, as_of=first)


def test_commands_list_the_past_by_patterns_parts_and_at_length(history: History) -> None:
    moment = history.times[2].isoformat()
    ran = run_program("ls", "-l", "--json", "--as-of", moment, f"{history.url}/a*")
    assert [(item["url"], item["size_bytes"]) for item in ran.objects] == [(f"{history.url}/a", 2)]
    part = str(pos3.Part(history.url, after="a"))
    assert run_program("ls", "--as-of", moment, part).lines == [f"{history.url}/dir", f"{history.url}/dir-y"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["-l", "data"], "--versions shows the sizes and times itself; leave -l out", id="at length"),
        pytest.param(["data/*"], "versions are listed of a prefix or an object", id="a pattern"),
        pytest.param(["part"], "versions are listed of a whole URL", id="a part"),
    ],
)
def test_what_versions_cannot_be_listed_with_is_one_error(history: History, arguments: list[str], told: str) -> None:
    *options, name = arguments
    address = str(pos3.Part(history.url)) if name == "part" else f"s3://{history.bucket}/{name}"
    ran = run_program("ls", "--versions", *options, address)
    assert (ran.status, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert told in ran.stderr


# Servers with habits of their own

ODD_WHEN_UNQUOTED = ["data/x y", "data/x%7Ey", "data/x+y", "data/xyz"]
PageOf = Callable[[dict[str, str]], str]


def versions_page(keys: list[str], marker: str = "", id_marker: str = "1") -> str:
    """A page of versions; the next one begins behind the markers."""
    versions = "".join(
        f"<Version><Key>{quote_plus(key)}</Key><VersionId>1</VersionId><IsLatest>true</IsLatest><Size>1</Size>"
        "<LastModified>2026-01-01T00:00:00Z</LastModified></Version>"
        for key in keys
    )
    return (
        f"<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>{str(bool(marker)).lower()}</IsTruncated>"
        f"<NextKeyMarker>{marker}</NextKeyMarker><NextVersionIdMarker>{id_marker}</NextVersionIdMarker>"
        f"{versions}</ListVersionsResult>"
    )


@pytest.fixture
def serve_versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[PageOf], None]]:
    """`serve_versions(page)`: a server whose listings of versions are `page(query)`, and the environment at it."""
    with ExitStack() as stack:

        def started(page: PageOf) -> None:
            class Listing(Handler):
                def respond(self) -> None:
                    query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
                    kept = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
                    self.answer(200, (kept if "versioning" in query else page(query)).encode())

            scripted = stack.enter_context(ScriptedServer(Listing))
            for name, value in Server(scripted.endpoint_url).environment().items():
                monkeypatch.setenv(name, value)

        yield started


@pytest.mark.parametrize(
    ("quoted", "id_marker"),
    [
        pytest.param(quote_plus, "1", id="a quoted marker"),
        pytest.param(str, "1", id="a marker as it is"),
        pytest.param(quote_plus, "null", id="null for every version"),
    ],
)
def test_pages_go_on_behind_any_key_however_a_server_writes_the_marker(
    serve_versions: Callable[[PageOf], None], quoted: Callable[[str], str], id_marker: str, tmp_path: Path
) -> None:
    def one_version(query: dict[str, str]) -> str:
        if query.get("version-id-marker") == "null":
            # So does Swift, which writes null for every version.
            return versions_page([])
        keys = [key for key in ODD_WHEN_UNQUOTED if key > query.get("key-marker", "")]
        return versions_page(keys[:1], quoted(keys[0]) if len(keys) > 1 else "", id_marker)

    serve_versions(one_version)
    with mirror(tmp_path):
        found = pos3.ls("s3://bucket/data", as_of="2026-02-01T00:00Z")
    assert found == [f"s3://bucket/{key}" for key in ODD_WHEN_UNQUOTED]


def test_versions_that_were_promised_and_do_not_come_are_an_error_and_delete_nothing(
    serve_versions: Callable[[PageOf], None], tmp_path: Path
) -> None:
    def null_versions(query: dict[str, str]) -> str:
        if query.get("version-id-marker") == "null":
            return versions_page([])
        return versions_page(["data/a"], "data/a", "null").replace("<VersionId>1<", "<VersionId>null<")

    serve_versions(null_versions)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/kept").write_bytes(b"1")
    with mirror(tmp_path / "cache"), pytest.raises(pos3.StoreError, match="but it lists none, so some may be missing"):
        pos3.download("s3://bucket/data", tmp_path / "data", as_of="2026-02-01T00:00Z", adopt=True)
    assert (tmp_path / "data/kept").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(["data/dir/x", "data/dir-y"], ["data/e"], id="on the first page"),
        pytest.param(["data/a"], ["data/dir/x", "data/dir-y"], id="on the last page"),
    ],
)
def test_several_pages_in_another_order_than_that_of_the_keys_are_an_error(
    serve_versions: Callable[[PageOf], None], first: list[str], second: list[str], tmp_path: Path
) -> None:
    serve_versions(lambda query: versions_page(second) if "key-marker" in query else versions_page(first, first[-1]))
    with mirror(tmp_path):
        for call in (pos3.ls, pos3.download):
            with pytest.raises(pos3.StoreError, match="not listed in the order of their keys, so some may be missing"):
                call("s3://bucket/data", as_of="2026-02-01T00:00Z")
    assert run_program("ls", "--versions", "s3://bucket/data").status == 1


def test_one_page_may_have_any_order(serve_versions: Callable[[PageOf], None], tmp_path: Path) -> None:
    serve_versions(lambda _query: versions_page(["data/dir/x", "data/dir-y"]))
    with mirror(tmp_path):
        assert pos3.ls("s3://bucket/data", recursive=True, as_of="2026-02-01T00:00Z") == [
            f"s3://bucket/data/{name}" for name in ("dir", "dir-y", "dir/x")
        ]
