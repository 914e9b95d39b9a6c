"""Credentials that expire or change, and clocks that differ or go back."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

import pos3
from tests.faults.base import PutBefore, opened, run_python, small_files
from tests.support import RcloneServer, S3Site, SkewedClock, Status, contents, on, write_tree

HOUR = 3600.0


def test_an_expired_token_is_named_with_the_key_and_ends_the_transfer_soon(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    s3.put_all({f"data/{name}": data for name, data in small_files(100, 10).items()})
    proxy = proxied(s3, Status(400, "ExpiredToken", match=on("GET")))
    began = time.monotonic()
    with opened(tmp_path), pytest.raises(pos3.TransferError, match=r"data/\d/\d+: ExpiredToken: .*expired") as caught:
        pos3.download(s3.url("data"))
    assert isinstance(caught.value.failures[0], pos3.CredentialsError)
    # As many as are in flight at first where the store took long for its page.
    assert proxy.count("GET") <= 32
    assert time.monotonic() - began < 10


# Credentials that are replaced while a mirror is open


CREDENTIALS = """
import datetime, json, sys
expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
keys = json.load(open(sys.argv[1]))
print(json.dumps({"Version": 1, "Expiration": expiry.isoformat(), **keys}))
"""


def test_credentials_that_are_rotated_under_an_open_mirror_are_taken_up(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key is refused at once, the new one comes a moment later; what was written meanwhile is not lost."""
    server, site = private_rclone
    keys, program, config = tmp_path / "keys", tmp_path / "credentials.py", tmp_path / "config"
    program.write_text(CREDENTIALS)
    config.write_text(f"[profile rotated]\ncredential_process = {sys.executable} {program} {keys}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    def give_out_keys() -> None:
        keys.write_text(json.dumps({"AccessKeyId": server.access_key, "SecretAccessKey": server.secret_key}))

    give_out_keys()
    with opened(tmp_path):
        out = pos3.upload(site.url("out"), interval=None, profile=pos3.Profile("r", None, aws_profile="rotated"))
        write_tree(out, {"first": b"1"})
        pos3.flush()
        server.kill()
        server.rotate_keys("another-access", "another-secret-key")
        server.restart()
        write_tree(out, {"second": b"2"})
        with pytest.raises(pos3.TransferError, match="out/second") as caught:
            pos3.flush()
        assert isinstance(caught.value.failures[0], pos3.CredentialsError)
        give_out_keys()
        time.sleep(1.1)
        pos3.flush()
        assert site.objects("out/") == {"first": b"1", "second": b"2"}
        write_tree(out, {"third": b"3"})
    assert site.objects("out/") == {"first": b"1", "second": b"2", "third": b"3"}


# Clocks


LEFT = """
import os, signal, sys, pos3
mirror = pos3.Mirror(pos3.MirrorOptions(sys.argv[1], show_progress=False)).open()
path = mirror.upload(sys.argv[2], interval=None)
for name in ("both", "mine"):
    (path / name).write_text("ours")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("seconds", [1000, -1000], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_is_named_before_anything_is_changed(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, seconds: float
) -> None:
    rclone_site.put("data/a", b"1")
    local = write_tree(tmp_path / "local", {"kept": b"1"})
    proxied(rclone_site, SkewedClock(seconds))
    with opened(tmp_path):
        for call in (pos3.download, pos3.upload, pos3.sync):
            with pytest.raises(pos3.CredentialsError, match=r"data: RequestTimeTooSkewed: .*clock.*set it right"):
                call(rclone_site.url("data"), local)
    assert contents(local) == {"kept": b"1"}
    assert rclone_site.objects() == {"data/a": b"1"}


@pytest.mark.parametrize("seconds", [600, -600], ids=["ahead", "behind"])
def test_a_server_whose_clock_differs_is_judged_by_its_own_clock(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, seconds: float
) -> None:
    s3.put_all({"data/stale": b"1", "data/kept": b"1", "data/edited": b"1"})
    proxy = proxied(s3, SkewedClock(seconds))
    with opened(tmp_path):
        path = pos3.sync(s3.url("data"), interval=None)
        s3.put("data/theirs", b"2")
        (path / "stale").unlink()
        (path / "edited").write_bytes(b"2")
        (path / "mine").write_bytes(b"2")
    wanted = {"kept": b"1", "edited": b"2", "mine": b"2", "theirs": b"2"}
    assert s3.objects("data/") == wanted
    with opened(tmp_path):
        assert contents(pos3.download(s3.url("data"))) == wanted
    proxy.clear()
    with opened(tmp_path) as mirror:
        pos3.sync(s3.url("data"), interval=None)
    assert (mirror.report().downloaded_files, mirror.report().uploaded_files) == (0, 0)
    assert proxy.count("GET") == proxy.count("PUT") == 0


@pytest.mark.parametrize("kind", ["upload", "sync"])
def test_a_server_whose_clock_goes_back_makes_nothing_new_look_old(
    private_rclone: tuple[RcloneServer, S3Site], tmp_path: Path, proxied: PutBefore, kind: str
) -> None:
    """It dates what others write before the mirror's beginning. What was there long before still goes."""
    server, site = private_rclone
    site.put_all({"data/kept": b"1", "data/stale": b"1"})
    server.kill()
    os.utime(server.data / site.bucket / "data/stale", (time.time() - HOUR, time.time() - HOUR))
    server.restart()
    proxy = proxied(site)
    with opened(tmp_path) as mirror:
        path = write_tree(getattr(pos3, kind)(site.url("data"), interval=None), {"kept": b"1"})
        (path / "stale").unlink(missing_ok=True)
        site.put("data/theirs", b"2")
        proxy.inject(SkewedClock(-600))
        time.sleep(0.1)
    assert site.objects("data/") == {"kept": b"1", "theirs": b"2"}
    assert [(kept.path, "clock went back" in kept.reason) for kept in mirror.report().kept] == [("theirs", True)]


def test_what_a_killed_process_left_gives_way_also_if_the_servers_clock_has_gone_back(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site)
    run_python(LEFT, tmp_path / "cache", rclone_site.url("out")).communicate()
    rclone_site.put("out/both", b"theirs")
    proxy.inject(SkewedClock(-600))
    (found,) = pos3.recover(tmp_path / "cache", show_progress=False)
    assert rclone_site.objects("out/") == {"both": b"theirs", "mine": b"ours"}
    assert [kept.path for kept in found.report.kept] == ["both"]


def test_a_clock_that_goes_back_an_hour_hides_no_edit(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock itself belongs to the whole machine, so here it is the functions that tell it."""
    rclone_site.put_all({"data/a": b"1", "data/stale": b"1"})
    with opened(tmp_path):
        path = pos3.sync(rclone_site.url("data"), interval=0.1)
        write_tree(path, {"b": b"1"})
        pos3.flush()
        real, real_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: real() - HOUR)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() - int(HOUR) * 10**9)
        write_tree(path, {"a": b"2", "b": b"2", "c": b"2"})
        for name in "abc":
            os.utime(path / name, (time.time(), time.time()))
        pos3.flush()
        assert rclone_site.objects("data/") == {"a": b"2", "b": b"2", "c": b"2", "stale": b"1"}
        (path / "stale").unlink()
    assert rclone_site.objects("data/") == {"a": b"2", "b": b"2", "c": b"2"}
    rclone_site.put("data/c", b"3")
    with opened(tmp_path):
        assert contents(pos3.sync(rclone_site.url("data"))) == {"a": b"2", "b": b"2", "c": b"3"}
        write_tree(path, {"a": b"4"})
        os.utime(path / "a", (time.time(), time.time()))
    assert rclone_site.objects("data/") == {"a": b"4", "b": b"2", "c": b"3"}
