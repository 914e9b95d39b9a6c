"""A store that does not answer is mentioned after five seconds, long before it is given up."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import pos3
from tests.faults.base import MIB, PutBefore
from tests.support import Hang, LateAnswer, S3Site, Trickle, on
from tests.support.program import ended, start_program


@pytest.fixture
def full_endpoint() -> Iterator[str]:
    """The URL of an endpoint that accepts no connection and refuses none: its queue is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        time.sleep(0.2)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def mentions(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage() for record in caplog.records if record.name == "pos3.store"]
    return [line for line in told if line.startswith("waiting for ")]


@pytest.mark.parametrize("prefix", ["s3://bucket/data", "s3://"], ids=["prefix", "all buckets"])
def test_a_connection_that_hangs_is_mentioned_after_five_seconds(
    full_endpoint: str, rclone_site: S3Site, prefix: str
) -> None:
    program = start_program("ls", prefix, AWS_ENDPOINT_URL=full_endpoint)
    began = time.monotonic()
    assert program.stderr is not None
    line = program.stderr.readline()
    waited = time.monotonic() - began
    program.kill()
    program.communicate()
    assert line == f"pos3 ls: waiting for {full_endpoint}: no answer for 5 s\n"
    assert waited < 15


def test_a_request_that_hangs_is_mentioned_once_on_stderr(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("data/x", b"1")
    proxy = proxied(rclone_site, LateAnswer(match=on("LIST"), seconds=7, times=1))
    ran = ended(start_program("download", rclone_site.url("data"), "--local", tmp_path / "here"))
    first, *others = ran.stderr.splitlines()
    assert ran.status == 0
    assert first == f"pos3 download: waiting for {proxy.endpoint_url}: no answer for 5 s"
    assert len(others) == 1


def test_the_library_mentions_it_in_its_log_again_only_after_an_answer(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pos3")
    rclone_site.put_all({f"data/{number}": b"1" for number in range(8)})
    proxied(
        rclone_site, LateAnswer(match=on("GET"), seconds=7, times=8), LateAnswer(match=on("LIST"), seconds=7, times=1)
    )
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"))
    assert len(mentions(caplog)) == 2
    assert re.fullmatch(r"waiting for http://\S+: no answer for 5 s", mentions(caplog)[0])


def test_a_slow_body_and_a_rate_are_no_silence(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pos3")
    rclone_site.put("data/x", bytes(MIB))
    proxied(rclone_site, Trickle(bytes_per_second=MIB / 7))
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.download(rclone_site.url("data"))
    with pos3.mirror(tmp_path / "other", show_progress=False, max_upload_bytes_per_second=1000):
        pos3.upload(rclone_site.url("out"), local=tmp_path / "out").joinpath("x").write_bytes(bytes(7000))
    assert mentions(caplog) == []


def test_a_hang_is_mentioned_before_it_ends_in_an_error(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Hang(times=None))
    program = start_program("upload", rclone_site.url("out"), "--local", tmp_path)
    assert program.stderr is not None
    assert "no answer for 5 s" in program.stderr.readline()
    proxy.end_hangs()
    program.kill()
    program.communicate()
