"""What ``pos3 -v`` tells of a store: how it is reached, and each attempt that is repeated."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import Proxy, ResetBefore, S3Site, Slowdown, on
from tests.support.program import run_program

PutBefore = Callable[..., Proxy]


def told_of(bucket: str, stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if f": s3://{bucket}: endpoint" in line]


def test_verbose_tells_how_the_store_is_reached(rclone_site: S3Site) -> None:
    rclone_site.put("data/a", b"1")
    url, bucket = rclone_site.url("data"), rclone_site.bucket
    [line] = told_of(bucket, run_program("ls", "-v", url).stderr)
    assert line == (
        f"pos3 ls: s3://{bucket}: endpoint {rclone_site.server.endpoint_url}, path addressing, region us-east-1, "
        "profile 'default', credentials from 'env'"
    )
    assert told_of(bucket, run_program("ls", url).stderr) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param('access_key = "key"\nsecret_key = "secret"', ["credentials from 'explicit'"], id="keys"),
        pytest.param("public = true", ["unsigned"], id="public"),
        pytest.param('region = "eu-north-1"\npublic = true', ["region eu-north-1", "unsigned"], id="region"),
        pytest.param('addressing_style = "virtual"', ["virtual-hosted addressing"], id="virtual-hosted"),
        pytest.param(
            'aws_profile = "mine"',
            ["AWS profile 'mine'", "credentials from 'shared-credentials-file'"],
            id="aws-profile",
        ),
    ],
)
def test_verbose_tells_what_a_profile_makes_of_it(
    moto_site: S3Site, isolated_home: Path, monkeypatch: pytest.MonkeyPatch, settings: str, told: list[str]
) -> None:
    moto_site.put("data/a", b"1")
    credentials = isolated_home / "credentials"
    credentials.write_text("[mine]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    # An address of digits cannot have a bucket before it.
    endpoint = moto_site.server.endpoint_url.replace("127.0.0.1", "localhost")
    profiles = isolated_home / "profiles.toml"
    profiles.write_text(f'[profiles.lab]\nendpoint = "{endpoint}"\n{settings}\n')
    profiles.chmod(0o600)
    [line] = told_of(moto_site.bucket, run_program("ls", "-v", "--profile", "lab", moto_site.url("data")).stderr)
    assert {f"endpoint {endpoint}", "profile 'lab'", *told} <= set(
        line.partition(f"{moto_site.bucket}: ")[2].split(", ")
    )


def test_verbose_tells_of_each_attempt_that_is_repeated_what_it_was_and_why(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("data/a", b"1")
    proxied(rclone_site, Slowdown(times=2, match=on("GET")), ResetBefore(times=1, match=on("LIST")))
    ran = run_program("download", "-v", rclone_site.url("data"), "--cache-root", tmp_path)
    assert ran.status == 0
    lines = [line for line in ran.stderr.splitlines() if "attempt" in line]
    url = re.escape(rclone_site.url("data"))
    wanted = [
        rf"pos3 download: listing {url}/?: cannot reach http://127\.0\.0\.1:\d+: .+; attempt 2 of \d in \d\.\d\d s",
        rf"pos3 download: GET {url}/a: the store answered SlowDown \(.+\); attempt 2 of 6 in \d\.\d\d s",
        rf"pos3 download: GET {url}/a: the store answered SlowDown \(.+\); attempt 3 of 6 in \d\.\d\d s",
    ]
    assert len(lines) == len(wanted)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(wanted, lines, strict=True)), lines


def test_an_upload_that_is_repeated_is_told_as_one(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pos3.store")
    (tmp_path / "a").write_bytes(b"1")
    proxied(rclone_site, Slowdown(times=1, match=on("PUT")))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(rclone_site.url("a"), tmp_path / "a", interval=None)
    [told] = [record.getMessage() for record in caplog.records if "attempt" in record.getMessage()]
    assert told.startswith(f"PUT {rclone_site.url('a')}: the store answered SlowDown")


def test_other_schemes_tell_which_file_system_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pos3.store")
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload("memory://bucket/up", tmp_path / "tree", interval=None)
    assert "memory://bucket: MemoryFileSystem of fsspec" in [record.getMessage() for record in caplog.records]
