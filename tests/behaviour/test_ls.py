"""`pos3.ls`: with details, of all buckets, and by patterns, which list no more than what can match."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, opened
from tests.support import MemoryServer, S3Site, write_tree

RUNS = {
    "metrics.json": b"0",
    "other/run-9/metrics.json": b"1",
    "run-1/metrics.json": b"22",
    "run-1/model/weights.bin": b"333",
    "run-10/metrics.json": b"4444",
    "run-2/log.txt": b"55555",
    "run-2/deep/down/metrics.json": b"666666",
    "run-x.json": b"7777777",
}


@pytest.fixture
def runs(s3: S3Site) -> S3Site:
    s3.put_all({f"exp/{name}": data for name, data in RUNS.items()})
    return s3


def urls(site: S3Site, *names: str) -> list[str]:
    return [site.url(f"exp/{name}") for name in names]


def test_details_have_size_time_etag_and_storage_class(runs: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        found = pos3.ls(runs.url("exp/run-1"), recursive=True, details=True)
        assert [item.url for item in found] == pos3.ls(runs.url("exp/run-1"), recursive=True)
    metrics, model, weights = found
    assert (metrics.size_bytes, metrics.etag) == (2, hashlib.md5(b"22").hexdigest())
    assert weights.size_bytes == 3
    assert metrics.storage_class in ("", "STANDARD")
    assert metrics.modified is not None
    assert abs(metrics.modified - datetime.now(UTC)) < timedelta(minutes=5)
    assert metrics.modified.utcoffset() == timedelta(0)
    assert model == pos3.Listed(f"{runs.url('exp/run-1/model')}", 0, None, "", "")


def test_details_of_a_single_object_are_its_own(runs: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        [found] = pos3.ls(runs.url("exp/run-x.json"), details=True)
    assert (found.url, found.size_bytes) == (runs.url("exp/run-x.json"), 7)


def test_an_object_with_the_name_of_a_prefix_is_listed_with_its_own_size(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"exp/a": b"12345", "exp/a/b": b"1"})
    with opened(tmp_path):
        for recursive in (False, True):
            found = pos3.ls(moto_site.url("exp"), recursive, details=True)
            assert (found[0].url, found[0].size_bytes) == (moto_site.url("exp/a"), 5)


def test_details_tell_the_storage_class_of_each_object(moto_site: S3Site, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with opened(tmp_path):
        pos3.upload(moto_site.url("cold/a"), tmp_path / "a", interval=None, extra_args={"StorageClass": "GLACIER"})
    with opened(tmp_path):
        [found] = pos3.ls(moto_site.url("cold"), details=True)
    assert found.storage_class == "GLACIER"


def test_details_are_frozen_values_that_pickle(runs: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        found = pos3.ls(runs.url("exp"), recursive=True, details=True)
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].url = "other"  # type: ignore[misc]


def test_details_of_local_files_are_those_of_the_disk(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree", {"a": b"123", "b/c": b"4"})
    with opened(tmp_path):
        first, second = pos3.ls(root, details=True)
    assert (first.url, first.size_bytes, first.etag, first.storage_class) == (str(root / "a"), 3, "", "")
    assert first.modified is not None
    assert first.modified.timestamp() == pytest.approx((root / "a").stat().st_mtime, abs=1e-5)
    assert (second.url, second.size_bytes) == (str(root / "b"), 0)


def test_all_buckets_are_listed(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        assert s3.url() in pos3.ls("s3://")
        found = {item.url: item for item in pos3.ls("s3://", details=True)}
        with pytest.raises(pos3.InvalidURLError, match="names no bucket"):
            pos3.download("s3://")
    created = found[s3.url()].modified
    assert created is None or created.utcoffset() is not None


def test_buckets_are_those_of_the_profile_in_the_url(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = rclone_site.server
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    profile = pos3.Profile("lab", server.endpoint_url, access_key=server.access_key, secret_key=server.secret_key)
    pos3.register_profile(
        "lab-of-buckets", server.endpoint_url, access_key=server.access_key, secret_key=server.secret_key
    )
    with opened(tmp_path):
        assert rclone_site.url() in pos3.ls("s3://", profile=profile)
        assert rclone_site.url() in pos3.ls("s3://lab-of-buckets@")
        with pytest.raises(pos3.ProfileError, match="unknown profile"):
            pos3.ls("s3://nobody@")


def test_buckets_that_may_not_be_listed_are_an_error(
    moto_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with opened(tmp_path), pytest.raises(pos3.EndpointError):
        pos3.ls("s3://")


@pytest.mark.parametrize(
    ("pattern", "recursive", "names"),
    [
        pytest.param("run-*", False, ["run-1", "run-10", "run-2", "run-x.json"], id="objects and prefixes"),
        pytest.param("run-*/", False, ["run-1", "run-10", "run-2"], id="prefixes alone"),
        pytest.param("run-*/metrics.json", False, ["run-1/metrics.json", "run-10/metrics.json"], id="one level down"),
        pytest.param("run-?/metrics.json", False, ["run-1/metrics.json"], id="one letter"),
        pytest.param("run-[0-9]", False, ["run-1", "run-2"], id="a class"),
        pytest.param("*/*/metrics.json", False, ["other/run-9/metrics.json"], id="two levels"),
        pytest.param("*/deep/down/m*", False, ["run-2/deep/down/metrics.json"], id="names between wildcards"),
        pytest.param(
            "run-2/**",
            False,
            ["run-2/deep", "run-2/deep/down", "run-2/deep/down/metrics.json", "run-2/log.txt"],
            id="all below",
        ),
        pytest.param(
            "run-*/**/metrics.json",
            False,
            ["run-1/metrics.json", "run-10/metrics.json", "run-2/deep/down/metrics.json"],
            id="at any depth",
        ),
        pytest.param(
            "run-1?*",
            True,
            ["run-10", "run-10/metrics.json"],
            id="with what lies below",
        ),
        pytest.param("run-7*", False, [], id="nothing"),
    ],
)
def test_a_pattern_lists_all_that_matches(
    runs: S3Site, tmp_path: Path, pattern: str, recursive: bool, names: list[str]
) -> None:
    with opened(tmp_path):
        assert pos3.ls(runs.url(f"exp/{pattern}"), recursive) == urls(runs, *names)
        described = pos3.ls(runs.url(f"exp/{pattern}"), recursive, details=True)
    assert [item.url for item in described] == urls(runs, *names)
    assert {item.size_bytes for item in described} <= {0, *map(len, RUNS.values())}


def test_a_pattern_asks_only_for_what_begins_as_it_does(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put_all({f"exp/{name}": data for name, data in RUNS.items()})
    proxy = proxied(rclone_site)
    with opened(tmp_path):
        assert pos3.ls(rclone_site.url("exp/run-1*/metrics.json")) == urls(
            rclone_site, "run-1/metrics.json", "run-10/metrics.json"
        )
    asked = sorted(request.query["prefix"] for request in proxy.requests)
    assert asked == ["exp/run-1", "exp/run-1/metrics.json", "exp/run-10/metrics.json"]


@pytest.mark.parametrize("name", ["data[1]", "what?", "a*b"])
def test_a_key_with_such_characters_is_found_by_its_name(s3: S3Site, tmp_path: Path, name: str) -> None:
    s3.put_all({f"odd/{name}/x": b"1", f"odd/{name}.txt": b"2"})
    with opened(tmp_path):
        assert s3.url(f"odd/{name}/x") in pos3.ls(s3.url(f"odd/{name}"), recursive=True)
        assert pos3.ls(s3.url(f"odd/{name}.txt")) == [s3.url(f"odd/{name}.txt")]


def test_a_pattern_in_a_bucket_that_does_not_exist_is_an_error(rclone_site: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(pos3.BucketNotFoundError):
        pos3.ls("s3://no-such-bucket-here/run-*")


def test_a_pattern_works_with_other_stores(tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    for name, data in RUNS.items():
        files.pipe(f"/ls-by-pattern/{name}", data)
    with opened(tmp_path):
        found = pos3.ls("memory://ls-by-pattern/run-*/metrics.json")
    assert found == [f"memory://ls-by-pattern/run-{number}/metrics.json" for number in (1, 10)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("run-*/metrics.json", ["run-1/metrics.json", "run-10/metrics.json"], id="one level down"),
        pytest.param(
            "run-2/**",
            ["run-2", "run-2/deep", "run-2/deep/down", "run-2/deep/down/metrics.json", "run-2/log.txt"],
            id="all below",
        ),
        pytest.param("run-7*", [], id="nothing"),
    ],
)
def test_a_local_pattern_lists_local_paths(tmp_path: Path, pattern: str, names: list[str]) -> None:
    root = write_tree(tmp_path / "tree", RUNS)
    with opened(tmp_path):
        found = [path.rstrip("/") for path in pos3.ls(f"{root}/{pattern}")]
    assert found == [f"{root}/{name}" for name in names]


def test_a_directory_bucket_is_listed_with_details_and_by_patterns(
    serve_from_memory: Callable[..., MemoryServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists in no order, and whole directories alone."""
    monkeypatch.setenv("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH", "true")
    server = serve_from_memory(directories=True, page_keys=2)
    for name, data in RUNS.items():
        server.put(f"exp/{name}", data)
    top = "s3://pos3-tests--use1-az4--x-s3/exp/"
    with opened(tmp_path):
        found = pos3.ls(f"{top}run-1", True, details=True)
        assert pos3.ls(f"{top}run-*/metrics.json") == [f"{top}run-{number}/metrics.json" for number in (1, 10)]
    assert [(item.url.removeprefix(top), item.size_bytes) for item in found] == [
        ("run-1/metrics.json", 2),
        ("run-1/model", 0),
        ("run-1/model/weights.bin", 3),
    ]
