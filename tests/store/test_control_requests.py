"""Requests to S3 that move no bodies: deletes, heads, markers, aborted uploads."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, Timer
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import pos3
from pos3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    EndpointError,
    StoreError,
    TransferCancelledError,
)
from pos3.store import Store, carried_out, open_store
from pos3.store.s3.address import Address
from pos3.store.s3.client import Connection
from pos3.store.s3.completion import MultipartUpload
from pos3.store.s3.errors import read_answer
from pos3.store.s3.http import Client
from pos3.store.s3.unfinished import abort
from pos3.store.s3.uploads import UNTOLD
from pos3.store.s3.xml import first_text, is_writable, written
from pos3.url import Location
from tests.support import (
    Flip,
    Handler,
    Hang,
    Latency,
    Proxy,
    ResetAfter,
    S3Site,
    ScriptedServer,
    Status,
    on,
    write_tree,
)
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
MIB = 1024 * 1024


def s3_store(bucket: str, max_workers: int = 8) -> Store:
    return open_store(Location("s3", bucket, ""), None, max_workers)


# Keys

NEIGHBOURS = [
    pytest.param("a&b", "a&amp;b", id="ampersand"),
    pytest.param("a&amp;b", "a&b", id="written-ampersand"),
    pytest.param("<a>", "&lt;a&gt;", id="angles"),
    pytest.param("<![CDATA[a]]>", "a", id="cdata"),
    pytest.param("\"a'", "&quot;a&apos;", id="quotes"),
    pytest.param("a\nb", "a b", id="newline"),
    pytest.param("a\rb", "a\nb", id="carriage-return"),
    pytest.param("a\r\nb", "a\nb", id="dos-line-end"),
    pytest.param("a\tb", "a b", id="tab"),
    pytest.param(" a ", "a", id="blanks-around"),
    pytest.param("a\x01b", "ab", id="control-character"),
    pytest.param("a\x7f\x85b", "ab", id="other-control-characters"),
    pytest.param("a\ufffeb", "a\ufffdb", id="no-character"),
    pytest.param("🚀\u2028é", "🚀 é", id="beyond-ascii"),
    pytest.param("a%26b+c", "a&b c", id="percent"),
    pytest.param("a/./b/../c", "a/c", id="dots"),
]


@pytest.mark.parametrize(("key", "neighbour"), NEIGHBOURS)
def test_a_delete_hits_exactly_the_key_whatever_characters_it_has(s3: S3Site, key: str, neighbour: str) -> None:
    if not s3.server.traits.any_key and "/." in key:
        pytest.skip("this server cannot hold such keys")
    plain = {f"data/{number}": b"" for number in range(3)}
    s3.put_all({key: b"1", neighbour: b"2", **plain})
    assert s3_store(s3.bucket).delete([*plain, key]) == []
    assert list(s3.keys()) == [neighbour]


def test_what_xml_cannot_hold_is_deleted_alone_and_the_rest_together(moto_site: S3Site, proxied: PutBefore) -> None:
    keys = ["a", "b\x01", "b\x1f", "c\ufffe", "d\ne"]
    moto_site.put_all(dict.fromkeys([*keys, "stays"], b""))
    proxy = proxied(moto_site)
    assert s3_store(moto_site.bucket).delete(keys) == []
    assert list(moto_site.keys()) == ["stays"]
    assert proxy.kinds == {"POST ?delete": 1, "DELETE": 3}


def test_a_server_that_strips_the_keys_of_a_batch_deletes_no_other_key() -> None:
    blanks = [" ", "\t", "\n", "\r\n", "\u00a0", "\u2028", "\u3000"]
    doomed = [*(f"{blank}a" for blank in blanks), *(f"a{blank}" for blank in blanks), "b c", "d"]
    held = {*doomed, "a", "stays"}

    class Stripping(Handler):
        def respond(self) -> None:
            body = self.body()
            if self.command == "POST":
                gone = [element.text or "" for element in ElementTree.fromstring(body).iterfind("{*}Object/{*}Key")]
                held.difference_update(key.strip() for key in gone)
                self.answer(200, b"<DeleteResult/>")
            else:
                held.discard(unquote(self.path).removeprefix("/bucket/"))
                self.answer(204)

    with ScriptedServer(Stripping) as server:
        profile = pos3.Profile("stripping", server.endpoint_url, access_key="key", secret_key="secret")
        assert open_store(Location("s3", "bucket", ""), profile, 4).delete(doomed) == []
    assert held == {"a", "stays"}


@given(st.text())
def test_a_key_comes_out_of_xml_as_it_went_in(key: str) -> None:
    if is_writable(key):
        assert ElementTree.fromstring(f"<Key>{written(key)}</Key>".encode()).findtext(".") == key
    else:
        assert re.search("[\x00-\x1f\ud800-\udfff\ufffe\uffff]", key)


# Many at once


def deny(site: S3Site, key: str) -> None:
    """The bucket's policy forbids to delete this object."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": f"arn:aws:s3:::{site.bucket}/{key}",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    site.server.s3.put_bucket_policy(Bucket=site.bucket, Policy=policy)


