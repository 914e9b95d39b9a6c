"""Servers that do nothing wrong, and still do not answer as AWS does: nothing is lost, and nothing fails."""

from __future__ import annotations

import gzip
import hashlib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

import pos3
from pos3.state.cache import verify_cache
from pos3.store.s3.completion import MultipartUpload
from pos3.store.s3.requests import Request
from pos3.store.s3.store import S3Store
from pos3.store.s3.unfinished import abort
from pos3.store.s3.uploads import UNTOLD
from tests.support import ConnectProxy, MemoryServer, S3Site, Server, contents, md5_etag, write_tree
from tests.support.trees import pseudo_random

MIB = 1 << 20
Serve = Callable[..., MemoryServer]
TREE = {"small": b"abc", "empty": b"", "d/medium": pseudo_random(MIB), "d/large": pseudo_random(17 * MIB)}
NO_RANGES_TREE = {**TREE, "d/large": pseudo_random(9 * MIB)}
SMALL_TREE = {"a": b"1", "b": b"22", "c/d": b"333", "c/e": b"4444", "f": b"55555"}


def opened(tmp_path: Path, name: str = "cache") -> pos3.mirror:
    return pos3.mirror(tmp_path / name, show_progress=False)


def upload(tmp_path: Path, tree: Path, key: str = "data") -> None:
    with opened(tmp_path):
        pos3.upload(f"s3://bucket/{key}", tree, interval=None)


def held(server: MemoryServer, prefix: str = "data/") -> dict[str, bytes]:
    return {key.removeprefix(prefix): body for key, body in server.objects.items() if key.startswith(prefix)}


# Servers that look at what a request says of its body


def test_every_request_carries_the_hash_of_the_body_that_it_has(serve_from_memory: Serve, tmp_path: Path) -> None:
    """Uploads, multipart uploads, markers, downloads, ranges, deletes and HEADs on the same connections."""
    server = serve_from_memory()
    tree = write_tree(tmp_path / "tree", TREE)
    (tree / "hollow").mkdir()
    upload(tmp_path, tree)
    assert held(server) == {**TREE, "hollow/": b""}
    with opened(tmp_path, "other"):
        path = pos3.download("s3://bucket/data")
        assert contents(path) == TREE
    for name in ("small", "d/medium"):
        (tree / name).unlink()
    (tree / "new").write_bytes(b"n" * 100)
    (tree / "d/large").write_bytes(b"m" * 9 * MIB)
    upload(tmp_path, tree)
    assert held(server) == {**contents(tree), "hollow/": b""}
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == contents(tree)
    assert {each.status for each in server.asked} <= {200, 204, 206, 404}


@pytest.mark.parametrize("before", ["POST", "PUT"])
@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE"])
def test_a_request_without_a_body_says_nothing_of_the_one_before_it(
    serve_from_memory: Serve, before: str, method: str
) -> None:
    server = serve_from_memory()
    server.put("x", b"1")
    client = S3Store("bucket", None, 4)._client
    query, body = ("delete=", b"<Delete></Delete>") if before == "POST" else ("", b"2")

    async def ask() -> None:
        await client.send(Request(before, "" if before == "POST" else "x", query, body=body))
        await client.send(Request(method, "x"))

    client.run(ask, 1)
    *_, last = server.asked
    assert (last.method, last.body_bytes) == (method, 0)
    assert last.headers["x-amz-content-sha256"] in ("UNSIGNED-PAYLOAD", hashlib.sha256(b"").hexdigest())
    assert {"content-length", "content-type", "transfer-encoding", "expect"}.isdisjoint(last.headers)


# Proxies, whose answers come before those of the server

HOUR = 3600
HEADS = {
    "ahead": "Date: Fri, 01 Jan 2100 00:00:00 GMT",
    "behind": "Date: Thu, 01 Jan 2015 00:00:00 GMT",
    "long": "Content-Length: 12345",
    "none": "Content-Length: 0",
    "versioned": 'ETag: "00000000000000000000000000000000"',
    "dated": "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT",
    "ranged": "Content-Range: bytes 0-1/2",
    "encrypted": "x-amz-server-side-encryption: aws:kms",
}
heads = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


