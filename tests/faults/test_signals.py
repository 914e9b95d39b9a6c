"""Signals to a process with an open mirror: what is pushed, how soon it ends, and whose handler is in charge."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.base import PutBefore, eventually, opened, running, seconds_to_end, until_printed
from tests.support import Hang, S3Site, on, write_tree


def test_ctrl_c_ends_a_mirror_whose_background_push_hangs(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"1"})
    proxy = proxied(rclone_site, Hang(match=on("PUT"), times=None))
    script = """
import pos3, sys, time
with pos3.mirror(sys.argv[1], show_progress=False):
    pos3.upload(sys.argv[2], sys.argv[3], interval=0.1)
    print("ready", flush=True)
    while True:
        time.sleep(0.05)
"""
    with running(script, tmp_path / "cache", rclone_site.url("data"), tree) as child:
        until_printed(child, "ready")
        eventually(lambda: proxy.count("PUT") > 0)
        assert seconds_to_end(child, signal.SIGINT, 15) < 10
    assert rclone_site.keys() == {}


WAITING = """
import pos3, sys, time
with pos3.mirror(sys.argv[1], show_progress=False, shutdown_timeout=float(sys.argv[4])):
    path = pos3.upload(sys.argv[2], interval=None, sync_on_error=sys.argv[3] == "yes")
    other = pos3.upload(sys.argv[2] + "-2", interval=None, sync_on_error=sys.argv[3] == "yes")
    (path / "new").write_bytes(b"2")
    (other / "new").write_bytes(b"2")
    print("ready", flush=True)
    while True:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("on_error", ["yes", "no"], ids=["sync_on_error", "plain"])
def test_a_signal_unwinds_the_body_and_pushes_only_what_wants_it(
    s3: S3Site, tmp_path: Path, number: signal.Signals, on_error: str
) -> None:
    s3.put("data/old", b"1")
    with running(WAITING, tmp_path / "cache", s3.url("data"), on_error, 25) as child:
        until_printed(child, "ready")
        assert seconds_to_end(child, number, 15) < 10
        assert child.returncode == (143 if number is signal.SIGTERM else -signal.SIGINT)
    added = {"data/new": b"2", "data-2/new": b"2"} if on_error == "yes" else {}
    assert s3.objects() == {"data/old": b"1"} | added


def test_the_pushes_of_a_stopped_process_end_within_the_shutdown_timeout(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Hang(match=on("PUT"), times=None))
    with running(WAITING, tmp_path / "cache", rclone_site.url("data"), "yes", 2) as child:
        until_printed(child, "ready")
        took = seconds_to_end(child, signal.SIGTERM, 20)
    assert proxy.count("PUT") > 0
    assert 1.5 <= took < 6
    assert child.returncode == 143


def test_a_second_sigterm_ends_the_process_at_once(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(rclone_site, Hang(match=on("PUT"), times=None))
    with running(WAITING, tmp_path / "cache", rclone_site.url("data"), "yes", 25) as child:
        until_printed(child, "ready")
        child.send_signal(signal.SIGTERM)
        eventually(lambda: proxy.count("PUT") > 0)
        assert seconds_to_end(child, signal.SIGTERM, 10) < 3
        assert child.returncode == -signal.SIGTERM


def test_a_sigterm_handler_of_the_user_stays_in_charge(rclone_site: S3Site, tmp_path: Path) -> None:
    script = """
import pos3, signal, sys, time
def mine(number, frame):
    print("mine", flush=True)
signal.signal(signal.SIGTERM, mine)
with pos3.mirror(sys.argv[1], show_progress=False):
    (pos3.upload(sys.argv[2]) / "a").write_bytes(b"1")
    print("ready", flush=True)
    time.sleep(1.5)
assert signal.getsignal(signal.SIGTERM) is mine
"""
    with running(script, tmp_path / "cache", rclone_site.url("data")) as child:
        until_printed(child, "ready")
        child.send_signal(signal.SIGTERM)
        until_printed(child, "mine")
        assert child.wait(15) == 0
    assert rclone_site.objects() == {"data/a": b"1"}


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("default_sigterm")
def test_the_sigterm_handler_is_taken_back_at_the_end_of_the_outermost_mirror(tmp_path: Path) -> None:
    with opened(tmp_path):
        ours = signal.getsignal(signal.SIGTERM)
        assert ours is not signal.SIG_DFL
        with opened(tmp_path):
            assert signal.getsignal(signal.SIGTERM) is ours
        assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("default_sigterm")
def test_a_sigterm_handler_that_is_set_inside_a_mirror_survives_it(tmp_path: Path) -> None:
    def mine(number: int, frame: object) -> None:
        raise AssertionError

    with opened(tmp_path):
        signal.signal(signal.SIGTERM, mine)
    assert signal.getsignal(signal.SIGTERM) is mine


@pytest.mark.usefixtures("default_sigterm")
def test_a_mirror_in_a_thread_leaves_signals_alone(tmp_path: Path) -> None:
    seen: list[object] = []

    def work() -> None:
        with opened(tmp_path):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
