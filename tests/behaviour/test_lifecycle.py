"""How mirrors begin and end: exceptions, threads, nesting and decorators."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import Latency, Proxy, S3Site, Status, contents, on, write_tree

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


@pytest.fixture
def in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POS3_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setenv("POS3_SHOW_PROGRESS", "0")


@pytest.mark.usefixtures("in_environment")
async def test_the_decorator_without_parentheses_does_the_same_for_every_kind_of_function(s3: S3Site) -> None:
    def write(name: str) -> str:
        write_tree(pos3.upload(s3.url(name)), {"a": b"1"})
        return name

    @pos3.with_mirror
    def plain(name: str) -> str:
        """Says what it does."""
        return write(name)

    @pos3.with_mirror
    async def coroutine(name: str) -> str:
        return write(name)

    @pos3.with_mirror
    def generator(name: str) -> Generator[str, None, None]:
        yield write(name)

    @pos3.with_mirror
    async def async_generator(name: str) -> AsyncIterator[str]:
        yield write(name)

    class Job:
        @pos3.with_mirror
        def method(self, name: str) -> str:
            return write(name)

    made = [plain("1"), await coroutine("2"), *generator("3"), *[name async for name in async_generator("4")]]
    assert [*made, Job().method(name="5")] == ["1", "2", "3", "4", "5"]
    assert s3.objects() == {f"{number}/a": b"1" for number in range(1, 6)}
    assert (plain.__name__, plain.__doc__) == ("plain", "Says what it does.")
    assert inspect.iscoroutinefunction(coroutine)
    with pytest.raises(RuntimeError):
        pos3.current_mirror()


def test_mirror_as_a_decorator_without_parentheses_names_the_one_that_is_meant() -> None:
    def work() -> None:
        pass

    with pytest.raises(pos3.InvalidArgumentError, match=r"write @pos3\.with_mirror"):
        pos3.mirror(work)  # type: ignore[arg-type]


def test_mirrors_that_are_closed_leave_no_descriptor_open(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"data/{number}": b"x" for number in range(20)})

    def one_mirror(number: int) -> None:
        with pos3.mirror(tmp_path / f"cache{number}", show_progress=False):
            pos3.download(s3.url("data"))
            out = pos3.upload(s3.url(f"out{number}"), interval=None)
            (out / "a").write_bytes(b"1")

    one_mirror(0)
    before = len(os.listdir("/dev/fd"))
    for number in range(1, 6):
        one_mirror(number)
        assert len(os.listdir("/dev/fd")) <= before
