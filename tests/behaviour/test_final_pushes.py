"""The pushes at a mirror's end go side by side, where they have nothing to do with each other."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path

import pytest

import pos3
from pos3.jobs import Job
from pos3.mirrors import parallel_pushes
from pos3.transfer import Terms
from tests.faults.base import PutBefore, eventually, running
from tests.support import Hang, Latency, S3Site, Status, on, write_tree


def opened(tmp_path: Path, max_workers: int = 10) -> pos3.Mirror:
    return pos3.Mirror(pos3.MirrorOptions(tmp_path / "cache", show_progress=False, max_workers=max_workers)).open()


def registered(mirror: pos3.Mirror, s3: S3Site, names: list[str]) -> dict[str, bytes]:
    """Registers each place, with one file in it; what the bucket will hold."""
    for name in names:
        write_tree(mirror.upload(s3.url(name), interval=None), {"f": name.encode()})
    return {f"{name}/f": name.encode() for name in names}


def test_a_push_that_hangs_does_not_keep_the_others_from_theirs(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site, Hang(match=on("PUT", key="a/f"), times=1))
    mirror = opened(tmp_path)
    expected = registered(mirror, rclone_site, list("abcdefgh"))
    end = threading.Thread(target=mirror.close, daemon=True)
    end.start()
    others = {name: data for name, data in expected.items() if name != "a/f"}
    eventually(lambda: rclone_site.objects() == others)
    assert end.is_alive()
    proxy.end_hangs()
    end.join(60)
    assert rclone_site.objects() == expected


@pytest.mark.parametrize("max_workers", [1, 3])
def test_no_more_run_at_once_than_there_are_workers(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, max_workers: int
) -> None:
    proxy = proxied(rclone_site, Latency(seconds=0.05))
    mirror = opened(tmp_path, max_workers)
    expected = registered(mirror, rclone_site, [f"r{number}" for number in range(8)])
    proxy.clear()
    mirror.close()
    assert rclone_site.objects() == expected
    assert proxy.peak <= max_workers


def test_places_that_nest_are_pushed_in_the_order_of_registration(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site)
    mirror = opened(tmp_path)
    names = ["run/data", "run", "run/logs/deep", "run/logs"]
    for name in names:
        local = mirror.upload(rclone_site.url(name), tmp_path / name.replace("/", "-"), interval=None, delete=False)
        write_tree(local, {"f": name.encode()})
    proxy.clear()
    mirror.close()
    sent = [request.key for request in proxy.requests if request.kind == "PUT"]
    assert sent == [f"{name}/f" for name in names]


def test_local_paths_that_nest_are_pushed_in_the_order_of_registration(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(rclone_site)
    mirror = opened(tmp_path)
    for name, local in (("inner", tmp_path / "tree" / "in"), ("outer", tmp_path / "tree")):
        write_tree(mirror.upload(rclone_site.url(name), local, interval=None), {name: b"1"})
    proxy.clear()
    mirror.close()
    sent = [request.key for request in proxy.requests if request.kind == "PUT"]
    assert sent[0] == "inner/inner"
    assert set(sent) == {"inner/inner", "outer/in/inner", "outer/outer"}


def test_all_that_fail_are_in_the_error_in_the_order_of_registration(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxied(
        rclone_site,
        Status(403, "AccessDenied", match=on("PUT", key="b/f")),
        Status(403, "AccessDenied", match=on("PUT", key="e/f")),
    )
    mirror = opened(tmp_path)
    expected = registered(mirror, rclone_site, list("abcdef"))
    with pytest.raises(pos3.TransferError) as failure:
        mirror.close()
    assert [name for name in "abcdef" if f"/{name}/f" in str(failure.value)] == ["b", "e"]
    assert set(rclone_site.keys()) == expected.keys() - {"b/f", "e/f"}
    # What failed is still to be pushed.
    assert {item.outcome for item in pos3.recover(tmp_path / "cache", show_progress=False)} == {"failed"}


def test_the_log_says_how_far_it_is(
    rclone_site: S3Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "pos3")
    monkeypatch.setattr(parallel_pushes, "_LOG_INTERVAL_SECONDS", 0.0)
    mirror = opened(tmp_path)
    registered(mirror, rclone_site, list("abcd"))
    mirror.close()
    assert "of 4 registrations are done" in caplog.text


ENDING = """
import sys, pos3
mirror = pos3.Mirror(pos3.MirrorOptions(sys.argv[1], show_progress=False)).open()
for number in range(8):
    (mirror.upload(f"{sys.argv[2]}/r{number}", interval=None) / "f").write_text("1")
print("closing", flush=True)
mirror.close()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_what_an_end_that_is_stopped_has_not_pushed_is_left_to_recover(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, number: signal.Signals
) -> None:
    proxy = proxied(rclone_site, Hang(match=on("PUT"), times=None))
    with running(ENDING, tmp_path / "cache", rclone_site.url("out")) as program:
        eventually(lambda: proxy.count("PUT") >= 2)
        program.send_signal(number)
        assert program.wait(20) != 0
    proxy.inject()
    found = pos3.recover(tmp_path / "cache", show_progress=False)
    assert sorted(item.outcome for item in found) == ["pushed"] * 8
    assert rclone_site.objects() == {f"out/r{each}/f": b"1" for each in range(8)}


def test_what_begins_while_the_mirror_begins_to_end_is_pushed(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = opened(tmp_path)
    local = write_tree(tmp_path / "local", {"f": b"1"})
    end = threading.Thread(target=mirror.close, daemon=True)
    check_open = mirror._pusher._check_open

    def and_then_it_ends() -> None:
        check_open()
        end.start()
        # It has to wait until the registration is one that an end pushes.
        end.join(0.5)

    monkeypatch.setattr(mirror._pusher, "_check_open", and_then_it_ends)
    mirror.upload(rclone_site.url("out"), local, interval=None)
    end.join(60)
    assert rclone_site.objects() == {"out/f": b"1"}


def test_an_exit_in_one_of_the_threads_is_no_clean_end(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = opened(tmp_path)
    registered(mirror, rclone_site, list("abcd"))
    push_finally = Job.push_finally

    def push(job: Job, terms: Terms, *, delete: bool) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit(3)
        # The other threads come first.
        time.sleep(0.2)
        push_finally(job, terms, delete=delete)

    with monkeypatch.context() as changed:
        changed.setattr(Job, "push_finally", push)
        with pytest.raises(SystemExit):
            mirror.close()
    # Nothing is lost: what was not pushed is left to recovery.
    pos3.recover(tmp_path / "cache", show_progress=False)
    assert rclone_site.objects() == {f"{name}/f": name.encode() for name in "abcd"}
