"""A mirror that is served to other processes, and what a task does when that mirror goes away."""

from __future__ import annotations

import inspect
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import pos3
import pos3.errors
from pos3.orchestration.remote.address import MirrorAddress
from pos3.orchestration.remote.broker import Broker, portable
from pos3.orchestration.remote.proxies import BrokeredMirror, MirrorGoneError
from pos3.orchestration.remote.task_mirrors import TaskMirror
from pos3.orchestration.storing import OtherProcess, PreCommitPushes, RegistrationLog
from tests.support import Latency, Proxy, S3Site, on

# The children call into sockets only.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ERRORS = [each for _, each in inspect.getmembers(pos3.errors, inspect.isclass) if issubclass(each, pos3.Pos3Error)]


@pytest.fixture
def served(cache: Path) -> Iterator[tuple[pos3.Mirror, Broker, BrokeredMirror]]:
    with pos3.mirror(cache_root=cache, show_progress=False) as mirror:
        broker = Broker(mirror, PreCommitPushes(mirror, RegistrationLog()), uuid.uuid4())
        yield mirror, broker, BrokeredMirror(broker.address)
        broker.close()


Served = tuple[pos3.Mirror, Broker, BrokeredMirror]


def in_child(act: Callable[[], object]) -> int:
    """The exit status of a forked child that calls ``act``: 0 if that returned, 1 if it raised."""
    child = os.fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_its_message_and_notes(kind: type[pos3.Pos3Error]) -> None:
    failure = pos3.AccessDeniedError("s3://b/k: no")
    made = {
        pos3.UnsafeKeysError: lambda: pos3.UnsafeKeysError("s3://b", ["a/../b: leaves the directory"]),
        pos3.TransferError: lambda: pos3.TransferError("Upload", [failure]),
    }.get(kind, lambda: kind("s3://b: what and why"))()
    made.add_note("a note")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is kind
    assert str(again) == str(made)
    assert again.__notes__ == ["a note"]
    assert [str(each) for each in getattr(again, "failures", [])] == [
        str(each) for each in getattr(made, "failures", [])
    ]


def test_errors_that_cannot_be_pickled_arrive_as_the_nearest_that_can() -> None:
    class LocalError(Exception):
        pass

    error = pos3.TransferError("Upload", [LocalError("odd"), pos3.AccessDeniedError("no")])
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(portable(error)))
    assert type(again) is pos3.TransferError
    assert str(again.failures[0]) == "LocalError: odd"
    assert type(again.failures[1]) is pos3.AccessDeniedError
    assert again.__notes__ == ["a note"]


def test_the_socket_is_its_users_alone_and_goes_with_the_broker(served: Served) -> None:
    _, broker, _ = served
    path = Path(broker.address.socket)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    broker.close()
    assert not path.exists()
    assert "pos3-broker" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_cannot_connect(served: Served) -> None:
    _, broker, client = served

    def as_nobody() -> None:
        os.setuid(65534)
        with pytest.raises(MirrorGoneError, match=r"this user alone|denied"):
            client.report()
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_UNIX).connect(broker.address.socket)

    assert in_child(as_nobody) == 0


def test_a_socket_that_others_could_have_put_there_is_not_trusted(served: Served, tmp_path: Path) -> None:
    _, broker, _ = served
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    os.link(broker.address.socket, tmp_path / "open" / "s.sock")
    with pytest.raises(MirrorGoneError, match="not a directory of this user alone"):
        BrokeredMirror(MirrorAddress(broker.address.flow_run_id, str(tmp_path / "open" / "s.sock"))).report()


def test_a_caller_for_another_flow_run_gets_nothing(served: Served) -> None:
    _, broker, client = served
    with pytest.raises(MirrorGoneError, match="cannot be reached"):
        BrokeredMirror(MirrorAddress(uuid.uuid4(), broker.address.socket)).report()
    assert client.report() == pos3.Report()


