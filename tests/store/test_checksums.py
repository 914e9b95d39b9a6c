"""Bodies are proven by the checksum that the store keeps of the object, where it tells one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pos3
from pos3.store.s3.checksums import Algorithm, algorithms, crc32, encoded
from tests.support import Flip, OtherHeaders, Proxy, S3Site, Status, on
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]
ALGORITHMS = list(algorithms().values())
JOINABLE = [algorithm for algorithm in ALGORITHMS if algorithm.join is not None]
SIZES = {"small": 1000, "one piece": 3 << 20, "ranges": 20 << 20}


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def digest_of(algorithm: Algorithm, *blocks: bytes) -> bytes:
    running = algorithm.begin()
    for block in blocks:
        running.update(block)
    return running.digest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRC64NVME", "rosUhgp5mIg="),
        ("CRC32C", "4waSgw=="),
        ("CRC32", "y/Q5Jg=="),
        ("SHA1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ("SHA256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ],
)
def test_the_checksum_of_the_nine_digits_is_that_of_the_specification(name: str, value: str) -> None:
    found = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    if name not in found:
        pytest.skip("awscrt is not installed")
    assert encoded(digest_of(found[name], b"123456", b"789")) == value


@pytest.mark.skipif(not JOINABLE, reason="awscrt is not installed")
@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_the_checksums_of_pieces_make_that_of_the_whole(pieces: list[bytes]) -> None:
    for algorithm in JOINABLE:
        joined = algorithm.joined((digest_of(algorithm, piece), len(piece)) for piece in pieces)
        assert joined == digest_of(algorithm, *pieces)


def put(site: S3Site, key: str, body: bytes, algorithm: str) -> None:
    site.server.s3.put_object(Bucket=site.bucket, Key=key, Body=body, ChecksumAlgorithm=algorithm)


@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("algorithm", [algorithm.name for algorithm in ALGORITHMS])
def test_an_object_with_a_checksum_is_downloaded(
    moto_site: S3Site, tmp_path: Path, size_bytes: int, algorithm: str
) -> None:
    body = os.urandom(size_bytes)
    put(moto_site, "data/x", body, algorithm)
    with opened(tmp_path):
        assert (pos3.download(moto_site.url("data")) / "x").read_bytes() == body


def as_if_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no ETag counts as an MD5, as where KMS encrypts objects."""
    monkeypatch.setattr("pos3.store.s3.bodies.is_digest", lambda _etag: False)


@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
def test_a_flipped_bit_is_noticed_by_the_checksum_alone(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    as_if_encrypted(monkeypatch)
    body = os.urandom(size_bytes)
    put(moto_site, "data/x", body, JOINABLE[0].name if JOINABLE else "CRC32")
    proxy = proxied(moto_site, Flip(match=on("GET", key="data/x"), times=1))
    with opened(tmp_path):
        assert (pos3.download(moto_site.url("data")) / "x").read_bytes() == body
    assert proxy.count("GET") > 1


def test_a_body_that_never_has_its_checksum_is_an_error_that_names_it(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    put(moto_site, "data/x", b"123456789", "CRC32")
    proxied(moto_site, Flip(match=on("GET", key="data/x")))
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=r"data/x.*CRC32 y/Q5Jg=="):
        pos3.download(moto_site.url("data"))
    assert not list((tmp_path / "cache").rglob("x"))


def asked(requests: list[Any]) -> set[str]:
    return {request.headers.get("x-amz-checksum-mode", "") for request in requests if request.kind == "GET"}


@pytest.mark.parametrize(
    ("setting", "expected"), [(None, "ENABLED"), ("when_supported", "ENABLED"), ("when_required", "")]
)
def test_the_setting_of_boto3_says_whether_checksums_are_asked_for(
    moto_site: S3Site,
    tmp_path: Path,
    proxied: PutBefore,
    monkeypatch: pytest.MonkeyPatch,
    setting: str | None,
    expected: str,
) -> None:
    if setting:
        monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", setting)
    put(moto_site, "data/x", b"1", "CRC32")
    proxy = proxied(moto_site)
    with opened(tmp_path):
        pos3.download(moto_site.url("data"))
    assert asked(proxy.requests) == {expected}


def checksums(site: S3Site, key: str) -> dict[str, str]:
    found = site.server.s3.head_object(Bucket=site.bucket, Key=key, ChecksumMode="ENABLED")
    return {name.removeprefix("Checksum"): value for name, value in found.items() if name.startswith("Checksum")}


@pytest.mark.skipif(not JOINABLE, reason="awscrt is not installed")
@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
def test_uploads_are_sent_with_a_checksum_where_the_setting_of_boto3_says_so(
    moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    body = os.urandom(size_bytes)
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("out"), interval=None)
        (out / "x").write_bytes(body)
    assert moto_site.get("out/x") == body
    expected = encoded(digest_of(JOINABLE[0], body))
    assert checksums(moto_site, "out/x").get(JOINABLE[0].name) == expected


def test_a_named_endpoint_gets_no_checksum_unless_it_wants_one(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(moto_site)
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("out"), interval=None)
        (out / "x").write_bytes(b"1")
    (put_request,) = [request for request in proxy.requests if request.kind == "PUT"]
    assert not [name for name in put_request.headers if name.startswith("x-amz-checksum")]


def without_checksum(request: Any) -> bool:
    sends_a_body = request.kind in ("PUT", "PUT ?partNumber")
    return sends_a_body and not any(name.startswith("x-amz-checksum") for name in request.headers)


@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
def test_a_store_that_takes_nothing_without_a_checksum_gets_one_from_then_on(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, size_bytes: int
) -> None:
    """As buckets with Object Lock and default retention do."""
    body = os.urandom(size_bytes)
    proxy = proxied(moto_site, Status(400, "InvalidRequest", match=without_checksum, message=_WANTED))
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("out"), interval=None)
        for name in ("a", "b", "c"):
            (out / name).write_bytes(body)
            pos3.flush()
    assert moto_site.objects("out/") == {"a": body, "b": body, "c": body}
    refused = [request for request in proxy.requests if without_checksum(request)]
    assert {request.key.rpartition("/")[2] for request in refused} == {"a"}
    assert moto_site.server.s3.list_multipart_uploads(Bucket=moto_site.bucket).get("Uploads", []) == []


