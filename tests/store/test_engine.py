"""The loops that carry requests: cancelling, failures, threads, forks and the interpreter's exit."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pos3.errors import RemoteNotFoundError
from pos3.store import apart
from pos3.store.apart import called_apart, driven
from pos3.store.s3.requests import Request
from pos3.store.s3.slots import Slots
from pos3.store.s3.store import S3Store
from pos3.store.s3.window import Fixed
from pos3.store.tasks import together
from pos3.store.threads import Threads
from tests.faults.base import run_python
from tests.support import Hang, Proxy, S3Site, Trickle, contents, on, write_tree
from tests.support.interrupts import interrupted_at_line
from tests.support.trees import pseudo_random

MIB = 1 << 20
PutBefore = Callable[..., Proxy]


@pytest.fixture
def store(rclone_site: S3Site) -> S3Store:
    return S3Store(rclone_site.bucket, None, 4)


def recording(threads: set[str]) -> Callable[[int], object]:
    """A receiver of progress that records which threads report it."""
    return lambda _: threads.add(threading.current_thread().name)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


def run_in_loop(main: Callable[[], Any]) -> Any:
    loop = asyncio.SelectorEventLoop()
    try:
        return driven(loop, main())
    finally:
        loop.close()


# Cancelling

SIZES = [
    pytest.param(5 * MIB, id="one-piece"),
    pytest.param(40 * MIB, id="ranges-in-several-threads"),
]


@pytest.mark.parametrize("size", SIZES)
def test_a_download_that_is_cancelled_in_the_middle_writes_into_no_file_that_is_opened_afterwards(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore, size: int
) -> None:
    rclone_site.put("x", pseudo_random(size))
    proxied(rclone_site, Trickle(match=on("GET"), bytes_per_second=4 * MIB))
    store = S3Store(rclone_site.bucket, None, 4)
    [listed] = store.entries("x", is_prefix=False)
    moved: list[int] = []

    async def main() -> None:
        task = asyncio.create_task(store.download("x", listed, str(tmp_path / "x"), moved.append))
        await until(lambda: sum(moved) >= MIB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not (tmp_path / "x").exists()
        # They get the numbers of the descriptors that have just been closed.
        others = [os.open(tmp_path / f"other-{number}", os.O_RDWR | os.O_CREAT) for number in range(64)]
        await asyncio.sleep(0.5)
        for descriptor in others:
            assert os.fstat(descriptor).st_size == 0
            os.close(descriptor)

    store.run(main, 4)
    assert sum(moved) == 0


def test_an_upload_that_is_cancelled_in_the_middle_reads_no_file_that_is_opened_afterwards(
    moto_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    proxied(moto_site, Hang(times=None, match=on("PUT ?partNumber")))
    (tmp_path / "x").write_bytes(pseudo_random(40 * MIB))
    store = S3Store(moto_site.bucket, None, 4)
    moved: list[int] = []

    async def main() -> None:
        task = asyncio.create_task(store.upload("x", str(tmp_path / "x"), 40 * MIB, moved.append))
        await until(lambda: sum(moved) > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    store.run(main, 4)
    assert sum(moved) == 0
    store.abort_unfinished(stopped=True)
    assert moto_site.server.uploads(moto_site.bucket) == []


def test_the_connection_of_a_cancelled_request_is_not_used_again(rclone_site: S3Site, proxied: PutBefore) -> None:
    """The rest of its answer would pass for that of the next one."""
    rclone_site.put_all({"large": pseudo_random(5 * MIB), "small": b"1"})
    proxied(rclone_site, Trickle(match=on("GET", key="large"), bytes_per_second=MIB))
    client = S3Store(rclone_site.bucket, None, 1)._client

    async def main() -> bytes:
        task = asyncio.create_task(client.send(Request("GET", "large")))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await client.send(Request("GET", "small"))).body

    assert client.run(main, 1) == b"1"


# Failures


def test_parts_that_fail_at_the_same_moment_are_one_failure_and_no_group(store: S3Store) -> None:
    client = store._client

    async def main() -> None:
        await together([client.send(Request("HEAD", f"nothing-{number}")) for number in range(4)])

    with pytest.raises(RemoteNotFoundError):
        client.run(main, 4)


def test_a_part_that_fails_waits_for_the_others_before_the_transfer_closes_what_they_use() -> None:
    events: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            events.append("slow one has ended")

    async def fails() -> None:
        raise ValueError("broken")

    async def transfer() -> None:
        try:
            await together([slow(), fails()])
        finally:
            events.append("closed")

    with pytest.raises(ValueError, match="broken"):
        run_in_loop(transfer)
    assert events == ["slow one has ended", "closed"]


@pytest.mark.parametrize("size", [10, 5 * MIB, 40 * MIB], ids=["small", "one-piece", "ranges"])
def test_what_ends_a_thread_comes_out_of_the_loop_and_leaves_nothing_behind(
    rclone_site: S3Site, tmp_path: Path, store: S3Store, size: int
) -> None:
    rclone_site.put("x", pseudo_random(size))
    [listed] = store.entries("x", is_prefix=False)

    def leave(size_bytes: int) -> None:
        if size_bytes > 0:
            raise SystemExit

    with pytest.raises(SystemExit):
        store.run(lambda: store.download("x", listed, str(tmp_path / "x"), leave), 4)
    assert list(tmp_path.iterdir()) == []
    store.run(lambda: store.download("x", listed, str(tmp_path / "x")), 4)
    assert (tmp_path / "x").stat().st_size == size


def test_requests_that_begin_while_all_requests_are_looked_at_get_their_answers_at_once(
    rclone_site: S3Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each second, libcurl looks at all requests. It may send new ones then, and their sockets must be watched."""
    rclone_site.put("x", b"1")
    client = S3Store(rclone_site.bucket, None, 4)._client
    monkeypatch.setattr("pos3.store.s3.engine._GLANCE_SECONDS", 3600.0)

    async def main() -> list[bytes]:
        engine = client.runs[asyncio.get_running_loop()].engine
        await together([client.send(Request("GET", "x")) for _ in range(4)])
        tasks = [asyncio.create_task(client.send(Request("GET", "x"))) for _ in range(4)]
        # Now libcurl has the requests, and was not called yet.
        await asyncio.sleep(0)
        engine._all_driven_at = -math.inf
        engine._rung()
        return [response.body for response in await asyncio.wait_for(asyncio.gather(*tasks), 5)]

    assert client.run(main, 4) == [b"1"] * 4


