"""How mirrors begin and end: exceptions, signals, forks, threads, nesting and decorators."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Hang, Latency, Proxy, S3Site, Status, contents, on, write_tree
from tests.support.trees import pseudo_random

PutBefore = Callable[..., Proxy]


class CustomInterrupt(BaseException):
    """Like the signals that schedulers send through their tasks."""


INTERRUPTS = [
    pytest.param(KeyboardInterrupt(), id="KeyboardInterrupt"),
    pytest.param(SystemExit(3), id="SystemExit"),
    pytest.param(SystemExit(0), id="SystemExit-0"),
    pytest.param(asyncio.CancelledError(), id="CancelledError"),
    pytest.param(GeneratorExit(), id="GeneratorExit"),
    pytest.param(CustomInterrupt(), id="BaseException"),
    pytest.param(ValueError("boom"), id="Exception"),
]


def opened(tmp_path: Path, **options: Any) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False, **options)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextlib.contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `script`; it is gone at the end, whatever it did."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def seconds_to_end(child: subprocess.Popen[str], number: signal.Signals, limit: float) -> float:
    """Sends the signal and waits; fails when the process is not gone within `limit` seconds."""
    began = time.monotonic()
    child.send_signal(number)
    try:
        child.wait(limit)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still running {limit} s after {number.name}")
    return time.monotonic() - began


def until_printed(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    line = child.stdout.readline()
    if line.strip() != word:
        assert child.stderr is not None
        pytest.fail(f"expected {word!r}, got {line!r}: {child.stderr.read()}")


# -- exceptions in the body


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_nothing_is_uploaded_or_deleted_when_the_body_is_interrupted(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, interrupt: BaseException
) -> None:
    rclone_site.put_all({"up/old": b"1", "both/old": b"1", "both/changed": b"1"})
    proxy = proxied(rclone_site)
    with pytest.raises(type(interrupt)) as failure, opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(rclone_site.url("up"), interval=30), {"new": b"2"})
        path = pos3.sync(rclone_site.url("both"))
        (path / "old").unlink()
        (path / "changed").write_bytes(b"2")
        proxy.clear()
        raise interrupt
    assert failure.value is interrupt
    assert proxy.requests == []
    assert rclone_site.objects() == {"up/old": b"1", "both/old": b"1", "both/changed": b"1"}


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_sync_on_error_uploads_but_deletes_nothing_when_the_body_is_interrupted(
    rclone_site: S3Site, tmp_path: Path, interrupt: BaseException
) -> None:
    rclone_site.put_all({"up/old": b"1", "both/old": b"1", "both/changed": b"1"})
    with pytest.raises(type(interrupt)) as failure, opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(rclone_site.url("up"), sync_on_error=True), {"new": b"2"})
        path = pos3.sync(rclone_site.url("both"), sync_on_error=True)
        (path / "old").unlink()
        (path / "changed").write_bytes(b"2")
        write_tree(pos3.upload(rclone_site.url("third")), {"x": b"no"})
        raise interrupt
    assert failure.value is interrupt
    assert rclone_site.objects() == {"up/old": b"1", "up/new": b"2", "both/old": b"1", "both/changed": b"2"}


@pytest.mark.parametrize("number", range(2), ids=["body-error", "interrupt"])
def test_a_push_that_fails_after_the_body_did_is_attached_and_logged(
    s3: S3Site, tmp_path: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    error = (ValueError("the body's own"), KeyboardInterrupt())[number]
    proxied(s3, Status(403, "AccessDenied", match=on("PUT")))
    with pytest.raises(type(error)) as failure, opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(s3.url("data"), sync_on_error=True), {"a": b"1"})
        raise error
    assert failure.value is error
    assert any("data/a" in note for note in failure.value.__notes__)
    assert any("data/a" in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)


def test_a_failed_final_push_raises_and_the_other_registrations_are_pushed(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxied(s3, Status(403, "AccessDenied", match=on("PUT", key="bad")))
    with pytest.raises(pos3.TransferError) as failure, opened(tmp_path):  # noqa: PT012
        for key in ("bad-1", "good", "bad-2"):
            write_tree(pos3.upload(s3.url(key)), {"a": b"1"})
    assert s3.objects() == {"good/a": b"1"}
    assert "bad-1/a" in str(failure.value)
    assert "bad-2/a" in str(failure.value)
    assert failure.value.operation == "Upload"


def test_an_error_of_the_body_after_failed_background_pushes_carries_them_as_notes(
    s3: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxy = proxied(s3, Status(403, "AccessDenied", match=on("PUT")))
    with pytest.raises(ValueError, match="boom") as failure, opened(tmp_path):  # noqa: PT012
        write_tree(pos3.upload(s3.url("data"), interval=0.1), {"a": b"1"})
        eventually(lambda: proxy.count("PUT") > 0)
        time.sleep(0.2)
        raise ValueError("boom")
    assert any("data/a" in note for note in failure.value.__notes__)


def test_a_mirror_leaves_no_thread_behind(s3: S3Site, tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with opened(tmp_path):
        write_tree(pos3.upload(s3.url("data"), interval=30), {"a": b"1"})
        pos3.download(s3.url("other"), missing_ok=True)
    assert not {name for name in {thread.name for thread in threading.enumerate()} - before if name.startswith("pos3")}


# -- signals


DOWNLOAD = """
import pos3, sys
with pos3.mirror(sys.argv[1], show_progress=False):
    print("ready", flush=True)
    pos3.download(sys.argv[2])
