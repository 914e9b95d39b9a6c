"""The S3 server of the benchmark treats checksums as AWS does. Needs the nginx that ``make bench`` brings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.speed.bench import Bench, Entrant
from benchmarks.speed.contest import Contestant
from benchmarks.speed.data import MIB, Object, content, crc64nvme_text, write_file, write_index, write_large
from benchmarks.speed.installing import HOME, nginx
from benchmarks.speed.measure import RunError, measured
from benchmarks.speed.peers import Pos3, Remote
from benchmarks.speed.servers import Front

BUCKET = "bench"
WRONG = crc64nvme_text(1)

pytestmark = pytest.mark.skipif(
    not (HOME / "nginx/.ready").exists(), reason="make bench has not been here, which brings nginx"
)


@dataclass
class Served:
    """nginx with a small and a large object in a bucket, and a client for it."""

    front: Front
    folder: Path
    objects: tuple[Object, ...]
    s3: Any


def told(answer: dict[str, Any]) -> str | None:
    """The CRC64NVME of an answer, which of an object is that of all of it."""
    assert answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    return answer.get("ChecksumCRC64NVME")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pos3-bench-test-") as name:
        # nginx, when root starts it, reads the files as another user.
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Front]:
    with Front(nginx(), folder / "nginx", {}) as started:
        yield started


@pytest.fixture
def served(front: Front, folder: Path) -> Served:
    objects = (
        write_file(str(folder / "small"), "a-small", content(1, 4096)),
        write_large(folder / "large", 20 * MIB),
    )
    front.bind(BUCKET, write_index(folder / "index", "", objects))
    client = boto3.client(
        "s3",
        endpoint_url=front.http.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(response_checksum_validation="when_required", request_checksum_calculation="when_required"),
    )
    return Served(front, folder, objects, client)


@pytest.mark.parametrize("ask", ["get_object", "head_object"])
def test_the_checksum_of_a_whole_object_is_told_to_whoever_asks(served: Served, ask: str) -> None:
    served.front.counts()
    for item in served.objects:
        asked = {"Bucket": BUCKET, "Key": item.name}
        assert told(getattr(served.s3, ask)(**asked, ChecksumMode="ENABLED")) == item.crc64nvme
        assert told(getattr(served.s3, ask)(**asked)) is None
    assert served.front.counts().told_checksums == len(served.objects)


def test_a_range_has_no_checksum(served: Served) -> None:
    served.front.counts()
    answer = served.s3.get_object(Bucket=BUCKET, Key="large", ChecksumMode="ENABLED", Range="bytes=5-8")
    assert (len(answer["Body"].read()), told(answer)) == (4, None)
    assert served.front.counts().told_checksums == 0


def test_the_checksum_of_an_upload_is_kept(served: Served) -> None:
    body = content(2, 5000)
    sent = write_file(str(served.folder / "sent"), "sent", body)
    answer = served.s3.put_object(Bucket=BUCKET, Key="sent", Body=body, ChecksumAlgorithm="CRC64NVME")
    assert told(answer) == sent.crc64nvme
    assert told(served.s3.head_object(Bucket=BUCKET, Key="sent", ChecksumMode="ENABLED")) == sent.crc64nvme


def test_the_checksum_of_an_upload_in_parts_is_that_of_the_whole(served: Served) -> None:
    upload = served.s3.create_multipart_upload(
        Bucket=BUCKET, Key="parts", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
    )
    assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == ("CRC64NVME", "FULL_OBJECT")
    place = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload["UploadId"]}
    parts = []
    for number in (1, 2):
        body = content(number, 3000)
        answer = served.s3.upload_part(**place, PartNumber=number, Body=body, ChecksumAlgorithm="CRC64NVME")
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC64NVME": told(answer)})
    whole = write_file(str(served.folder / "whole"), "whole", content(1, 3000) + content(2, 3000)).crc64nvme

    wrong = [{**parts[0], "ChecksumCRC64NVME": WRONG}, parts[1]]
    with pytest.raises(ClientError, match="InvalidPart"):
        served.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": wrong}, ChecksumCRC64NVME=whole)

    answer = served.s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, ChecksumCRC64NVME=whole)
    assert told(answer) == whole
    assert told(served.s3.head_object(Bucket=BUCKET, Key="parts", ChecksumMode="ENABLED")) == whole


def download(served: Served, item: Object) -> Contestant:
    bench = Bench(served.folder, served.front, {}, share=1.0, most_runs=1)
    served.front.bind(BUCKET, write_index(served.folder / "one", "", [item]))
    return bench.download(Entrant(Pos3()), Remote(served.front.http, BUCKET, item.name), 1, item.size_bytes)


@pytest.mark.parametrize("number", [pytest.param(0, id="small"), pytest.param(1, id="in-ranges")])
def test_figures_of_pos3_contain_the_check_of_each_object(served: Served, number: int) -> None:
    item = served.objects[number]
    wrong = download(served, replace(item, crc64nvme=WRONG))
    wrong.before(0)
    with pytest.raises(RunError, match="does not have the CRC64NVME"):
        measured(wrong.command(0), timeout_seconds=60)

    right = download(served, item)
    right.before(0)
    served.front.counts()
    run = measured(right.command(0), timeout_seconds=60)
    counts = served.front.counts()
    right.check(0, run, counts)
    with pytest.raises(RunError, match="it asked for 0 checksums of 1 objects"):
        right.check(0, run, replace(counts, told_checksums=0))
