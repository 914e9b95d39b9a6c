"""`pos3 doctor`: what is good and what is bad, with what to do. What it writes it removes."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.base import PutBefore
from tests.support import Hang, S3Site, SkewedClock, Status, on
from tests.support.program import Ran, ended, run_program, start_program


def by_name(ran: Ran) -> dict[str, dict[str, Any]]:
    found = {finding["name"]: finding for finding in ran.objects}
    assert len(found) == len(ran.objects)
    assert all(bool(finding["advice"]) is not finding["is_good"] for finding in found.values())
    return found


def bad_names(ran: Ran) -> list[str]:
    return [finding["name"] for finding in ran.objects if not finding["is_good"]]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    return ["--cache-root", str(tmp_path / "cache")]


def test_a_place_where_all_is_well_is_good_throughout_and_left_as_it_was(
    s3: S3Site, tmp_path: Path, options: list[str]
) -> None:
    s3.put_all({"data/a": b"1"})
    ran = run_program("doctor", s3.url("data"), "--json", *options)
    assert (ran.status, ran.stderr, bad_names(ran)) == (0, "", [])
    found = by_name(ran)
    assert list(found) == [
        "versions", "cache", "file system", "endpoint", "credentials", "list", "clock", "write", "read", "removal",
    ]  # fmt: skip
    assert re.search(
        r"pos3 .+, Python 3\.\d+\.\d+, botocore [\d.]+, PycURL [\d.]+, libcurl [\d.]+", found["versions"]["told"]
    )
    assert s3.server.endpoint_url in found["endpoint"]["told"]
    assert f"region {s3.server.region}" in found["endpoint"]["told"]
    assert found["credentials"]["told"].startswith("env")
    assert s3.server.secret_key not in ran.stdout
    for name in ("write", "read"):
        assert re.fullmatch(
            r"allowed, 10 of 1\.0 KiB in \d+ ms each, the slowest \d+ ms; one of 16\.0 MiB at .+/s", found[name]["told"]
        )
    assert s3.objects() == {"data/a": b"1"}
    assert s3.server.uploads(s3.bucket) == []
    assert not (tmp_path / "cache").exists()
    assert not list(tmp_path.rglob(".pos3-doctor*"))


def test_lines_say_good_or_bad_and_what_to_do(
    rclone_site: S3Site, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    ran = run_program("doctor", rclone_site.url("data"), *options)
    assert ran.status == 1
    assert ran.lines[0].startswith("good  versions     pos3 ")
    assert ran.lines[-2].startswith("BAD   list         ")
    assert ran.lines[-1].startswith(" " * 19 + "what to do: check the credentials")


def test_without_a_url_the_profile_is_looked_at(rclone_site: S3Site, options: list[str]) -> None:
    ran = run_program("doctor", "--json", *options)
    assert (ran.status, bad_names(ran)) == (0, [])
    assert list(by_name(ran)) == ["versions", "cache", "file system", "endpoint", "credentials", "buckets", "clock"]


def test_a_bucket_that_does_not_exist_is_bad_and_nothing_more_is_tried(rclone_site: S3Site, options: list[str]) -> None:
    ran = run_program("doctor", "s3://no-such-bucket-here/x", "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["list"])
    assert "name of the bucket" in ran.objects[-1]["advice"]


def test_an_endpoint_that_cannot_be_reached_is_bad(
    rclone_site: S3Site, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for arguments in ([], [rclone_site.url("x")]):
        ran = run_program("doctor", *arguments, "--json", *options)
        assert ran.status == 1
        assert "the endpoint" in ran.objects[-1]["advice"]


def test_no_credentials_are_bad(rclone_site: S3Site, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    ran = run_program("doctor", rclone_site.url("x"), "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["endpoint"])
    assert "AWS_ACCESS_KEY_ID" in ran.objects[-1]["advice"]


def test_an_unknown_profile_is_bad(options: list[str]) -> None:
    ran = run_program("doctor", "s3://nobody@bucket/x", "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["profile"])
    assert "profiles.toml" in ran.objects[-1]["advice"]


def test_what_may_not_be_written_is_bad_and_an_object_is_read_instead(
    rclone_site: S3Site, options: list[str], proxied: PutBefore
) -> None:
    rclone_site.put_all({"data/a": b"1", "data/b": b"22"})
    proxied(rclone_site, Status(403, match=on("PUT"), error_code="AccessDenied"))
    ran = run_program("doctor", rclone_site.url("data"), "--json", *options)
    found = by_name(ran)
    assert (ran.status, bad_names(ran)) == (1, ["write"])
    assert found["write"]["advice"] == "allow s3:PutObject to these credentials"
    assert found["read"]["told"].startswith(f"allowed, {rclone_site.url('data/b')}: 2 B in ")


def test_what_may_not_be_read_is_bad_and_what_was_written_is_removed(
    rclone_site: S3Site, options: list[str], proxied: PutBefore
) -> None:
    proxied(rclone_site, Status(403, match=on("GET"), error_code="AccessDenied"))
    ran = run_program("doctor", rclone_site.url("data"), "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["read"])
    assert rclone_site.objects() == {}


def test_what_may_not_be_listed_is_bad_and_the_rest_is_tried_all_the_same(
    moto_site: S3Site, options: list[str], proxied: PutBefore
) -> None:
    proxied(moto_site, Status(403, match=on("LIST"), error_code="AccessDenied"))
    ran = run_program("doctor", moto_site.url("data/"), "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["list"])
    assert {"write", "read", "removal"} <= by_name(ran).keys()
    assert moto_site.objects() == {}


def test_what_may_not_be_deleted_is_named_so_that_somebody_can_remove_it(
    moto_site: S3Site, options: list[str], proxied: PutBefore
) -> None:
    proxied(moto_site, Status(403, match=on("DELETE", "POST ?delete"), error_code="AccessDenied"))
    ran = run_program("doctor", moto_site.url("data"), "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["removal"])
    advice = ran.objects[-1]["advice"]
    [directory] = {key.rpartition("/")[0] for key in moto_site.keys()}
    assert advice == f"allow s3:DeleteObject to these credentials, and remove what is below {moto_site.url(directory)}/"


def test_what_was_left_behind_takes_no_part_in_transfers(
    moto_site: S3Site, tmp_path: Path, options: list[str], proxied: PutBefore
) -> None:
    moto_site.put("data/a", b"1")
    proxied(moto_site, Status(403, match=on("DELETE", "POST ?delete"), error_code="AccessDenied"))
    assert run_program("doctor", moto_site.url("data"), *options).status == 1
    assert len(moto_site.keys()) == 12
    ran = run_program("download", moto_site.url("data"), "--local", tmp_path / "here", *options)
    assert (ran.status, os.listdir(tmp_path / "here")) == (0, ["a"])


def test_read_only_sends_nothing_that_changes_anything(
    rclone_site: S3Site, options: list[str], proxied: PutBefore
) -> None:
    rclone_site.put("data/a", b"1")
    proxy = proxied(rclone_site)
    ran = run_program("doctor", rclone_site.url("data"), "--read-only", "--json", *options)
    assert (ran.status, list(by_name(ran))[-1]) == (0, "read")
    assert set(proxy.kinds) <= {"LIST", "HEAD", "GET"}


def test_a_clock_that_is_off_is_bad(rclone_site: S3Site, options: list[str], proxied: PutBefore) -> None:
    proxied(rclone_site, SkewedClock(600))
    ran = run_program("doctor", rclone_site.url("data"), "--json", *options)
    assert (ran.status, bad_names(ran)) == (1, ["clock"])
    assert re.fullmatch(r"(599|600|601) s behind the store's", by_name(ran)["clock"]["told"])


def test_the_url_of_an_object_is_looked_at_beside_it(rclone_site: S3Site, options: list[str]) -> None:
    rclone_site.put("data/a", b"1")
    ran = run_program("doctor", rclone_site.url("data/a"), "--json", *options)
    assert (ran.status, rclone_site.objects()) == (0, {"data/a": b"1"})


def test_other_stores_are_looked_at_as_well(tmp_path: Path, options: list[str]) -> None:
    ran = run_program("doctor", "memory://bucket/data", "--json", *options)
    assert (ran.status, bad_names(ran)) == (0, [])
    assert {"endpoint", "list", "write", "read", "removal"} <= by_name(ran).keys()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    ran = run_program("doctor", "--json", "--cache-root", closed / "cache")
    assert "cache" in bad_names(ran)


def test_a_signal_ends_it_and_what_was_written_is_removed(
    rclone_site: S3Site, options: list[str], proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Hang(match=on("GET")))
    program = start_program("doctor", rclone_site.url("data"), *options)
    deadline = time.monotonic() + 30
    while not proxy.count("GET"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(signal.SIGTERM)
    ran = ended(program, timeout=30)
    proxy.end_hangs()
    assert ran.status == 143
    assert rclone_site.objects() == {}