# Slots


def test_slots_are_given_in_turn_and_those_of_who_was_cancelled_to_the_next() -> None:
    slots, got = Slots(Fixed(1)), []

    async def use(name: str) -> None:
        await slots.take()
        try:
            got.append(name)
            await asyncio.sleep(0.01)
        finally:
            slots.give_back()

    async def main() -> None:
        tasks = {name: asyncio.create_task(use(name)) for name in "abcd"}
        await asyncio.sleep(0)
        tasks["b"].cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert slots.is_taken_at_once()

    run_in_loop(main)
    assert got == ["a", "c", "d"]


def test_who_begins_something_new_waits_until_nobody_waits_for_a_slot() -> None:
    slots, events = Slots(Fixed(1)), []

    async def begin() -> None:
        await slots.room()
        events.append("new")

    async def use() -> None:
        await slots.take()
        events.append("used")
        await asyncio.sleep(0.01)
        slots.give_back()

    async def main() -> None:
        assert slots.is_taken_at_once()
        tasks = [asyncio.create_task(each()) for each in (begin, use, use)]
        await asyncio.sleep(0)
        slots.give_back()
        await asyncio.gather(*tasks)

    run_in_loop(main)
    assert events == ["used", "used", "new"]


# Threads


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("pos3")}


def test_large_uploads_are_moved_by_several_threads_which_are_gone_afterwards(
    rclone_site: S3Site, tmp_path: Path, store: S3Store
) -> None:
    (tmp_path / "x").write_bytes(pseudo_random(64 * MIB))
    threads: set[str] = set()
    moved = recording(threads)
    store.run(lambda: store.upload("x", str(tmp_path / "x"), 64 * MIB, moved), 4)
    assert len(threads) == min(4, os.cpu_count() or 1)
    assert not names_of_threads()
    assert rclone_site.objects()["x"] == (tmp_path / "x").read_bytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_large_bodies_are_begun_than_requests_may_be_in_flight(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Each one that has begun holds a block of its file."""
    monkeypatch.setattr("pos3.store.s3.http._MOST_THREADS", threads)
    begun: set[int] = set()
    peak, client = 0, store._client

    async def body(number: int) -> None:
        nonlocal peak
        begun.add(number)
        peak = max(peak, len(begun))
        await asyncio.sleep(0.01)
        begun.discard(number)

    async def main() -> None:
        await together([client.spread(body, number) for number in range(40)])

    store.run(main, 4)
    assert peak == 4


def test_large_downloads_are_moved_by_one_thread(rclone_site: S3Site, tmp_path: Path, store: S3Store) -> None:
    """Each piece of 16 KiB needs the GIL, so several threads need more processor time, and are not faster."""
    data = pseudo_random(64 * MIB)
    rclone_site.put("x", data)
    [listed] = store.entries("x", is_prefix=False)
    threads: set[str] = set()
    store.run(lambda: store.download("x", listed, str(tmp_path / "x"), recording(threads)), 4)
    assert threads == {threading.current_thread().name}
    assert (tmp_path / "x").read_bytes() == data


def test_a_listing_that_is_left_ends_its_thread(rclone_site: S3Site, store: S3Store) -> None:
    rclone_site.put_all(dict.fromkeys((f"data/{number:04}" for number in range(1010)), b""))
    listing = store.entries("data", is_prefix=True)
    assert next(listing).path == "0000"
    assert names_of_threads() == {"pos3-listing"}
    listing.close()  # type: ignore[attr-defined]
    assert not names_of_threads()


def test_a_store_can_be_asked_in_the_middle_of_a_running_loop(
    rclone_site: S3Site, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, say; also where the system has no room for another thread."""
    rclone_site.put_all({"data/x": b"1"})

    async def main() -> list[str]:
        before = [entry.path for entry in store.entries("data", is_prefix=True)]

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert store.survey("data").is_prefix
        return before + [entry.path for entry in store.entries("data", is_prefix=True)]

    assert asyncio.run(main()) == ["x", "x"]


def test_a_call_that_is_interrupted_is_asked_to_end_and_waited_for() -> None:
    stop, events = threading.Event(), []

    def call() -> None:
        stop.wait(10)
        events.append("ended")

    def interrupt() -> None:
        time.sleep(0.2)
        import _thread

        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        called_apart(call, stop.set)
    assert events == ["ended"]


def test_who_is_interrupted_at_any_line_does_not_wait_for_a_call_that_has_ended() -> None:
    number, hit = 0, ["the first"]
    while hit:
        number += 1
        with interrupted_at_line(number, apart.__file__) as hit, suppress(KeyboardInterrupt):
            began = time.monotonic()
            called_apart(lambda: None, lambda: None)
        assert time.monotonic() - began < 1, hit
    assert number > 10


def test_calls_that_block_are_made_in_at_most_so_many_threads_and_are_waited_for_when_cancelled() -> None:
    threads, events = Threads(2), []

    def call(seconds: float) -> str:
        time.sleep(seconds)
        events.append(seconds)
        return threading.current_thread().name

    async def main() -> None:
        names = await asyncio.gather(*(threads.call(call, 0.01) for _ in range(10)))
        assert set(names) == {"pos3-blocking-0", "pos3-blocking-1"}
        with pytest.raises(ZeroDivisionError):
            await threads.call(lambda: 1 // 0)
        task = asyncio.create_task(threads.call(call, 0.3))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events[-1] == 0.3
        threads.close()

    run_in_loop(main)


# Forks

FORK = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[4])
from pos3.store.s3.store import S3Store
from pos3.store.s3.window import Fixed
store = S3Store(sys.argv[1], None, 4)
[large] = store.entries("large", is_prefix=False)
moved = []
def download():
    store.run(lambda: store.download("large", large, sys.argv[2], moved.append), 4)
thread = threading.Thread(target=download)
thread.start()
while not moved:
    time.sleep(0.01)
inherited = {
    known for run in store._client.runs.values() for known in run.engine._known_sockets.values()
}
assert inherited
child = os.fork()
if child == 0:
    held = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            status = os.stat(f"/proc/self/fd/{name}")
        except OSError:
            continue
        held.add((status.st_dev, status.st_ino))
    assert not inherited & held
    store.run(lambda: store.download("large", large, sys.argv[3]), 4)
    # Not os._exit: the child's interpreter ends as any other does.
    sys.exit(0 if os.stat(sys.argv[3]).st_size == large.size_bytes else 1)
assert os.waitpid(child, 0)[1] == 0
began = time.thread_time()
thread.join()
assert os.stat(sys.argv[2]).st_size == large.size_bytes
print("done")
"""


def test_a_child_that_is_forked_in_the_middle_of_a_download_holds_no_connection_of_its_parent(
    rclone_site: S3Site, tmp_path: Path, proxied: PutBefore
) -> None:
    data = pseudo_random(20 * MIB)
    rclone_site.put("large", data)
    proxy = proxied(rclone_site, Trickle(match=on("GET"), bytes_per_second=8 * MIB))
    here, there = tmp_path / "parent", tmp_path / "child"
    program = run_python(FORK, rclone_site.bucket, here, there, os.getcwd())
    output, _ = program.communicate(timeout=60)
    assert output == "done\n"
    assert here.read_bytes() == there.read_bytes() == data
    # Nothing was broken off and asked for again.
    assert proxy.count("GET") == 2 * 3


# The interpreter's exit

AT_EXIT = """
import atexit, sys, pos3
def push():
    with pos3.mirror(sys.argv[1], show_progress=False):
        pos3.upload(sys.argv[2], sys.argv[3], interval=None)
        (pos3.download(sys.argv[2] + "-back") / "seen").write_bytes(b"1")
atexit.register(push)
"""


def test_long_bodies_are_moved_while_the_interpreter_exits(rclone_site: S3Site, tmp_path: Path) -> None:
    files = {"large": pseudo_random(17 << 20), "medium": pseudo_random(1 << 20)}
    rclone_site.put_all({f"out-back/{name}": data for name, data in files.items()})
    out = write_tree(tmp_path / "out", files)
    program = run_python(AT_EXIT, tmp_path / "cache", rclone_site.url("out"), out)
    output, _ = program.communicate(timeout=60)
    assert output == ""
    assert rclone_site.objects("out/") == files
    [seen] = (tmp_path / "cache").rglob("seen")
    assert contents(seen.parent) == files | {"seen": b"1"}