def test_of_2500_deletes_the_one_that_fails_is_returned_and_all_others_are_done(
    moto_site: S3Site, proxied: PutBefore
) -> None:
    present = [f"data/{number}" for number in (0, 999, 1000, 1500, 1501, 2499)]
    moto_site.put_all(dict.fromkeys(present, b""))
    deny(moto_site, "data/1500")
    proxy = proxied(moto_site)
    [(key, error)] = s3_store(moto_site.bucket).delete([f"data/{number}" for number in range(2500)])
    assert key == "data/1500"
    assert isinstance(error, AccessDeniedError)
    assert f"s3://{moto_site.bucket}/data/1500" in str(error)
    assert list(moto_site.keys()) == ["data/1500"]
    assert proxy.kinds == {"POST ?delete": 3}


def test_what_would_fail_for_the_same_reason_is_left_undone(rclone_site: S3Site, proxied: PutBefore) -> None:
    refusal = Status(code=403, error_code="InvalidAccessKeyId", match=on("POST ?delete"))
    proxy = proxied(rclone_site, refusal)
    keys = [f"data/{number}" for number in range(20_000)]
    failed = s3_store(rclone_site.bucket).delete(keys)
    assert [key for key, _ in failed] == keys
    assert {type(error) for _, error in failed} == {CredentialsError}
    assert proxy.count("POST ?delete") <= 8
    no_batches = Status(code=501, error_code="NotImplemented", match=on("POST ?delete"))
    proxy.inject(no_batches, Status(code=301, error_code="PermanentRedirect"))
    failed = s3_store(rclone_site.bucket).delete(keys[:1000])
    assert [key for key, _ in failed] == keys[:1000]
    assert {type(error) for _, error in failed} == {EndpointError}
    assert proxy.count("DELETE") <= 16


def test_deletes_that_hang_end_soon_when_they_are_stopped(rclone_site: S3Site, proxied: PutBefore) -> None:
    keys = [f"data/{number}" for number in range(3)]
    rclone_site.put_all(dict.fromkeys(keys, b""))
    no_batches = Status(code=501, error_code="NotImplemented", match=on("POST ?delete"))
    proxy = proxied(rclone_site, no_batches, Hang(match=on("DELETE", key="1"), times=None))
    cancelled = Event()
    Timer(0.5, cancelled.set).start()
    began = time.monotonic()
    [(key, error)] = s3_store(rclone_site.bucket).delete(keys, cancelled)
    assert time.monotonic() - began < 3
    assert (key, type(error)) == ("data/1", TransferCancelledError)
    assert list(rclone_site.keys()) == ["data/1"]
    assert proxy.count("DELETE") == 3