@pytest.fixture
def behind_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated_home: Path) -> Iterator[Serve]:
    """`behind_proxy(*head)`: a server that speaks TLS, reached through a proxy whose answer has these headers.

    Each request needs a tunnel of its own.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ExitStack() as stack:

        def started(*head: str) -> MemoryServer:
            server = stack.enter_context(MemoryServer(context, closes=True))
            proxy = stack.enter_context(ConnectProxy(*head))
            for name, value in Server(server.endpoint_url).environment().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "")
            return server

        yield started


@heads
def test_what_a_proxy_says_of_its_tunnel_is_said_of_no_object(behind_proxy: Serve, tmp_path: Path, head: str) -> None:
    server = behind_proxy(head)
    tree = write_tree(tmp_path / "tree", NO_RANGES_TREE)
    upload(tmp_path, tree)
    assert held(server) == NO_RANGES_TREE
    with opened(tmp_path, "other"):
        path = pos3.download("s3://bucket/data")
    assert contents(path) == NO_RANGES_TREE
    assert (path / "small").stat().st_mtime == pytest.approx(server.state.objects["data/small"].modified, abs=2)
    server.moved()
    upload(tmp_path, tree)
    with opened(tmp_path, "other"):
        pos3.download("s3://bucket/data")
    assert server.moved() == []
    with opened(tmp_path, "third"):
        # Of an object that is forbidden to list, only a HEAD tells the length.
        server.state.habits.lists = False
        assert pos3.download("s3://bucket/data/small").read_bytes() == NO_RANGES_TREE["small"]


@pytest.mark.parametrize("head", [HEADS["ahead"], HEADS["behind"]], ids=["ahead", "behind"])
def test_a_proxy_whose_clock_is_wrong_makes_nothing_new_look_old(
    behind_proxy: Serve, tmp_path: Path, head: str
) -> None:
    server = behind_proxy(head)
    server.put("data/mine", b"1", age_seconds=HOUR)
    server.put("data/old", b"1", age_seconds=HOUR)
    tree = write_tree(tmp_path / "tree", {"mine": b"1"})
    with opened(tmp_path):
        pos3.upload("s3://bucket/data", tree, interval=None)
        server.put("data/theirs", b"2", age_seconds=-2)
    assert held(server) == {"mine": b"1", "theirs": b"2"}


@pytest.mark.parametrize("head", [HEADS["versioned"], HEADS["long"]], ids=["versioned", "long"])
def test_what_announces_an_answer_or_comes_after_it_is_said_of_no_object(
    serve_from_memory: Serve, tmp_path: Path, head: str
) -> None:
    """Early hints are an answer before the answer, and a body in chunks may have trailers."""
    server = serve_from_memory(hints=head, trailer=head)
    tree = write_tree(tmp_path / "tree", NO_RANGES_TREE)
    upload(tmp_path, tree)
    assert held(server) == NO_RANGES_TREE
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == NO_RANGES_TREE


# ETags that are no MD5


def upper(body: bytes) -> str:
    return md5_etag(body).upper()


def short(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()[:8]}"'


ETAGS = {
    "short": short,
    "letters": lambda body: f'"{"z" * 20}{hashlib.md5(body).hexdigest()[:12]}"',
    "sha256": lambda body: f'"{hashlib.sha256(body).hexdigest()}"',
    "upper": upper,
    "upper-other": lambda body: f'"{hashlib.md5(b"salt" + body).hexdigest().upper()}"',
    "dashes": lambda body: f'"{hashlib.md5(body).hexdigest()[:8]}-4d7a-{hashlib.md5(body).hexdigest()[:4]}"',
    "base64": lambda body: f'"CKih{hashlib.md5(body).hexdigest()[:6]}/+CEAE="',
    "bare": lambda body: hashlib.md5(body).hexdigest()[:16],
    "weak": lambda body: f'W/"{hashlib.md5(body).hexdigest()[:16]}"',
    "weak-md5": lambda body: f"W/{md5_etag(body)}",
    "weak-like-md5": lambda body: f"W/{md5_etag(b'salt' + body)}",
    "weak-parts": lambda body: f'W/"{hashlib.md5(b"salt" + body).hexdigest()}-3"',
    "parts-upper": lambda body: f'"{hashlib.md5(b"salt" + body).hexdigest().upper()}-3"',
    "quotes": lambda body: f'"a&{short(body)[1:-1]}<b>"',
}
odd_etags = pytest.mark.parametrize("etag", ETAGS.values(), ids=ETAGS)


@odd_etags
def test_any_etag_will_do_for_uploads_downloads_and_reruns_that_move_nothing(
    serve_from_memory: Serve, tmp_path: Path, etag: Callable[[bytes], str]
) -> None:
    server = serve_from_memory(etag=etag, etag_of_parts=etag)
    tree = write_tree(tmp_path / "tree", TREE)
    upload(tmp_path, tree)
    assert held(server) == TREE
    assert sorted(set(server.moved())) == sorted(f"data/{name}" for name in TREE)
    upload(tmp_path, tree)
    assert server.moved() == []
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == TREE
    server.moved()
    with opened(tmp_path, "other"):
        path = pos3.download("s3://bucket/data")
    assert server.moved() == []
    # Edits that keep the size are seen by the ETag alone.
    server.put("data/small", b"xyz")
    server.put("data/d/large", pseudo_random(17 * MIB, seed=2))
    with opened(tmp_path, "other"):
        pos3.download("s3://bucket/data")
    assert set(server.moved()) == {"data/small", "data/d/large"}
    assert contents(path) == held(server)
    (tree / "empty").write_bytes(b"full")
    upload(tmp_path, tree)
    assert held(server) == contents(tree)


@odd_etags
def test_without_a_record_the_times_decide_where_an_etag_proves_nothing(
    serve_from_memory: Serve, tmp_path: Path, etag: Callable[[bytes], str], request: pytest.FixtureRequest
) -> None:
    server = serve_from_memory(etag=etag)
    server.put("data/same", b"abc", age_seconds=HOUR)
    server.put("data/other", b"abc", age_seconds=HOUR)
    with opened(tmp_path):
        local = pos3.download("s3://bucket/data", tmp_path / "local")
    (local / "other").write_bytes(b"xyz")
    server.moved()
    with opened(tmp_path, "new-cache"):
        pos3.download("s3://bucket/data", local, adopt=True)
    # What has the form of an MD5, and is another, counts as one.
    assert set(server.moved()) == {"data/other"} | ({"data/same"} if "weak-like-md5" in request.node.name else set())
    (local / "other").write_bytes(b"xyz")
    with opened(tmp_path, "another-cache"):
        pos3.upload("s3://bucket/data", local, interval=None)
    assert "data/other" in server.moved()
    assert held(server) == {"same": b"abc", "other": b"xyz"}


WEAKENING = {
    "answers": {"etag": lambda body: f"W/{md5_etag(body)}", "listed_etag": lambda etag: etag.removeprefix("W/")},
    "listings": {"listed_etag": lambda etag: f"W/{etag.removeprefix('W/')}"},
}


@pytest.mark.parametrize("habits", WEAKENING.values(), ids=WEAKENING)
def test_what_is_weak_in_answers_or_listings_alone_is_the_same_version(
    serve_from_memory: Serve, tmp_path: Path, habits: dict[str, object]
) -> None:
    """A gateway that may compress makes the ETags of its answers weak."""
    server = serve_from_memory(etag_of_parts=lambda body: f'W/"{hashlib.sha1(body).hexdigest()}"', **habits)
    tree = write_tree(tmp_path / "tree", TREE)
    upload(tmp_path, tree)
    server.moved()
    upload(tmp_path, tree)
    assert server.moved() == []
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == TREE
    server.moved()
    with opened(tmp_path, "other"):
        pos3.download("s3://bucket/data")
    assert server.moved() == []


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("size", [3, 2 * MIB, 9 * MIB], ids=["memory", "stream", "parts"])
def test_an_etag_that_is_exactly_an_md5_still_proves_that_a_body_was_spoiled(
    serve_from_memory: Serve, tmp_path: Path, size: int
) -> None:
    serve_from_memory(spoils=lambda body: bytes(len(body)))
    tree = write_tree(tmp_path / "tree", {"x": pseudo_random(size)})
    with pytest.raises(pos3.TransferError, match="other bytes than were sent"):
        upload(tmp_path, tree)


@pytest.mark.parametrize("size", [3, 2 * MIB, 17 * MIB], ids=["memory", "stream", "ranges"])
def test_a_right_md5_in_upper_case_proves_a_file_equal_without_its_body(
    serve_from_memory: Serve, tmp_path: Path, size: int
) -> None:
    body = pseudo_random(size)
    server = serve_from_memory(etag=upper)
    server.put("data/x", body)
    local = write_tree(tmp_path / "local", {"x": body})
    with opened(tmp_path):
        pos3.download("s3://bucket/data", local, adopt=True)
    assert server.moved() == []


@pytest.mark.parametrize("etag", [value for name, value in ETAGS.items() if name != "weak-like-md5"])
def test_a_check_of_the_cache_calls_no_file_damaged_for_an_etag_that_proves_nothing(
    serve_from_memory: Serve, tmp_path: Path, etag: Callable[[bytes], str]
) -> None:
    server = serve_from_memory(etag=etag)
    server.put("data/x", b"abc")
    with opened(tmp_path):
        pos3.download("s3://bucket/data")
    assert verify_cache(str(tmp_path / "cache"), read_content=True) == []


# Pages that are empty, and not the last

HOLLOW = pytest.mark.parametrize("hollow", ["first", "each"])
PAGES = pytest.mark.parametrize("page_keys", [1, 2, 1000])


@HOLLOW
@PAGES
def test_an_empty_page_that_is_not_the_last_never_passes_for_an_empty_prefix(
    serve_from_memory: Serve, tmp_path: Path, hollow: str, page_keys: int
) -> None:
    server = serve_from_memory(hollow=hollow, page_keys=page_keys)
    for name, body in SMALL_TREE.items():
        server.put(f"data/{name}", body, age_seconds=3600)
    with opened(tmp_path):
        path = pos3.sync("s3://bucket/data", tmp_path / "local", interval=None)
        assert contents(path) == SMALL_TREE
        (path / "new").write_bytes(b"n")
    assert held(server) == {**SMALL_TREE, "new": b"n"}


@HOLLOW
@PAGES
@pytest.mark.parametrize("url", ["s3://bucket/data", "s3://bucket/data/", "s3://bucket"])
def test_downloads_and_ls_see_what_follows_an_empty_page(
    serve_from_memory: Serve, tmp_path: Path, hollow: str, page_keys: int, url: str
) -> None:
    server = serve_from_memory(hollow=hollow, page_keys=page_keys)
    for name, body in SMALL_TREE.items():
        server.put(f"data/{name}", body)
    with opened(tmp_path):
        path = pos3.download(url)
        assert contents(path / "data" if url == "s3://bucket" else path) == SMALL_TREE
        assert {f"s3://bucket/data/{name}" for name in SMALL_TREE} <= set(pos3.ls(url, recursive=True))
        names = [found.rstrip("/").rpartition("/")[2] for found in pos3.ls(url)]
    assert names == (["data"] if url == "s3://bucket" else ["a", "b", "c", "f"])


@HOLLOW
@PAGES
def test_one_object_is_found_behind_an_empty_page(
    serve_from_memory: Serve, tmp_path: Path, hollow: str, page_keys: int
) -> None:
    server = serve_from_memory(hollow=hollow, page_keys=page_keys)
    for key in ("data", "data.txt", "data/x"):
        server.put(key, key.encode())
    with opened(tmp_path):
        assert pos3.download("s3://bucket/data", tmp_path / "one").read_bytes() == b"data"
    with opened(tmp_path):
        assert contents(pos3.download("s3://bucket/data/", tmp_path / "many")) == {"x": b"data/x"}


@HOLLOW
@PAGES
def test_a_file_is_not_pushed_over_a_prefix_that_lies_behind_an_empty_page(
    serve_from_memory: Serve, tmp_path: Path, hollow: str, page_keys: int
) -> None:
    server = serve_from_memory(hollow=hollow, page_keys=page_keys)
    for key in ("data-1", "data-2", "data/x"):
        server.put(key, b"1")
    file = write_tree(tmp_path / "tree", {"file": b"2"}) / "file"
    with pytest.raises(pos3.ConflictError, match="is a prefix with objects"):
        upload(tmp_path, file)
    assert server.objects == {"data-1": b"1", "data-2": b"1", "data/x": b"1"}


@HOLLOW
def test_an_upload_deletes_what_is_to_go_behind_empty_pages_and_nothing_else(
    serve_from_memory: Serve, tmp_path: Path, hollow: str
) -> None:
    server = serve_from_memory(hollow=hollow, page_keys=2)
    for number in range(9):
        server.put(f"data/{number}", b"1", age_seconds=3600)
    server.put("data-2", b"1")
    upload(tmp_path, write_tree(tmp_path / "tree", {"3": b"1", "new": b"2"}))
    assert server.objects == {"data/3": b"1", "data/new": b"2", "data-2": b"1"}


@HOLLOW
def test_the_marker_of_an_empty_directory_is_found_behind_an_empty_page(
    serve_from_memory: Serve, tmp_path: Path, hollow: str
) -> None:
    server = serve_from_memory(hollow=hollow)
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    (tree / "hollow").mkdir()
    upload(tmp_path, tree)
    assert held(server) == {"a": b"1", "hollow/": b""}


@HOLLOW
@pytest.mark.parametrize("known", [True, False], ids=["known-keys", "unknown-keys"])
def test_pages_that_are_asked_for_at_once_may_be_empty(
    serve_from_memory: Serve, tmp_path: Path, hollow: str, known: bool
) -> None:
    server = serve_from_memory(hollow=hollow, page_keys=10)
    for number in range(200):
        server.put(f"data/{number // 10:02}/{number:03}", b"%d" % number)
    if known:
        with opened(tmp_path):
            pos3.download("s3://bucket/data")
    server.state.habits.answers_after_seconds = 0.03
    server.state.asked.clear()
    with opened(tmp_path):
        assert contents(pos3.download("s3://bucket/data")) == held(server)
    if known:
        # It was divided, and not given up for pages one after the other.
        assert sum("start-after" in each.query for each in server.asked) > 2
    listed = [each for each in server.asked if not each.key and "delimiter" not in each.query]
    assert len(listed) < 90


@pytest.mark.parametrize("quotes", [False, True], ids=["keys as they are", "quoted keys"])
@pytest.mark.parametrize("key", ["x", "x+y", "x%7Ey"])
def test_an_upload_whose_id_was_lost_is_found_behind_the_first_page(
    serve_from_memory: Serve, key: str, quotes: bool
) -> None:
    server = serve_from_memory(page_keys=2, quotes=quotes)
    for end in ("", "", "", "-longer", "", "-longer", "-longest"):
        Server(server.endpoint_url).s3.create_multipart_upload(Bucket="bucket", Key=key + end)
    for name in ("upload-001", "upload-002", "upload-003"):
        server.state.uploads[name] = key, time.time() - HOUR
    abort([MultipartUpload(key, UNTOLD, time.time() - 60)], S3Store("bucket", None, 4)._client, 4)
    assert sorted(server.unfinished) == [f"upload-00{number}" for number in (1, 2, 3, 4, 6, 7)]


def test_empty_pages_without_an_end_are_an_error(serve_from_memory: Serve, tmp_path: Path) -> None:
    server = serve_from_memory(hollow="endless")
    server.put("data/x", b"1", age_seconds=3600)
    with opened(tmp_path), pytest.raises(pos3.StoreError, match="empty pages"):
        pos3.download("s3://bucket/data")
    with pytest.raises(pos3.StoreError, match="empty pages"), opened(tmp_path):
        pos3.sync("s3://bucket/data", tmp_path / "local", interval=None)
    assert held(server) == {"x": b"1"}


# Pages that do not say whether they are the last

UNTOLD_ENDS = pytest.mark.parametrize("truncation", ["token", "untold"])


@UNTOLD_ENDS
@pytest.mark.parametrize("page_keys", [1, 2, 1000])
@pytest.mark.parametrize("waits", [0.0, 0.02], ids=["one-by-one", "at-once"])
def test_a_listing_that_never_says_whether_it_ends_is_read_whole(
    serve_from_memory: Serve, tmp_path: Path, truncation: str, page_keys: int, waits: float
) -> None:
    server = serve_from_memory(truncation=truncation, page_keys=page_keys, answers_after_seconds=waits)
    tree = write_tree(tmp_path / "tree", SMALL_TREE)
    upload(tmp_path, tree)
    server.put("data-beside", b"", age_seconds=HOUR)
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == SMALL_TREE
        assert pos3.download("s3://bucket/data/a").read_bytes() == b"1"
        assert pos3.ls("s3://bucket/data") == [f"s3://bucket/data/{name}" for name in ("a", "b", "c", "f")]
    (tree / "b").unlink()
    (tree / "c/d").unlink()
    upload(tmp_path, tree)
    assert held(server) == contents(tree)
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == contents(tree)


def test_a_listing_that_may_have_been_cut_deletes_nothing(serve_from_memory: Serve, tmp_path: Path) -> None:
    """The store neither says whether a page is the last, nor begins where it is asked to."""
    server = serve_from_memory()
    upload(tmp_path, write_tree(tmp_path / "tree", SMALL_TREE))
    with opened(tmp_path, "other"):
        path = pos3.download("s3://bucket/data")
    server.state.habits.truncation, server.state.habits.starts_after = "untold", False
    for page_keys in (2, 1000):
        server.state.habits.page_keys = page_keys
        with pytest.raises(pos3.StoreError, match="repeats"), opened(tmp_path, "other"):
            pos3.download("s3://bucket/data")
        (tmp_path / "tree/a").unlink(missing_ok=True)
        with pytest.raises(pos3.StoreError, match="repeats"):
            upload(tmp_path, tmp_path / "tree")
    assert contents(path) == held(server) == SMALL_TREE


# Servers, and proxies before them, that unzip what is stored with Content-Encoding: gzip

ZIPPED = {
    "small.json": gzip.compress(b'{"a": 1}' * 1000),
    "shorter-unzipped": gzip.compress(pseudo_random(10)),
    "medium": gzip.compress(bytes(3 * MIB)),
    "medium-shorter": gzip.compress(pseudo_random(300_000)),
    "large": gzip.compress(pseudo_random(16 * MIB) + bytes(2 * MIB), 1),
    "large-stored": gzip.compress(pseudo_random(17 * MIB), 0),
}


def upload_zipped(tmp_path: Path, url: str) -> None:
    with opened(tmp_path):
        tree = write_tree(tmp_path / "zipped", ZIPPED)
        pos3.upload(url, tree, interval=None, extra_args={"ContentEncoding": "gzip"})


def test_what_is_stored_with_gzip_arrives_as_it_is_stored(s3: S3Site, tmp_path: Path) -> None:
    upload_zipped(tmp_path, s3.url("data"))
    for _ in range(2):
        with opened(tmp_path, "other"):
            assert contents(pos3.download(s3.url("data"))) == ZIPPED


@pytest.mark.parametrize("unzips", ["to-others", "weakly"])
def test_what_would_be_unzipped_on_its_way_arrives_as_it_is_stored(
    serve_from_memory: Serve, tmp_path: Path, unzips: str
) -> None:
    server = serve_from_memory(unzips=unzips)
    upload_zipped(tmp_path, "s3://bucket/data")
    server.put("data/plain", b"1", age_seconds=HOUR)
    with opened(tmp_path, "other"):
        assert contents(pos3.download("s3://bucket/data")) == {**ZIPPED, "plain": b"1"}
    # Some servers change this header before they look at the signature.
    zipped = [each for each in server.asked if "accept-encoding" in each.headers]
    assert {each.key for each in zipped} == {f"data/{name}" for name in ZIPPED}
    assert not any("accept-encoding" in each.headers["authorization"] for each in zipped)
    server.moved()
    with opened(tmp_path, "other"):
        pos3.download("s3://bucket/data")
    assert server.moved() == []
    upload_zipped(tmp_path, "s3://bucket/data")
    assert server.moved() == []


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("name", ZIPPED)
def test_what_is_always_unzipped_is_one_error_and_the_old_file_stays(
    serve_from_memory: Serve, tmp_path: Path, name: str
) -> None:
    server = serve_from_memory(unzips="always")
    upload_zipped(tmp_path, "s3://bucket/data")
    old = write_tree(tmp_path / "here", {name: b"old"})
    told = "bytes arrived" if "shorter" in name or "stored" in name else "unzips what is stored"
    with pytest.raises(pos3.TransferError, match=told), opened(tmp_path, "other"):
        pos3.download("s3://bucket/data", old, include=name, adopt=True)
    assert contents(old) == {name: b"old"}
    assert held(server) == ZIPPED
