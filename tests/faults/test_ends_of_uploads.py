"""The end of a multipart upload may take minutes, and its answer may get lost: the object is looked for first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pos3
from pos3.store import carried_out, open_store
from pos3.url import Location
from tests.faults.base import MIB, PutBefore, opened
from tests.support import (
    Fault,
    Hang,
    MemoryServer,
    OtherAnswer,
    Proxy,
    ResetAfter,
    S3Site,
    Short,
    Status,
    Truncate,
    on,
    write_tree,
)
from tests.support.trees import pseudo_random

END = on("POST ?uploadId")
CONTENT = pseudo_random(9 * MIB)
pytestmark = pytest.mark.usefixtures("short_pauses")


def upload(site: S3Site, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"large": CONTENT})
    with opened(tmp_path):
        pos3.upload(site.url("data"), tree, interval=None)


def parts_sent(proxy: Proxy) -> int:
    return proxy.count("PUT ?partNumber")


LOST = {
    "reset": lambda: ResetAfter(times=1, match=END),
    "error": lambda: OtherAnswer(times=1, match=END),
    "error-in-a-200": lambda: OtherAnswer(times=1, match=END, code=200),
    "busy-gateway": lambda: OtherAnswer(times=1, match=END, code=504, error_code="GatewayTimeout"),
    "cut-off": lambda: Truncate(times=1, match=END, keep=0.3),
    "nothing-in-a-200": lambda: Short(times=1, match=END, keep=0.0),
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_the_lost_answer_to_an_end_that_has_succeeded_costs_a_look(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, lose: Callable[[], Fault]
) -> None:
    proxy = proxied(moto_site, lose())
    upload(moto_site, tmp_path)
    assert moto_site.objects() == {"data/large": CONTENT}
    assert moto_site.server.uploads(moto_site.bucket) == []
    assert (parts_sent(proxy), proxy.count("POST ?uploadId")) == (2, 1)
    proxy.inject()
    proxy.clear()
    upload(moto_site, tmp_path)
    assert proxy.kinds.keys() == {"LIST"}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_where_no_etag_proves_an_object_its_parts_are_sent_anew(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, lose: Callable[[], Fault]
) -> None:
    proxy = proxied(rclone_site, lose())
    upload(rclone_site, tmp_path)
    assert rclone_site.objects() == {"data/large": CONTENT}
    assert rclone_site.server.uploads(rclone_site.bucket) == []
    assert parts_sent(proxy) == 4


def test_an_end_that_is_repeated_because_nobody_may_look_does_no_harm(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(moto_site, ResetAfter(times=1, match=END), Status(503, "SlowDown", match=on("HEAD"), times=1))
    upload(moto_site, tmp_path)
    assert moto_site.objects() == {"data/large": CONTENT}
    # The second end finds no such upload any more, and then the object is there.
    assert (parts_sent(proxy), proxy.count("POST ?uploadId")) == (2, 2)


@pytest.mark.parametrize("status", [200, 500, 503])
def test_an_end_that_has_failed_for_the_moment_is_asked_for_again_and_no_part_is_sent_twice(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, status: int
) -> None:
    proxy = proxied(s3, Status(status, "InternalError", times=3, match=END))
    upload(s3, tmp_path)
    assert s3.objects() == {"data/large": CONTENT}
    assert (parts_sent(proxy), proxy.count("POST ?uploadId")) == (2, 4)


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart", "BadDigest"])
def test_parts_that_are_not_there_any_more_are_sent_anew(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, code: str
) -> None:
    proxy = proxied(s3, Status(400, code, times=1, match=END))
    upload(s3, tmp_path)
    assert s3.objects() == {"data/large": CONTENT}
    assert s3.server.uploads(s3.bucket) == []
    assert parts_sent(proxy) == 4


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(CONTENT[::-1], id="same-size"),
        pytest.param(b"1", id="small"),
    ],
)
def test_another_object_of_that_key_is_not_taken_for_the_one_that_was_uploaded(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, other: bytes
) -> None:
    moto_site.put("data/large", other)
    tree = write_tree(tmp_path / "tree", {"large": CONTENT})
    proxy = proxied(moto_site, Status(404, "NoSuchUpload", times=1, match=END))
    with opened(tmp_path):
        pos3.upload(moto_site.url("data"), tree, interval=None)
    assert parts_sent(proxy) == 4
    assert moto_site.objects() == {"data/large": CONTENT}


def test_an_older_object_with_the_same_parts_does_not_pass_for_the_new_one(
    serve_from_memory: Callable[..., MemoryServer], tmp_path: Path
) -> None:
    """It may carry something else, such as other metadata."""
    server = serve_from_memory(forgets=("upload-002",))
    file = write_tree(tmp_path / "tree", {"large": CONTENT}) / "large"
    store = open_store(Location("s3", "bucket", ""), None, 4)
    for _ in range(2):
        carried_out(store, lambda: store.upload("large", str(file), len(CONTENT)))
        held = server.state.objects["large"]
        server.state.objects["large"] = replace(held, modified=time.time() - 3600)
    assert sorted(server.state.uploads) == ["upload-001", "upload-002", "upload-003"]
    assert server.objects == {"large": CONTENT}


def test_an_end_that_never_comes_is_one_error_and_no_upload_stays(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pos3.store.s3.completion.SILENCE_SECONDS", 1)
    proxy = proxied(moto_site, Hang(times=None, match=END))
    with pytest.raises(pos3.TransferError, match="has not put the parts together within"):
        upload(moto_site, tmp_path)
    assert (parts_sent(proxy), proxy.count("POST ?uploadId")) == (2, 1)
    assert moto_site.objects() == {}
    assert moto_site.server.uploads(moto_site.bucket) == []
