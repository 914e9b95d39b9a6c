"""Bodies that are not what was stored or sent: none of them reaches a final name, or stays in the bucket."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

import pos3
from tests.faults.base import MIB, PutBefore, fetched, leftovers, opened
from tests.support import (
    Fault,
    Flip,
    Relay,
    Request,
    S3Site,
    Short,
    Status,
    Truncate,
    Unseen,
    assert_same,
    contents,
    on,
    write_tree,
)
from tests.support.trees import pseudo_random

pytestmark = pytest.mark.usefixtures("short_pauses")
FLAWS = [
    pytest.param(Truncate(times=2, match=on("GET")), id="half"),
    pytest.param(Truncate(times=2, keep=0.0, match=on("GET")), id="nothing"),
    pytest.param(Short(times=2), id="short"),
    pytest.param(Flip(times=2), id="flipped"),
]


@pytest.mark.parametrize("size", [1, 3 * MIB, 17 * MIB], ids=["byte", "stream", "large"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_spoiled_body_is_fetched_again(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, flaw: Fault, size: int
) -> None:
    data = pseudo_random(size)
    s3.put("data/x", data)
    flaw.struck = 0
    proxy = proxied(s3, flaw)
    with opened(tmp_path):
        path = pos3.download(s3.url("data"))
        moved = pos3.report().downloaded_bytes
    assert (path / "x").read_bytes() == data
    assert moved == size
    assert sum(bool(request.faults) for request in proxy.requests) == 2


def put_in_parts(site: S3Site, key: str, data: bytes, part_mib: int, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(data)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=part_mib * MIB)
    site.server.s3.upload_file(str(tmp_path / "source"), site.bucket, key, Config=config)
    assert "-" in site.keys()[key].etag


@pytest.mark.parametrize("part_mib", [5, 8, 7], ids=["boto-parts", "our-parts", "odd-parts"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_spoiled_body_of_a_multipart_object_is_fetched_again(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, flaw: Fault, part_mib: int
) -> None:
    data = pseudo_random(20 * MIB)
    put_in_parts(moto_site, "data/x", data, part_mib, tmp_path)
    flaw.struck = 0
    proxy = proxied(moto_site, flaw)
    assert (fetched(moto_site, tmp_path) / "x").read_bytes() == data
    assert sum(bool(request.faults) for request in proxy.requests) == 2


def test_a_short_body_is_noticed_where_no_checksum_can_prove_anything(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    """With KMS, an ETag is no MD5; the length still is what the listing says."""
    data = pseudo_random(3 * MIB)
    moto_site.put("data/x", data)
    proxy = proxied(moto_site, Short(times=1))
    profile = pos3.Profile("kms", proxy.endpoint_url, server_side_encryption="aws:kms")
    with opened(tmp_path):
        path = pos3.download(moto_site.url("data"), profile=profile)
    assert contents(path) == {"x": data}
    assert proxy.count("GET") == 2


def test_a_body_that_is_always_spoiled_is_an_error_and_the_old_file_stays(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put("data/x", b"old")
    path = fetched(s3, tmp_path)
    s3.put("data/x", pseudo_random(1000))
    proxied(s3, Flip())
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="data/x") as caught:
        pos3.download(s3.url("data"))
    assert isinstance(caught.value.failures[0], pos3.IntegrityError)
    assert contents(path) == {"x": b"old"}
    assert not leftovers(path)


MARK, SPOILED = b"these-bytes-are-spoiled-on-their-way", b"these-bytes-were-spoiled-on-the-way!"


@pytest.mark.parametrize("size", [1 * MIB, 9 * MIB], ids=["whole", "parts"])
def test_an_upload_that_was_spoiled_on_its_way_is_sent_again(
    s3: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    tree = write_tree(tmp_path / "tree", {"x": MARK * (size // len(MARK))})
    spoiled = threading.Event()

    def spoil(data: bytes) -> bytes:
        if spoiled.is_set() or MARK not in data:
            return data
        spoiled.set()
        return data.replace(MARK, SPOILED, 1)

    with Relay(s3.server.endpoint_url, up=spoil) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint_url)
        with opened(tmp_path):
            pos3.upload(s3.url("data"), tree, interval=None)
    assert spoiled.is_set()
    assert_same(tree, s3.server, s3.bucket, "data")


@pytest.mark.parametrize("unseen", [(), ("if-match",)], ids=["conditions", "no-conditions"])
@pytest.mark.parametrize("newer", [30 * MIB, 18 * MIB, 5], ids=["longer", "shorter", "small"])
def test_an_object_replaced_while_its_ranges_are_read_arrives_as_the_newer_version(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, newer: int, unseen: tuple[str, ...]
) -> None:
    """A server without conditional requests sends ranges of the newer version, or has none there any more (416)."""
    replacement = pseudo_random(newer, seed=2)
    moto_site.put("data/x", pseudo_random(24 * MIB, seed=1))
    seen: list[Request] = []

    def third_get(request: Request) -> bool:
        if request.kind == "GET":
            seen.append(request)
            if len(seen) == 3:
                moto_site.put("data/x", replacement)
        return False

    proxy = proxied(moto_site, Fault(match=third_get), Unseen(headers=unseen))
    assert (fetched(moto_site, tmp_path) / "x").read_bytes() == replacement
    refused = {request.status for request in proxy.requests} & {412, 416}
    if unseen:
        # Whether a range is still to be asked for when the object has become too short for it is a matter of moments.
        assert refused <= ({416} if newer < 16 * MIB else set())
    else:
        assert refused == {412}


def test_an_object_that_turns_short_each_time_is_an_error_that_says_so(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    moto_site.put("data/x", pseudo_random(17 * MIB))
    proxied(moto_site, Status(code=416, error_code="InvalidRange", match=on("GET")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=r"data/x.*shorter") as caught:
        pos3.download(moto_site.url("data"))
    assert isinstance(caught.value.failures[0], pos3.ObjectChangedError)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("size", [1, 3 * MIB, 17 * MIB], ids=["byte", "stream", "large"])
def test_a_page_of_somebody_else_is_not_taken_for_an_object(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, size: int
) -> None:
    """Captive portals and gateways answer anything with 200 and a page of their own."""
    s3.put_all({"data/x": b"old", "data/y": b"old"})
    path = fetched(s3, tmp_path)
    s3.put("data/x", pseudo_random(size))
    s3.delete("data/y")
    proxied(s3, Status(200, "Portal", match=on("GET", "HEAD")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match="data/x"):
        pos3.download(s3.url("data"))
    assert contents(path) == {"x": b"old", "y": b"old"}
    assert not leftovers(path)


@pytest.mark.parametrize("size", [1, 9 * MIB], ids=["whole", "parts"])
def test_a_page_of_somebody_else_is_not_taken_for_a_stored_object(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, size: int
) -> None:
    s3.put("data/stale", b"1")
    tree = write_tree(tmp_path / "tree", {"x": pseudo_random(size)})
    proxy = proxied(s3, Status(200, "Portal", match=on("PUT", "PUT ?partNumber", "POST ?uploads", "POST ?uploadId")))
    with pytest.raises(pos3.TransferError, match="data/x"), opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=None)
    assert s3.objects("data/") == {"stale": b"1"}
    proxy.inject()
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree, interval=None)
    assert_same(tree, s3.server, s3.bucket, "data")