def test_failures_come_in_the_order_of_the_keys(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxied(
        rclone_site,
        Status(code=501, error_code="NotImplemented", match=on("POST ?delete")),
        Latency(seconds=0.1, match=on(key="^a")),
        Status(code=403, error_code="AccessDenied", match=on("DELETE", key="^[ac]")),
    )
    failed = s3_store(rclone_site.bucket).delete(["a", "b", "c"])
    assert [key for key, _ in failed] == ["a", "c"]


def test_batches_are_in_flight_together_where_latency_is_added(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Latency(seconds=0.02))
    assert s3_store(rclone_site.bucket).delete([f"gone-{number}" for number in range(5000)]) == []
    assert proxy.kinds == {"POST ?delete": 5}
    assert proxy.peak == 4


def test_single_deletes_are_in_flight_together_where_latency_is_added(rclone_site: S3Site, proxied: PutBefore) -> None:
    no_batches = Status(code=501, error_code="NotImplemented", match=on("POST ?delete"))
    proxy = proxied(rclone_site, no_batches, Latency(seconds=0.02))
    assert s3_store(rclone_site.bucket).delete([f"gone-{number}" for number in range(40)]) == []
    assert proxy.kinds == {"POST ?delete": 1, "DELETE": 40}
    assert proxy.peak == 8


def test_a_server_that_refuses_batches_is_not_asked_for_them_again(rclone_site: S3Site, proxied: PutBefore) -> None:
    rclone_site.put_all(dict.fromkeys(["a", "b", "stays"], b""))
    proxy = proxied(rclone_site, Status(code=400, error_code="InvalidRequest", match=on("POST ?delete")))
    store = s3_store(rclone_site.bucket)
    assert store.delete(["a"]) == []
    assert store.delete(["b"]) == []
    assert list(rclone_site.keys()) == ["stays"]
    assert proxy.kinds == {"POST ?delete": 1, "DELETE": 2}


def test_a_missing_bucket_is_an_error_for_each_key(s3: S3Site, proxied: PutBefore) -> None:
    failed = s3_store("pos3-no-such-bucket").delete(["a", "b"])
    assert [(key, type(error)) for key, error in failed] == [("a", BucketNotFoundError), ("b", BucketNotFoundError)]
    proxied(s3, Status(code=501, error_code="NotImplemented", match=on("POST ?delete")))
    [(_, error)] = s3_store("pos3-no-such-bucket").delete(["a"])
    assert isinstance(error, BucketNotFoundError)


def test_what_a_server_does_not_find_counts_as_deleted(rclone_site: S3Site, proxied: PutBefore) -> None:
    proxied(
        rclone_site,
        Status(code=501, error_code="NotImplemented", match=on("POST ?delete")),
        Status(code=404, error_code="NoSuchKey", match=on("DELETE")),
    )
    assert s3_store(rclone_site.bucket).delete(["gone"]) == []


# Answers


class BatchServer(ScriptedServer):
    """A server that answers batches with a body of the test's, and single deletes with 204."""

    def __init__(self, answer: bytes):
        alone: list[str] = []
        self.alone = alone

        class Deletes(Handler):
            def respond(self) -> None:
                self.body()
                if self.command == "POST":
                    self.answer(200, answer)
                else:
                    alone.append(unquote(self.path).removeprefix("/bucket/"))
                    self.answer(204)

        super().__init__(Deletes)


def error_element(key: str, code: str) -> str:
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>told</Message></Error>"


RESULT = '<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</DeleteResult>'


@pytest.mark.parametrize(
    ("answer", "alone", "failed"),
    [
        pytest.param(RESULT.format(""), [], {}, id="all-deleted"),
        pytest.param("", [], {}, id="nothing-told"),
        pytest.param(RESULT.format("<Deleted><Key>a</Key></Deleted>"), [], {}, id="not-quiet"),
        pytest.param(RESULT.format(error_element("a", "NoSuchKey")), [], {}, id="gone-already"),
        pytest.param(RESULT.format(error_element("a", "SlowDown")), ["a"], {}, id="busy-for-one-key"),
        pytest.param(
            RESULT.format(error_element("b", "AccessDenied")), [], {"b": "AccessDenied: told"}, id="one-key-denied"
        ),
        pytest.param(RESULT.format(error_element("c", "AccessDenied")), ["a", "b"], {}, id="key-that-nobody-named"),
        pytest.param("<html>Welcome</html>", ["a", "b"], {}, id="some-other-document"),
    ],
)
def test_a_batch_is_believed_only_what_it_says(
    isolated_home: Path, answer: str, alone: list[str], failed: dict[str, str]
) -> None:
    with BatchServer(answer.encode()) as server:
        profile = pos3.Profile("scripted", server.endpoint_url, access_key="k", secret_key="s")
        found = dict(open_store(Location("s3", "bucket", ""), profile, 4).delete(["a", "b"]))
        assert sorted(server.alone) == alone
    assert list(found) == list(failed)
    for key, text in failed.items():
        assert text in str(found[key])


def test_a_gateway_that_knows_no_such_path_has_deleted_nothing(isolated_home: Path) -> None:
    """Some answer 404 to everything while there is no server behind them."""

    class Gateway(Handler):
        def respond(self) -> None:
            self.body()
            if self.command == "POST":
                self.answer(501, b"<Error><Code>NotImplemented</Code></Error>")
            else:
                self.answer(404, b"default backend - 404")

    with ScriptedServer(Gateway) as server:
        profile = pos3.Profile("scripted", server.endpoint_url, access_key="k", secret_key="s")
        failed = open_store(Location("s3", "bucket", ""), profile, 4).delete(["a", "b"])
    assert [key for key, _ in failed] == ["a", "b"]
    assert all(isinstance(error, EndpointError) for _, error in failed)
    assert server.endpoint_url in str(failed[0][1])


@pytest.mark.parametrize("body", [b"", b"Method Not Allowed"], ids=["empty", "text"])
def test_a_server_that_knows_no_batches_and_says_so_in_its_own_words_is_asked_for_one_after_the_other(
    isolated_home: Path, body: bytes
) -> None:
    """And it answers 404, without a word, for what is gone already."""
    deleted: list[str] = []

    class Simple(Handler):
        def respond(self) -> None:
            self.body()
            if self.command == "POST":
                self.answer(405, body)
            else:
                deleted.append(self.path)
                self.answer(404 if self.path.endswith("gone") else 204)

    with ScriptedServer(Simple) as server:
        profile = pos3.Profile("scripted", server.endpoint_url, access_key="k", secret_key="s")
        assert open_store(Location("s3", "bucket", ""), profile, 4).delete(["a", "gone", "b"]) == []
    assert sorted(deleted) == ["/bucket/a", "/bucket/b", "/bucket/gone"]


@given(st.one_of(st.binary(), st.text().map(lambda text: f"<DeleteResult>{text}</DeleteResult>".encode())))
def test_whatever_is_answered_is_read_or_a_store_error(body: bytes) -> None:
    with suppress(StoreError):
        assert read_answer(body, "DeleteResult", "s3://b/").tag.endswith("DeleteResult")


@given(before=st.binary(max_size=20), text=st.text(st.characters(codec="utf-8")).filter(is_writable))
def test_a_text_is_found_in_whatever_stands_around_it(before: bytes, text: str) -> None:
    element = f"<Code>{written(text)}</Code>".encode()
    assume(b"<Code>" not in before)
    assert first_text(before + element + b"<Cod", "Code") == text
    assert first_text(before + element[:-1], "Code") == ""


@pytest.mark.parametrize("body", [b"<ETag>&quot;a&quot;</ETag>", b"<ETag>&#34;a&#34;</ETag>", b'<x><ETag>"a"</ETag>'])
def test_quotes_are_read_however_a_server_writes_them(body: bytes) -> None:
    assert first_text(body, "ETag") == '"a"'


@pytest.mark.parametrize(("code", "times"), [(503, 2), (200, 1)], ids=["503", "200-that-is-an-error"])
def test_a_batch_that_fails_for_the_moment_is_sent_again(
    rclone_site: S3Site, proxied: PutBefore, code: int, times: int
) -> None:
    rclone_site.put_all(dict.fromkeys(["a", "stays"], b""))
    proxy = proxied(rclone_site, Status(code=code, error_code="SlowDown", times=times, match=on("POST ?delete")))
    assert s3_store(rclone_site.bucket).delete(["a"]) == []
    assert list(rclone_site.keys()) == ["stays"]
    assert proxy.kinds == {"POST ?delete": times + 1}


# Heads and markers


def test_a_head_that_fails_for_the_moment_does_not_send_the_body_again(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(moto_site, Status(code=503, error_code="SlowDown", times=2, match=on("HEAD")))
    (tmp_path / "x").write_bytes(pseudo_random(9 * MIB))
    store = s3_store(moto_site.bucket)
    moved: list[int] = []
    etag = carried_out(store, lambda: store.upload("x", str(tmp_path / "x"), 9 * MIB, moved.append))
    assert etag == moto_site.keys()["x"].etag
    assert (proxy.count("PUT ?partNumber"), proxy.count("HEAD"), sum(moved)) == (2, 3, 9 * MIB)


def put_in_parts(site: S3Site, key: str, data: bytes, part_bytes: int) -> None:
    client, at = site.server.s3, {"Bucket": site.bucket, "Key": key}
    upload = client.create_multipart_upload(**at)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(data), part_bytes), start=1):
        body = data[start : start + part_bytes]
        sent = client.upload_part(**at, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})