_WANTED = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"


# Checksums of the checksums of parts


def put_in_parts(site: S3Site, key: str, sizes: list[int]) -> bytes:
    """Uploads an object in parts of these sizes."""
    client, at = site.server.s3, {"Bucket": site.bucket, "Key": key}
    upload = client.create_multipart_upload(**at)["UploadId"]
    bodies = [pseudo_random(size, seed=number) for number, size in enumerate(sizes)]
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(**at, UploadId=upload, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(bodies, start=1)
    ]
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    return b"".join(bodies)


def told_of_parts(algorithm: Algorithm, body: bytes, sizes: list[int]) -> OtherHeaders:
    ends = list(itertools.accumulate(sizes))
    digests = [digest_of(algorithm, body[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    value = f"{encoded(digest_of(algorithm, *digests))}-{len(sizes)}"
    headers = {algorithm.header: value, "x-amz-checksum-type": "COMPOSITE"}
    return OtherHeaders(headers, match=on("GET", "HEAD"))


PARTS = {"even": [5 << 20, 5 << 20, 1000], "ranges": [8 << 20, 8 << 20, 3 << 20], "one": [1000]}


@pytest.mark.parametrize("name", ["CRC32", "CRC64NVME", "SHA256"])
@pytest.mark.parametrize("sizes", PARTS.values(), ids=PARTS)
def test_a_flipped_bit_is_noticed_by_the_checksums_of_the_parts(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch, sizes: list[int], name: str
) -> None:
    as_if_encrypted(monkeypatch)
    found = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    if name not in found:
        pytest.skip("awscrt is not installed")
    body = put_in_parts(moto_site, "data", sizes)
    flip = Flip(times=1)
    proxy = proxied(moto_site, told_of_parts(found[name], body, sizes), flip)
    with opened(tmp_path):
        assert pos3.download(moto_site.url("data")).read_bytes() == body
    assert flip.struck == 1
    assert proxy.count("HEAD ?partNumber") >= 2


@pytest.mark.usefixtures("short_pauses")
def test_a_body_that_never_has_the_checksum_of_its_parts_is_an_error_that_names_it(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_encrypted(monkeypatch)
    sizes = PARTS["even"]
    body = put_in_parts(moto_site, "data", sizes)
    proxied(moto_site, told_of_parts(crc32(), body, sizes), Flip())
    with pytest.raises(pos3.TransferError, match=r"does not have the CRC32 .*-3"), opened(tmp_path):
        pos3.download(moto_site.url("data"))


def test_parts_of_other_sizes_prove_nothing_and_are_no_error(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_encrypted(monkeypatch)
    sizes = [6 << 20, 5 << 20, 5 << 20]
    body = put_in_parts(moto_site, "data", sizes)
    proxied(moto_site, told_of_parts(crc32(), body, sizes))
    with opened(tmp_path):
        assert pos3.download(moto_site.url("data")).read_bytes() == body