"""
UPLOAD = """
import pos3, sys
with pos3.mirror(sys.argv[1], show_progress=False, max_upload_bytes_per_second=float(sys.argv[4])):
    pos3.upload(sys.argv[2], sys.argv[3], interval=None)
    print("ready", flush=True)
"""


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        pytest.param(1 << 20, "GET", id="one-request"),
        pytest.param(40 << 20, "GET", id="ranges"),
        pytest.param(1, "LIST", id="listing"),
    ],
)
def test_ctrl_c_ends_a_hanging_download_within_ten_seconds_and_leaves_no_partial_file(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, size: int, kind: str
) -> None:
    moto_site.put("data/a", pseudo_random(size))
    behind_the_first = "bytes=0-"
    proxy = proxied(
        moto_site,
        Hang(
            match=lambda request: (
                request.kind == kind
                and (size <= 16 << 20 or not request.headers.get("range", "").startswith(behind_the_first))
            ),
            times=None,
        ),
    )
    with running(DOWNLOAD, tmp_path / "cache", moto_site.url("data")) as child:
        until_printed(child, "ready")
        eventually(lambda: any(request.faults for request in proxy.requests))
        assert seconds_to_end(child, signal.SIGINT, 12) < 10
        assert child.returncode != 0
    path = tmp_path / "cache" / "_" / moto_site.bucket / "data"
    assert not (path / "a").exists()
    assert not list(path.glob(".pos3-*"))


@pytest.mark.parametrize(
    ("size", "rate", "fault"),
    [
        pytest.param(1000, 1e9, Hang(match=on("PUT"), times=None), id="hanging-put"),
        pytest.param(40 << 20, 1e9, Latency(seconds=1, match=on("PUT ?partNumber")), id="slow-parts"),
        pytest.param(40 << 20, 1e9, Hang(match=on("PUT ?partNumber"), times=None), id="hanging-parts"),
        pytest.param(4 << 20, 1000, Latency(seconds=0), id="rate-limit"),
    ],
)
def test_ctrl_c_ends_a_final_push_within_ten_seconds_and_deletes_nothing(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore, size: int, rate: float, fault: Hang
) -> None:
    moto_site.put("data/old", b"1")
    tree = write_tree(tmp_path / "tree", {"a": pseudo_random(size)})
    proxy = proxied(moto_site, fault)
    with running(UPLOAD, tmp_path / "cache", moto_site.url("data"), tree, rate) as child:
        until_printed(child, "ready")
        if rate == 1000:
            time.sleep(1)
        else:
            eventually(lambda: any(request.faults for request in proxy.requests))
        assert seconds_to_end(child, signal.SIGINT, 12) < 10
        assert child.returncode != 0
    assert moto_site.objects("data/") == {"old": b"1"}
    if size > 8 << 20 and isinstance(fault, Latency):
        eventually(lambda: moto_site.server.uploads(moto_site.bucket) == [], 3)


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


def test_a_sigkill_in_an_upload_leaves_the_old_object_or_none(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put("data/a", b"old")
    tree = write_tree(tmp_path / "tree", {"a": pseudo_random(40 << 20), "b": pseudo_random(1 << 20)})
    proxy = proxied(s3, Latency(seconds=2, match=on("PUT ?partNumber", "PUT")))
    with running(UPLOAD, tmp_path / "cache", s3.url("data"), tree, 1e9) as child:
        until_printed(child, "ready")
        eventually(lambda: proxy.count("PUT ?partNumber") > 0)
        child.kill()
        child.wait()
    assert s3.get("data/a") == b"old"
    proxy.inject()
    with opened(tmp_path):
        pos3.upload(s3.url("data"), tree)
    assert s3.objects("data/") == contents(tree)


# -- forks


def test_a_forked_child_never_pushes_and_can_still_download(s3: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    s3.put_all({"in/a": b"1", "more/b": b"2", "more/big": pseudo_random(20 << 20), "out/stale": b"3"})
    proxied(s3)
    script = """