@pytest.mark.parametrize("flips", [0, 1], ids=["whole", "one-bit-flipped"])
def test_an_object_in_parts_of_an_odd_size_is_proven_by_the_size_of_its_first(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, flips: int
) -> None:
    data = pseudo_random(10 * MIB)
    put_in_parts(moto_site, "x", data, 6 * MIB)
    proxy = proxied(moto_site, Flip(times=flips), Status(code=503, error_code="SlowDown", times=1, match=on("HEAD")))
    store = s3_store(moto_site.bucket)
    [listed] = store.entries("x", is_prefix=False)
    moved: list[int] = []
    got = carried_out(store, lambda: store.download("x", listed, str(tmp_path / "x"), moved.append))
    assert got.etag == listed.etag
    assert (tmp_path / "x").read_bytes() == data
    assert (proxy.count("GET"), sum(moved)) == (1 + flips, 10 * MIB)
    assert "1" in {request.query.get("partNumber") for request in proxy.requests if request.method == "HEAD"}


def test_a_busy_store_is_asked_again_for_a_marker_also_below_odd_keys(moto_site: S3Site, proxied: PutBefore) -> None:
    proxied(moto_site, Status(code=503, error_code="SlowDown", times=1, match=on("PUT")))
    store = s3_store(moto_site.bucket)
    keys = ["a/", "b/../c/", "d/"]
    assert [store.put_marker(key) for key in keys] == ["d41d8cd98f00b204e9800998ecf8427e"] * 3
    assert list(moto_site.keys()) == keys


