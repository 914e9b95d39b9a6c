"""What objects carry beside their content: the content type by the name, and what `extra_args` says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import S3Site, write_tree
from tests.support.program import run_code, run_program

EXTRA = {
    "CacheControl": "max-age=60",
    "ContentDisposition": "attachment",
    "Metadata": {"run": "7", "owner": "lab"},
    "StorageClass": "STANDARD_IA",
    "Tagging": "team=ml&kind=model",
}
SIZES = {"empty": 0, "small": 1000, "one piece": 3 << 20, "parts": 17 << 20}


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


def head(site: S3Site, key: str) -> dict[str, Any]:
    found: dict[str, Any] = site.server.s3.head_object(Bucket=site.bucket, Key=key)
    return found


def tags(site: S3Site, key: str) -> dict[str, str]:
    found = site.server.s3.get_object_tagging(Bucket=site.bucket, Key=key)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


def assert_carries(site: S3Site, key: str) -> None:
    found = head(site, key)
    assert found["CacheControl"] == "max-age=60"
    assert found["ContentDisposition"] == "attachment"
    assert found["Metadata"] == {"run": "7", "owner": "lab"}
    assert found["StorageClass"] == "STANDARD_IA"
    assert tags(site, key) == {"team": "ml", "kind": "model"}


@pytest.mark.parametrize("size_bytes", SIZES.values(), ids=SIZES)
def test_an_object_of_any_size_carries_what_extra_args_say(moto_site: S3Site, tmp_path: Path, size_bytes: int) -> None:
    body = os.urandom(size_bytes)
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("out"), tmp_path / "out", interval=None, extra_args=EXTRA)
        (out / "model.bin").write_bytes(body)
    assert moto_site.get("out/model.bin") == body
    assert_carries(moto_site, "out/model.bin")


@pytest.mark.parametrize("verb", ["sync", "publish"])
def test_the_other_verbs_take_them_as_well(moto_site: S3Site, tmp_path: Path, verb: str) -> None:
    here = write_tree(tmp_path / "here", {"a": b"1"})
    with opened(tmp_path):
        getattr(pos3, verb)(moto_site.url("out"), here, extra_args=EXTRA)
    assert_carries(moto_site, "out/a")


def test_a_file_that_is_overwritten_keeps_what_its_object_carries(moto_site: S3Site, tmp_path: Path) -> None:
    for content in (b"1", b"22"):
        with opened(tmp_path):
            out = pos3.upload(moto_site.url("out"), tmp_path / "out", interval=None, extra_args=EXTRA)
            (out / "a").write_bytes(content)
    assert moto_site.objects("out/") == {"a": b"22"}
    assert_carries(moto_site, "out/a")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.csv", "text/csv"),
        ("b.JSON", "application/json"),
        ("c.html", "text/html"),
        ("d.png", "image/png"),
        ("e.tar.gz", "application/gzip"),
        ("f.csv.gz", "application/gzip"),
        ("README", "binary/octet-stream"),
        ("g.unknown-type", "binary/octet-stream"),
    ],
)
@pytest.mark.parametrize("size_bytes", [10, 9 << 20], ids=["one piece", "parts"])
def test_the_content_type_goes_by_the_name(
    moto_site: S3Site, tmp_path: Path, name: str, content_type: str, size_bytes: int
) -> None:
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("out"), tmp_path / "out", interval=None)
        (out / name).write_bytes(b"x" * size_bytes)
    assert head(moto_site, f"out/{name}")["ContentType"] == content_type


def test_a_content_type_that_is_given_wins(moto_site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        out = pos3.upload(moto_site.url("out"), interval=None, extra_args={"ContentType": "text/x-log"})
        (out / "a.csv").write_bytes(b"1")
    assert head(moto_site, "out/a.csv")["ContentType"] == "text/x-log"


@pytest.mark.parametrize(
    ("extra_args", "message"),
    [
        pytest.param({"Nonsense": "1"}, "'Nonsense' is none of ACL", id="unknown"),
        pytest.param({"Metadata": "x"}, "Metadata", id="wrong type"),
        pytest.param({"CacheControl": "a\nX-Injected: 1"}, "line ends", id="line end"),
        pytest.param({"Metadata": {"a": "ü"}}, "only ASCII", id="beyond ASCII"),
        pytest.param({"SSECustomerKey": "secret-key"}, "not supported", id="customer key"),
        pytest.param({"ChecksumCRC32": "x"}, "is none of", id="checksum"),
        pytest.param("StorageClass=X", "expected a dict", id="a text"),
        pytest.param({1: "x"}, "expected a dict", id="no name"),
    ],
)
@pytest.mark.parametrize("verb", ["upload", "sync", "publish"])
def test_what_cannot_be_sent_is_one_error_before_anything_is_changed(
    moto_site: S3Site, tmp_path: Path, verb: str, extra_args: Any, message: str
) -> None:
    here = write_tree(tmp_path / "here", {"a": b"1"})
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match=message) as caught:
        getattr(pos3, verb)(moto_site.url("out"), here, extra_args=extra_args)
    assert caught.value.argument == "extra_args"
    assert "secret-key" not in str(caught.value)
    assert moto_site.objects() == {}


def test_another_store_than_s3_cannot_take_them(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match="extra_args"):
        pos3.upload("memory://extra/out", tmp_path / "out", extra_args=EXTRA)


def test_two_calls_with_other_extra_args_conflict(moto_site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        pos3.upload(moto_site.url("out"), extra_args={"Metadata": {"a": "1"}})
        pos3.upload(moto_site.url("out"), extra_args={"Metadata": {"a": "1"}})
        with pytest.raises(pos3.ConflictError, match=r"extra_args=\{'Metadata': \{'a': '1'\}\} in the first call"):
            pos3.upload(moto_site.url("out"), extra_args={"Metadata": {"a": "2"}})


_KILLED = """
import os, sys, pos3
pos3.mirror(sys.argv[2], show_progress=False).__enter__()
out = pos3.upload(sys.argv[1], interval=None, extra_args=EXTRA)
(out / "a").write_text("1")
os.kill(os.getpid(), 9)
"""


def test_recovery_pushes_with_them(moto_site: S3Site, tmp_path: Path) -> None:
    ran = run_code(_KILLED.replace("EXTRA", repr(EXTRA)), moto_site.url("out"), tmp_path / "cache")
    assert ran.status == -9, ran.stderr
    assert [item.outcome for item in pos3.recover(tmp_path / "cache", show_progress=False)] == ["pushed"]
    assert_carries(moto_site, "out/a")


def test_the_command_line_takes_them(moto_site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a": b"1"})
    options = ["--extra-args", "CacheControl=max-age=60", "--extra-arg", "ContentDisposition=attachment"]
    options += ["--extra-args", "Metadata=run=7,owner=lab", "--extra-arg", "StorageClass=STANDARD_IA"]
    options += ["--extra-args", "Tagging=team=ml&kind=model"]
    ran = run_program("upload", moto_site.url("out"), "--local", here, *options)
    assert ran.status == 0, ran.stderr
    assert_carries(moto_site, "out/a")
    ran = run_program("upload", moto_site.url("out"), "--local", here, "--extra-args", "Nonsense=1")
    assert ran.status != 0
    assert "--extra-args" in ran.stderr


@pytest.mark.parametrize("key", ["secret-key", b"secret-key"], ids=["text", "bytes"])
def test_a_key_of_a_customer_stands_in_no_error(moto_site: S3Site, tmp_path: Path, key: str | bytes) -> None:
    with opened(tmp_path):
        pos3.upload(moto_site.url("out"), interval=None)
        with pytest.raises(pos3.InvalidArgumentError, match="not supported") as caught:
            pos3.upload(moto_site.url("out"), interval=None, extra_args={"SSECustomerKey": key, "Bad": object()})
    assert "secret-key" not in str(caught.value)