import os, pos3, sys, time, traceback
base = sys.argv[2]
with pos3.mirror(sys.argv[1], show_progress=False):
    first = pos3.download(base + "/in")
    out = pos3.upload(base + "/out", interval=0.2)
    child = os.fork()
    if child == 0:
        try:
            (out / "from-child").write_bytes(b"4")
            more = pos3.download(base + "/more")
            assert (more / "b").read_bytes() == b"2"
            assert (more / "big").stat().st_size == 20 << 20
            assert (pos3.download(base + "/in") / "a").read_bytes() == b"1"
            assert pos3.ls(base + "/in") == [base + "/in/a"]
            assert pos3.flush().is_empty
            later = pos3.upload(base + "/later", interval=0.1)
            (later / "x").write_bytes(b"5")
            (out / "from-child").unlink()
            time.sleep(0.5)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    else:
        assert os.waitpid(child, 0)[1] == 0
        print("child ended", flush=True)
        sys.stdin.readline()
        (out / "from-parent").write_bytes(b"6")
if child == 0:
    os._exit(0)
"""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "cache"), s3.url()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        assert child.stdout is not None
        line = child.stdout.readline()
        if line != "child ended\n":
            pytest.fail(child.communicate(timeout=20)[1])
        assert "later/x" not in s3.keys()
        assert "out/stale" in s3.keys()
        _, errors = child.communicate("\n", timeout=30)
        assert child.returncode == 0, errors
    assert s3.objects("out/") == {"from-parent": b"6"}
    assert not s3.keys("later/")


def test_a_child_that_was_forked_during_a_background_push_does_not_wait_for_it(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    rclone_site.put("in/a", b"1")
    proxied(rclone_site, Latency(seconds=1.5, match=on("PUT")))
    script = """
import os, pos3, sys, time
base = sys.argv[2]
with pos3.mirror(sys.argv[1], show_progress=False):
    out = pos3.upload(base + "/out", interval=0.1)
    (out / "a").write_bytes(b"1")
    time.sleep(0.5)
    child = os.fork()
    if child == 0:
        assert (pos3.download(base + "/in") / "a").read_bytes() == b"1"
        os._exit(0)
    began = time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    print("ended", flush=True)