def test_every_request_is_libcurls_where_the_endpoint_is_named(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """Making botocore's client costs more than many a transfer."""
    moto_site.put_all({"up/old": b"1", "up/old\x01": b"2"})
    proxy = proxied(moto_site)
    tree = write_tree(tmp_path / "tree", {"small": b"1", "large": bytes(9 * MIB), "empty/": b""})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(moto_site.url("up"), tree)
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(moto_site.url("up"), tmp_path / "down")
    assert set(moto_site.keys()) == {"up/small", "up/large", "up/empty/"}
    assert set(proxy.kinds) >= {"LIST", "GET", "PUT", "HEAD", "POST ?uploads", "POST ?delete", "DELETE"}
    assert {request.headers["user-agent"] for request in proxy.requests} == {"pos3"}


# Uploads that were stopped


@pytest.fixture
def begin(moto_site: S3Site) -> Callable[[str], str]:
    """`begin(key)` begins a multipart upload, and returns its id."""
    client = moto_site.server.s3
    return lambda key: client.create_multipart_upload(Bucket=moto_site.bucket, Key=key)["UploadId"]


def client_of(site: S3Site) -> Client:
    return Client(Address(Connection(None), site.bucket, ()))


@pytest.mark.parametrize("key", ["data/x", "data/& <x>\n?é", "data/../x"], ids=["plain", "odd", "dots"])
@pytest.mark.parametrize("knows_id", [True, False], ids=["known", "untold"])
def test_uploads_that_were_stopped_are_aborted_and_others_go_on(
    moto_site: S3Site, begin: Callable[[str], str], key: str, knows_id: bool
) -> None:
    stopped, other = begin(key), f"{key}-2"
    begin(other)
    abort([MultipartUpload(key, stopped if knows_id else UNTOLD)], client_of(moto_site), 4)
    assert moto_site.server.uploads(moto_site.bucket) == [other]


@pytest.mark.usefixtures("short_pauses")
def test_an_upload_whose_id_was_lost_is_taken_back_and_that_of_another_writer_goes_on(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """Both are of the same key; the other one began earlier, and may have sent gigabytes."""
    others = s3.server.s3.create_multipart_upload(Bucket=s3.bucket, Key="up/large")["UploadId"]
    time.sleep(2)
    proxy = proxied(s3, ResetAfter(times=None, match=on("POST ?uploads")))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(s3.url("up"), write_tree(tmp_path / "tree", LARGE), interval=None)
        with pytest.raises(pos3.TransferError, match="up/large"):
            pos3.flush()
        assert proxy.count("POST ?uploads") > 1
        proxy.inject()
    left = s3.server.s3.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    assert [upload["UploadId"] for upload in left] == [others]
    assert s3.objects() == {"up/large": LARGE["large"]}


def test_an_upload_that_is_gone_already_holds_nothing_up(s3: S3Site, proxied: PutBefore) -> None:
    proxy = proxied(s3)
    began = time.monotonic()
    abort([MultipartUpload("gone", "1"), MultipartUpload("never-begun", UNTOLD)], client_of(s3), 4)
    assert time.monotonic() - began < 2
    assert proxy.count() == 2


def test_a_store_that_does_not_answer_is_not_waited_for(moto_site: S3Site, proxied: PutBefore) -> None:
    proxied(moto_site, Hang(times=None))
    began = time.monotonic()
    abort([MultipartUpload("x", "1")], client_of(moto_site), 4)
    assert 2.5 < time.monotonic() - began < 5


def test_a_busy_store_is_asked_again_to_abort(
    moto_site: S3Site, begin: Callable[[str], str], proxied: PutBefore
) -> None:
    uploads = [MultipartUpload(key, begin(key)) for key in ("x", "y")]
    proxied(moto_site, Status(code=503, error_code="SlowDown", times=2))
    abort(uploads, client_of(moto_site), 4)
    assert moto_site.server.uploads(moto_site.bucket) == []


LARGE = {"large": pseudo_random(9 * MIB)}
NO_PARTS = Status(code=403, error_code="AccessDenied", match=on("PUT ?partNumber"))


def no_aborts(code: str, status: int = 403, times: int | None = None) -> Status:
    return Status(code=status, error_code=code, times=times, match=on("DELETE ?uploadId"))


def test_an_abort_that_fails_is_tried_again_at_the_end_of_the_push(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(moto_site, NO_PARTS, no_aborts("InternalError", 500, times=1))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(moto_site.url("up"), write_tree(tmp_path / "tree", LARGE), interval=None)
        with pytest.raises(pos3.TransferError, match="access denied"):
            pos3.flush()
        assert moto_site.server.uploads(moto_site.bucket) == []
        assert proxy.count("DELETE ?uploadId") == 2
        proxy.inject()
    assert moto_site.objects() == {"up/large": LARGE["large"]}


def test_an_abort_that_fails_again_is_tried_once_more_at_the_end_of_the_mirror(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(moto_site, NO_PARTS, no_aborts("InvalidAccessKeyId"))
    mirror = pos3.Mirror(pos3.MirrorOptions(cache_root=tmp_path / "cache", show_progress=False)).open()
    mirror.upload(moto_site.url("up"), write_tree(tmp_path / "tree", LARGE), interval=None)
    with pytest.raises(pos3.TransferError, match="access denied"):
        mirror.flush()
    assert moto_site.server.uploads(moto_site.bucket) == ["up/large"]
    proxy.inject()
    mirror.close(ZeroDivisionError())
    assert moto_site.server.uploads(moto_site.bucket) == []
    assert moto_site.keys() == {}


def test_an_abort_that_is_denied_is_told_once_and_not_tried_for_ever(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = proxied(moto_site, NO_PARTS, no_aborts("AccessDenied"))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(moto_site.url("up"), write_tree(tmp_path / "tree", LARGE), interval=None)
        with pytest.raises(pos3.TransferError, match="access denied"):
            pos3.flush()
        proxy.inject()
    [told] = [record.getMessage() for record in caplog.records if "unfinished upload" in record.getMessage()]
    assert moto_site.url("up/large") in told
    assert "AccessDenied" in told
    assert proxy.count("DELETE ?uploadId") == 2


def test_a_push_that_fails_leaves_the_uploads_of_others_alone(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """One push fails while another of the same bucket has a large upload under way, whose first beginning was lost."""
    proxy = proxied(
        moto_site,
        ResetAfter(times=1, match=on("POST ?uploads")),
        Status(code=403, error_code="AccessDenied", match=on("PUT", key="denied")),
        Latency(seconds=1, match=on("PUT ?partNumber")),
    )
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(moto_site.url("slow"), write_tree(tmp_path / "slow", LARGE), interval=None)
        pos3.upload(moto_site.url("denied"), write_tree(tmp_path / "denied", {"a": b"1"}), interval=None)
        slow = Thread(target=pos3.flush, args=(tmp_path / "slow",))
        slow.start()
        while not proxy.count("PUT ?partNumber"):
            time.sleep(0.02)
        with pytest.raises(pos3.TransferError, match="access denied"):
            pos3.flush(tmp_path / "denied")
        assert moto_site.server.uploads(moto_site.bucket) == ["slow/large"] * 2
        slow.join()
        assert proxy.count("POST ?uploads") == 2
        assert moto_site.objects() == {"slow/large": LARGE["large"]}
        (tmp_path / "denied" / "a").unlink()
    assert moto_site.server.uploads(moto_site.bucket) == []
