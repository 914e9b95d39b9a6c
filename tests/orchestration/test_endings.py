"""How a run can end otherwise than well: then nothing is deleted, and only what asks for it is pushed."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from uuid import UUID

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import pause_flow_run, resume_flow_run, suspend_flow_run
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry, Completed, Failed

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import Mirrors, eventually
from tests.support import S3Site


@pytest.fixture
def stale(rclone_site: S3Site) -> S3Site:
    """A site where a clean end of ``write`` deletes ``out/stale`` and ``log/stale``."""
    rclone_site.put_all({"out/stale": b"old", "log/stale": b"old"})
    return rclone_site


def write(site: S3Site) -> None:
    (pos3.upload(site.url("out")) / "new").write_text("new")
    (pos3.upload(site.url("log"), sync_on_error=True) / "new").write_text("new")


TIMEOUT_SECONDS = 2.5
"""Enough to write first, also on a busy machine."""

UNTOUCHED = {"out/stale", "log/stale", "log/new"}
"""What is there after an end that was not clean."""


def test_a_clean_end_pushes_and_deletes(stale: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> None:
        write(stale)

    learn()
    assert set(stale.keys()) == {"out/new", "log/new"}


def test_an_exception_pushes_only_sync_on_error_and_stays_visible(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache, retries=1)
    def learn() -> None:
        write(stale)
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        learn()
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


@pytest.mark.parametrize("retries", [0, 1])
def test_a_returned_failed_state_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors, retries: int) -> None:
    @pos3_flow(cache_root=cache, retries=retries)
    def learn() -> object:
        write(stale)
        return Failed(message="judged bad")

    assert not learn(return_state=True).is_completed()
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


def test_a_returned_completed_state_is_a_clean_end(stale: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> object:
        write(stale)
        return Completed(message="judged good")

    assert learn(return_state=True).is_completed()
    assert set(stale.keys()) == {"out/new", "log/new"}


def test_a_returned_future_that_failed_deletes_nothing(stale: S3Site, cache: Path) -> None:
    @task
    def fail() -> None:
        time.sleep(0.2)
        raise ValueError("in a task")

    @pos3_flow(cache_root=cache)
    def learn() -> object:
        write(stale)
        return [fail.submit()]

    assert learn(return_state=True).is_failed()
    assert set(stale.keys()) == UNTOUCHED


def test_a_timeout_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache, timeout_seconds=TIMEOUT_SECONDS)
    def learn() -> None:
        write(stale)
        for _ in range(200):
            time.sleep(0.05)

    assert learn(return_state=True).name == "TimedOut"
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


async def test_a_timeout_of_an_async_flow_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache, timeout_seconds=TIMEOUT_SECONDS)
    async def learn() -> None:
        write(stale)
        await asyncio.sleep(30)

    assert (await learn(return_state=True)).name == "TimedOut"
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


def test_a_retry_after_a_timeout_has_the_same_mirror(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    attempts = []

    @pos3_flow(cache_root=cache, timeout_seconds=TIMEOUT_SECONDS, retries=1)
    def learn() -> None:
        attempts.append(1)
        write(stale)
        while len(attempts) == 1:
            time.sleep(0.05)

    state = learn(return_state=True)
    if state.is_scheduled():
        pytest.skip("this Prefect leaves a run that timed out waiting for its retry")
    assert state.is_completed()
    assert len(mirrors.opened) == 1
    assert set(stale.keys()) == {"out/new", "log/new"}


def test_a_task_that_times_out_is_the_flows_to_judge(stale: S3Site, cache: Path) -> None:
    @task(timeout_seconds=0.3)
    def slow() -> None:
        for _ in range(100):
            time.sleep(0.05)

    @pos3_flow(cache_root=cache)
    def learn(forgives: bool) -> object:
        write(stale)
        state = slow(return_state=True)
        return None if forgives else state

    assert learn(False, return_state=True).is_failed()
    assert set(stale.keys()) == UNTOUCHED
    assert learn(True, return_state=True).is_completed()
    assert set(stale.keys()) == {"out/new", "log/new"}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors, kind: type[BaseException]) -> None:
    @pos3_flow(cache_root=cache, retries=3)
    def learn() -> None:
        write(stale)
        raise kind

    with pytest.raises(kind):
        learn()
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


async def test_a_cancelled_async_flow_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    has_written = asyncio.Event()

    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        write(stale)
        has_written.set()
        await asyncio.sleep(30)

    running = asyncio.create_task(learn())
    await has_written.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


def test_a_paused_run_keeps_its_mirror_and_pushes_in_the_background(
    stale: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    seen = []

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        before = pos3.current_mirror()
        log = pos3.upload(stale.url("log"), interval=0.2)
        (log / "paused").write_text("x")
        run_ids.put(flow_run.id)
        pause_flow_run(timeout=60, poll_interval=1)
        seen.append((before, pos3.current_mirror()))
        (log / "resumed").write_text("x")

    def resume() -> set[str]:
        run_id = UUID(run_ids.get(timeout=60))
        eventually(lambda: "log/paused" in stale.keys())
        with get_client(sync_client=True) as client:
            eventually(lambda: client.read_flow_run(run_id).state_name == "Paused")
        resume_flow_run(run_id)
        return set(stale.keys())

    run_ids: SimpleQueue[str] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        resuming = pool.submit(resume)
        learn()
    assert resuming.result() == {"out/stale", "log/stale", "log/paused"}
    assert seen == [(mirrors.opened[0],) * 2]
    assert set(stale.keys()) == {"out/stale", "log/paused", "log/resumed"}


def test_a_pause_that_nobody_ends_deletes_nothing(stale: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> None:
        write(stale)
        pause_flow_run(timeout=1, poll_interval=1)

    assert learn(return_state=True).is_failed()
    assert set(stale.keys()) == UNTOUCHED


def test_a_run_that_is_run_again_later_has_a_new_mirror(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    attempts = []

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        attempts.append(1)
        write(stale)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(learn)
        assert run_flow(learn, flow_run=run, return_type="state").is_failed()
        assert set(stale.keys()) == UNTOUCHED
        # As the button "Retry" of the UI does.
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        assert run_flow(learn, flow_run=client.read_flow_run(run.id), return_type="state").is_completed()
    assert len(mirrors.opened) == 2
    assert set(stale.keys()) == {"out/new", "log/new"}


def test_a_suspended_run_pushes_everything_and_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> None:
        write(stale)
        suspend_flow_run(timeout=60)

    with get_client(sync_client=True) as client:
        # Only runs of deployments can be suspended.
        deployment_id = client.create_deployment(flow_id=client.create_flow(learn), name="suspended")
        run = client.create_flow_run_from_deployment(deployment_id)
        with pytest.raises(Pause):
            run_flow(learn, flow_run=run)
        assert client.read_flow_run(run.id).state_name == "Suspended"
    assert set(stale.keys()) == {"out/stale", "out/new", "log/stale", "log/new"}
    assert not mirrors.still_open


def test_a_generator_that_is_exhausted_ends_cleanly(stale: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn():
        write(stale)
        yield 1
        yield 2

    assert list(learn()) == [1, 2]
    assert set(stale.keys()) == {"out/new", "log/new"}


async def test_an_async_generator_that_is_exhausted_ends_cleanly(stale: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    async def learn():
        write(stale)
        yield 1
        yield 2

    assert [item async for item in learn()] == [1, 2]
    assert set(stale.keys()) == {"out/new", "log/new"}


def test_a_generator_that_is_left_early_deletes_nothing(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache)
    def learn():
        write(stale)
        yield 1
        yield 2

    items = learn()
    assert next(items) == 1
    items.close()
    assert set(stale.keys()) == UNTOUCHED
    assert not mirrors.still_open


async def test_an_async_generator_that_is_left_early_deletes_nothing(stale: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    async def learn():
        write(stale)
        yield 1
        yield 2

    items = learn()
    assert await anext(items) == 1
    # Prefect 3.9.1 calls a method that asynchronous generators do not have, in plain flows as well.
    with suppress(AttributeError):
        await items.aclose()
    assert set(stale.keys()) == UNTOUCHED


def test_the_consumer_of_a_generator_does_not_see_its_mirror(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache)
    def learn():
        yield pos3.current_mirror()
        yield pos3.current_mirror()

    with pos3.mirror(cache_root=cache) as outer:
        for inner in learn():
            assert pos3.current_mirror() is outer
            assert inner is mirrors.opened[1]


def test_a_failing_generator_is_retried_with_the_same_mirror(stale: S3Site, cache: Path, mirrors: Mirrors) -> None:
    attempts = []

    @pos3_flow(cache_root=cache, retries=1)
    def learn():
        attempts.append(1)
        write(stale)
        yield len(attempts)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    assert list(learn()) == [1, 2]
    assert len(mirrors.opened) == 1
    assert set(stale.keys()) == {"out/new", "log/new"}


def test_an_upload_that_offline_mode_keeps_fails_the_run_and_downloads_alone_do_not(
    rclone_site: S3Site, cache: Path
) -> None:
    rclone_site.put("data/x", b"1")

    @pos3_flow(cache_root=cache)
    def read() -> bytes:
        return (pos3.download(rclone_site.url("data")) / "x").read_bytes()

    @pos3_flow(cache_root=cache, offline=True)
    def write_offline() -> None:
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")

    assert read() == b"1"
    assert read.with_options(mirror={"offline": True})() == b"1"
    with pytest.raises(pos3.OfflineError, match=r"out: .*1 file \(3 B\)"):
        write_offline()
    assert not rclone_site.keys("out/")