"""
    with running(script, tmp_path / "cache", rclone_site.url()) as child:
        until_printed(child, "ended")
        assert child.wait(20) == 0
    assert rclone_site.objects("out/") == {"a": b"1"}


# -- which mirror


EVERY_CALL: list[Any] = [
    pytest.param(lambda: pos3.download("s3://bucket/x"), id="download"),
    pytest.param(lambda: pos3.upload("s3://bucket/x"), id="upload"),
    pytest.param(lambda: pos3.sync("s3://bucket/x"), id="sync"),
    pytest.param(lambda: pos3.ls("s3://bucket/x"), id="ls"),
    pytest.param(lambda: pos3.plan_download("s3://bucket/x"), id="plan_download"),
    pytest.param(lambda: pos3.plan_upload("s3://bucket/x"), id="plan_upload"),
    pytest.param(pos3.flush, id="flush"),
    pytest.param(pos3.report, id="report"),
    pytest.param(pos3.current_mirror, id="current_mirror"),
    pytest.param(lambda: pos3.download("/tmp"), id="local-path"),
]


@pytest.mark.parametrize("call", EVERY_CALL)
def test_outside_a_mirror_every_call_is_a_runtime_error_that_says_what_to_do(call: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match=r"pos3\.mirror\(\)") as failure:
        call()
    assert isinstance(failure.value, pos3.NoMirrorError)


@pytest.mark.parametrize("call", EVERY_CALL)
def test_after_a_mirror_every_call_is_a_runtime_error(tmp_path: Path, call: Callable[[], object]) -> None:
    with opened(tmp_path):
        pass
    with pytest.raises(RuntimeError):
        call()


def test_a_mirror_opens_without_touching_disk_or_network(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_closed_mirror_cannot_be_used_or_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as mirror:
        pass
    with pytest.raises(pos3.NoMirrorError, match="closed"):
        mirror.download("s3://bucket/x")
    with pytest.raises(pos3.NoMirrorError, match="closed"):
        mirror.open()


def test_one_mirror_object_may_be_entered_again_and_within_itself(rclone_site: S3Site, tmp_path: Path) -> None:
    again = opened(tmp_path)
    with again as outer:
        write_tree(pos3.upload(rclone_site.url("outer")), {"a": b"1"})
        with again as inner:
            assert inner is not outer
            write_tree(pos3.upload(rclone_site.url("inner")), {"a": b"1"})
        assert pos3.current_mirror() is outer
    with again:
        write_tree(pos3.upload(rclone_site.url("later")), {"a": b"1"})
    assert set(rclone_site.keys()) == {"outer/a", "inner/a", "later/a"}


def test_mirrors_nest_and_the_inner_one_is_used_inside(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    with opened(tmp_path) as outer:
        with pos3.mirror(tmp_path / "inner", show_progress=False) as inner:
            assert pos3.current_mirror() is inner
            path = pos3.upload(s3.url("up"))
            write_tree(path, {"x": b"1"})
            assert path.is_relative_to(tmp_path / "inner")
        assert s3.objects("up/") == {"x": b"1"}
        assert pos3.current_mirror() is outer
        assert pos3.download(s3.url("data")).is_relative_to(tmp_path / "cache")


def test_nested_mirrors_may_share_a_cache_and_a_url(s3: S3Site, tmp_path: Path) -> None:
    s3.put("data/a", b"1")
    with opened(tmp_path):
        first = pos3.download(s3.url("data"))
        s3.put("data/a", b"2")
        with opened(tmp_path):
            assert contents(pos3.download(s3.url("data"))) == {"a": b"2"}
        assert pos3.download(s3.url("data")) == first


def test_an_error_in_the_inner_mirror_does_not_end_the_outer_one(s3: S3Site, tmp_path: Path) -> None:
    with opened(tmp_path):
        write_tree(pos3.upload(s3.url("outer")), {"a": b"1"})
        with pytest.raises(ValueError, match="boom"), opened(tmp_path):  # noqa: PT012
            write_tree(pos3.upload(s3.url("inner")), {"a": b"1"})
            raise ValueError("boom")
    assert s3.objects() == {"outer/a": b"1"}


def in_thread(work: Callable[[], object]) -> list[object]:
    """What `work` returned or raised in a thread that shares no context with this one."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome


def test_a_bare_thread_finds_the_only_mirror(tmp_path: Path) -> None:
    with opened(tmp_path) as mirror:
        assert in_thread(pos3.current_mirror) == [mirror]


def test_a_bare_thread_with_several_open_mirrors_is_an_error_that_says_so(tmp_path: Path) -> None:
    with opened(tmp_path), opened(tmp_path) as inner:
        (error,) = in_thread(pos3.current_mirror)
        assert isinstance(error, pos3.NoMirrorError)
        assert "2 mirrors" in str(error)
        assert in_thread(contextvars.copy_context) != []
        copied = contextvars.copy_context()
        assert in_thread(lambda: copied.run(pos3.current_mirror)) == [inner]


def test_activate_gives_a_thread_its_mirror(tmp_path: Path) -> None:
    with opened(tmp_path) as outer, opened(tmp_path):

        def work() -> object:
            with pos3.activate(outer):
                return pos3.current_mirror()

        assert in_thread(work) == [outer]