def test_a_long_temporary_directory_is_passed_over(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pos3.mirror(cache_root=cache, show_progress=False) as mirror:
        broker = Broker(mirror, PreCommitPushes(mirror, RegistrationLog()), uuid.uuid4())
        assert BrokeredMirror(broker.address).report() == pos3.Report()
        broker.close()
    assert not list(long.iterdir())


def test_the_socket_of_a_dead_process_is_removed_and_that_of_a_live_one_is_not(served: Served, cache: Path) -> None:
    _, broker, client = served
    live = Path(broker.address.socket)
    dead = live.with_name(f"{live.name[:9]}{'0' * 16}.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(dead))
    for path in (live, dead):
        os.utime(path, (0, 0))
    with pos3.mirror(cache_root=cache, show_progress=False) as mirror:
        Broker(mirror, PreCommitPushes(mirror, RegistrationLog()), uuid.uuid4()).close()
    assert not dead.exists()
    assert client.report() == pos3.Report()


def test_calls_of_many_processes_at_once_are_one_download(
    rclone_site: S3Site, proxied: Callable[..., Proxy], cache: Path
) -> None:
    rclone_site.put("in/file", b"text")
    proxy = proxied(rclone_site, Latency(0.5, match=on("GET")))
    with pos3.mirror(cache_root=cache, show_progress=False) as mirror:
        broker = Broker(mirror, PreCommitPushes(mirror, RegistrationLog()), uuid.uuid4())
        client = BrokeredMirror(broker.address)
        statuses: list[int] = []

        def download() -> None:
            assert (client.download(rclone_site.url("in")) / "file").read_text() == "text"

        def ask() -> None:
            statuses.append(in_child(download))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        broker.close()
    assert statuses == [0] * 8
    assert proxy.count("GET") == 1


def test_another_process_divides_a_url_and_downloads_a_part_by_the_mirror(rclone_site: S3Site, served: Served) -> None:
    rclone_site.put_all({f"in/{name}": b"text" for name in "abcd"})
    mirror, _, client = served

    def work() -> None:
        parts = client.partition(rclone_site.url("in"), parts=2)
        data = client.download(parts[0])
        assert client.download(str(parts[0])) == data
        assert [path.name for path in sorted(data.iterdir())] == ["a", "b"]
        assert client.ls(parts[1]) == [rclone_site.url("in/c"), rclone_site.url("in/d")]
        assert client.plan_download(parts[0]).to_copy == []

    assert in_child(work) == 0
    assert mirror.report().downloaded_files == 2


def test_a_killed_caller_leaves_nothing_behind(
    rclone_site: S3Site, proxied: Callable[..., Proxy], served: Served
) -> None:
    rclone_site.put("in/file", b"text")
    proxied(rclone_site, Latency(1, match=on("GET")))
    _, _, client = served
    before = psutil.Process().num_fds(), threading.active_count()
    child = os.fork()
    if not child:
        client.download(rclone_site.url("in"))
        os._exit(0)
    wait_until(lambda: threading.active_count() > before[1])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (client.download(rclone_site.url("in")) / "file").read_text() == "text"
    wait_until(lambda: not any(thread.name == "pos3-broker-call" for thread in threading.enumerate()))


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_forked_child_of_the_flows_process_does_not_keep_callers_waiting(cache: Path, tmp_path: Path) -> None:
    """It holds the same sockets; a caller must see them end with the process that serves them."""
    program = f"""
import os, time, uuid, pos3
from pos3.orchestration.remote.broker import Broker
from pos3.orchestration.storing import OtherProcess, PreCommitPushes, RegistrationLog
mirror = pos3.Mirror(pos3.MirrorOptions({str(cache)!r}, show_progress=False)).open()
broker = Broker(mirror, PreCommitPushes(mirror, RegistrationLog()), uuid.uuid4())
child = os.fork()
if child:
    print(broker.address.flow_run_id, broker.address.socket, child, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    run_id, path, child = parent.stdout.readline().split()
    try:
        client = BrokeredMirror(MirrorAddress(uuid.UUID(run_id), path))
        assert client.report() == pos3.Report()
        parent.kill()
        parent.wait()
        with pytest.raises(MirrorGoneError):
            client.report()
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.stdout.close()
        os.unlink(path)


def test_calls_under_way_when_the_broker_closes_get_their_reply_and_later_ones_an_error(
    rclone_site: S3Site, proxied: Callable[..., Proxy], served: Served
) -> None:
    rclone_site.put("in/file", b"text")
    proxy = proxied(rclone_site, Latency(1, match=on("GET")))
    _, broker, client = served
    got: list[Path] = []
    caller = threading.Thread(target=lambda: got.append(client.download(rclone_site.url("in"))))
    caller.start()
    wait_until(lambda: proxy.count("LIST") > 0)
    broker.pause()
    with pytest.raises(MirrorGoneError, match="closing"):
        client.report()
    broker.resume()
    assert isinstance(client.report(), pos3.Report)
    broker.close()
    with pytest.raises(MirrorGoneError, match="cannot be reached"):
        client.report()
    caller.join()
    assert (got[0] / "file").read_text() == "text"


Leave = Callable[[Broker], Any]


@pytest.mark.parametrize("leave", [Broker.pause, Broker.close])
def test_a_task_whose_flow_ends_meanwhile_pushes_by_itself(
    leave: Leave, rclone_site: S3Site, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow's mirror has pushed for the last time, and the task goes on writing."""
    rclone_site.put_all({"both/kept": b"old", "out/of-others": b"x"})
    mirror, broker, client = served
    opened: list[pos3.Mirror] = []

    def open_own(_: MirrorGoneError) -> pos3.Mirror:
        # Elsewhere than the flow's: what is pushed must be where the task was told to write.
        options = pos3.MirrorOptions(tmp_path / "another", show_progress=False)
        opened.append(pos3.Mirror(options).open())
        return opened[-1]

    task = TaskMirror(client, open_own)
    monkeypatch.chdir(tmp_path)
    out, both = task.upload(rclone_site.url("out"), "out"), task.sync(rclone_site.url("both"))
    (out / "first").write_text("1")
    mirror.finish(delete=False)
    leave(broker)
    (out / "second").write_text("2")
    (both / "kept").write_text("new")
    task.finish()
    task.close(None)
    assert rclone_site.objects() == {
        "out/of-others": b"x",
        "out/first": b"1",
        "out/second": b"2",
        "both/kept": b"new",
    }
    assert len(opened) == 1
    assert not opened[0].is_open
    with pytest.raises(pos3.NoMirrorError):
        task.download(rclone_site.url("out"))


def test_a_task_that_ends_while_its_flow_goes_on_leaves_the_push_to_it(rclone_site: S3Site, served: Served) -> None:
    _, _, client = served

    def never(gone: MirrorGoneError) -> pos3.Mirror:
        raise gone

    task = TaskMirror(client, never)
    (task.upload(rclone_site.url("out"), interval=None) / "file").write_text("x")
    task.finish()
    task.close(None)
    assert not rclone_site.keys()
    served[0].finish()
    assert rclone_site.objects() == {"out/file": b"x"}


GARBAGE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00" * 100,
    b"\xff" * 100,
    b"",
    # After the right greeting: no pickle, one of what is not here, one of no call, one that is longer than any call.
    *(
        len(content).to_bytes(4, "big") + content
        for content in (
            b"",
            b"\x80\x05no",
            b"cno_such_module\nthing\n.",
            pickle.dumps(None),
            pickle.dumps(([], {})),
            pickle.dumps(("report", 1)),
            pickle.dumps((1, 2, 3)),
            pickle.dumps((1, 2, 3, 4)),
            pickle.dumps(("report", {}, OtherProcess.TASK, "no run")),
        )
    ),
    (0x7FFFFFFF).to_bytes(4, "big"),
    b"\xff\xff\xff\xff" + (1 << 60).to_bytes(8, "big"),
)


def test_garbage_on_the_socket_is_quiet(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    """A thread that fails is a warning, and so an error, in tests."""
    _, broker, brokered = served
    greeting = broker.address.flow_run_id.bytes
    for begin in (b"", len(greeting).to_bytes(4, "big") + greeting):
        for garbage in GARBAGE:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(10)
                caller.connect(broker.address.socket)
                # It may hang up before it has read everything.
                with suppress(ConnectionError):
                    caller.sendall(begin + garbage)
                    caller.shutdown(socket.SHUT_WR)
                    assert caller.recv(1) == b""
    assert brokered.report().is_empty
    wait_until(lambda: not any(thread.name == "pos3-broker-call" for thread in threading.enumerate()))
    assert capfd.readouterr().err == ""