def test_threads_may_each_have_a_mirror(rclone_site: S3Site, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            with pos3.mirror(tmp_path / f"cache-{number}", show_progress=False):
                barrier.wait(20)
                path = pos3.upload(rclone_site.url(f"up-{number}"))
                assert path.is_relative_to(tmp_path / f"cache-{number}")
                write_tree(path, {"x": b"%d" % number})
                barrier.wait(20)
        except Exception as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rclone_site.objects() == {f"up-{number}/x": b"%d" % number for number in range(4)}


async def test_asyncio_tasks_may_each_have_a_mirror(rclone_site: S3Site, tmp_path: Path) -> None:
    async def work(number: int) -> None:
        with pos3.mirror(tmp_path / f"cache-{number}", show_progress=False) as mirror:
            for _ in range(5):
                await asyncio.sleep(0.01)
                assert pos3.current_mirror() is mirror
            path = await asyncio.to_thread(pos3.upload, rclone_site.url(f"up-{number}"))
            assert path.is_relative_to(tmp_path / f"cache-{number}")

    await asyncio.gather(*(work(number) for number in range(4)))
    with pytest.raises(RuntimeError):
        pos3.current_mirror()


def test_two_mirrors_may_be_closed_in_any_order(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    one = first.__enter__()
    two = second.__enter__()
    first.__exit__(None, None, None)
    assert (one.is_open, two.is_open) == (False, True)
    assert pos3.current_mirror() is two
    second.__exit__(None, None, None)
    with pytest.raises(RuntimeError):
        pos3.current_mirror()


# -- decorators


def test_a_decorated_function_runs_in_a_mirror_of_its_own_at_each_call(s3: S3Site, tmp_path: Path) -> None:
    seen: list[pos3.Mirror] = []

    @pos3.with_mirror(str(tmp_path / "cache"), False)
    def work(number: int, *, word: str = "x") -> str:
        """Says what it does."""
        seen.append(pos3.current_mirror())
        write_tree(pos3.upload(s3.url(f"up-{number}")), {"a": word.encode()})
        return word * number

    assert work(2, word="y") == "yy"
    assert work(3) == "xxx"
    assert seen[0] is not seen[1]
    assert s3.objects() == {"up-2/a": b"y", "up-3/a": b"x"}
    assert (work.__name__, work.__doc__) == ("work", "Says what it does.")
    assert list(inspect.signature(work).parameters) == ["number", "word"]


def test_a_decorated_function_that_fails_uploads_nothing(rclone_site: S3Site, tmp_path: Path) -> None:
    @pos3.with_mirror(str(tmp_path / "cache"), False)
    def work() -> None:
        write_tree(pos3.upload(rclone_site.url("up")), {"a": b"1"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert rclone_site.keys() == {}


async def test_a_decorated_coroutine_runs_in_a_mirror(rclone_site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxied(rclone_site, Latency(seconds=0.5, match=on("PUT")))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.02)
            ticks += 1

    @pos3.with_mirror(str(tmp_path / "cache"), False)
    async def work() -> str:
        write_tree(pos3.upload(rclone_site.url("up")), {"a": b"1"})
        return "done"

    ticking = asyncio.create_task(tick())
    assert await work() == "done"
    ticking.cancel()
    assert ticks >= 10
    assert rclone_site.objects() == {"up/a": b"1"}
    assert inspect.iscoroutinefunction(work)
    with pytest.raises(RuntimeError):
        pos3.current_mirror()


async def test_a_cancelled_coroutine_uploads_nothing_unless_asked_to(rclone_site: S3Site, tmp_path: Path) -> None:
    rclone_site.put("kept/old", b"1")

    @pos3.with_mirror(str(tmp_path / "cache"), False)
    async def work() -> None:
        write_tree(pos3.upload(rclone_site.url("up")), {"a": b"1"})
        write_tree(pos3.upload(rclone_site.url("kept"), sync_on_error=True), {"a": b"1"})
        await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rclone_site.objects() == {"kept/old": b"1", "kept/a": b"1"}


def test_a_decorated_generator_keeps_its_mirror_until_it_ends(rclone_site: S3Site, tmp_path: Path) -> None:
    @pos3.with_mirror(str(tmp_path / "cache"), False)
    def numbers() -> Generator[int, None, None]:
        write_tree(pos3.upload(rclone_site.url("up")), {"a": b"1"})
        yield 1
        assert rclone_site.keys() == {}
        yield 2

    assert list(numbers()) == [1, 2]
    assert rclone_site.objects() == {"up/a": b"1"}
    left = numbers()
    next(left)
    left.close()
    with pytest.raises(RuntimeError):
        pos3.current_mirror()


async def test_a_decorated_async_generator_keeps_its_mirror_until_it_ends(rclone_site: S3Site, tmp_path: Path) -> None:
    @pos3.with_mirror(str(tmp_path / "cache"), False)
    async def numbers() -> AsyncIterator[int]:
        write_tree(pos3.upload(rclone_site.url("up")), {"a": b"1"})
        yield 1
        await asyncio.sleep(0)
        yield 2

    assert [number async for number in numbers()] == [1, 2]
    assert rclone_site.objects() == {"up/a": b"1"}


def test_mirror_itself_can_decorate_as_it_could_in_0_4_0(rclone_site: S3Site, tmp_path: Path) -> None:
    @pos3.mirror(str(tmp_path / "cache"), False)
    def work() -> int:
        write_tree(pos3.upload(rclone_site.url("up")), {"a": b"1"})
        return 7

    assert work() == 7
    assert work() == 7
    assert rclone_site.objects() == {"up/a": b"1"}


def test_importing_pos3_loads_no_cloud_sdk() -> None:
    script = (
        "import sys, pos3\n"
        "with pos3.mirror('/nowhere/at/all'): pass\n"
        "print([m for m in ('boto3', 'botocore', 'pycurl', 'prefect', 'fsspec', 'tqdm') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
    assert os.fspath(Path(pos3.__file__)).endswith("__init__.py")
