"""pos3 inside tasks of the thread runner, and the ready-made tasks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prefect import task, unmapped
from prefect.futures import PrefectFuture

import pos3
from pos3.orchestration import download_task, flush_task, ls_task, pos3_flow, sync_task, upload_task
from tests.orchestration.conftest import Mirrors
from tests.support import S3Site


@task
def read(url: str) -> str:
    return (pos3.download(url) / "file").read_text()


@task
async def aread(url: str) -> str:
    return (pos3.download(url) / "file").read_text()


@task
def put(url: str, text: str) -> Path:
    path = pos3.upload(url)
    (path / "file").write_text(text)
    return path


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({f"in/{name}/file": name.encode() for name in "abcd"})
    return rclone_site


def test_tasks_of_a_sync_flow_use_its_mirror_however_they_are_started(
    site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> list[str]:
        urls = [site.url(f"in/{name}") for name in "abcd"]
        called = read(urls[0])
        submitted = read.submit(urls[1]).result()
        mapped = read.map(urls[2:3]).result()
        return [called, submitted, *mapped, aread.submit(urls[3]).result()]

    assert learn() == ["a", "b", "c", "d"]
    assert len(mirrors.opened) == 1


async def test_tasks_of_an_async_flow_use_its_mirror_however_they_are_started(
    site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    @pos3_flow(cache_root=cache)
    async def learn() -> list[str]:
        urls = [site.url(f"in/{name}") for name in "abcd"]
        called = read(urls[0])
        awaited = await aread(urls[1])
        mapped = read.map(urls[2:3]).result()
        return [called, awaited, *mapped, aread.submit(urls[3]).result()]

    assert await learn() == ["a", "b", "c", "d"]
    assert len(mirrors.opened) == 1


def test_a_task_of_a_task_uses_the_mirror(site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @task
    def outer() -> list[str]:
        return [read(site.url("in/a")), read.submit(site.url("in/b")).result()]

    @pos3_flow(cache_root=cache)
    def learn() -> list[str]:
        return outer.submit().result()

    assert learn() == ["a", "b"]
    assert len(mirrors.opened) == 1


def test_a_retried_task_finds_what_its_first_try_registered(site: S3Site, cache: Path) -> None:
    tries = []

    @task(retries=1)
    def train() -> None:
        out = pos3.upload(site.url("out"))
        tries.append(out)
        (out / f"try-{len(tries)}").write_text("x")
        if len(tries) == 1:
            raise RuntimeError("not yet")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        train.submit().result()

    learn()
    assert tries[0] == tries[1]
    assert set(site.keys("out/")) == {"out/try-1", "out/try-2"}


def test_tasks_that_nobody_waits_for_are_done_before_the_final_push(site: S3Site, cache: Path) -> None:
    @task
    def slow(url: str, text: str) -> None:
        path = pos3.upload(url)
        time.sleep(0.5)
        (path / "file").write_text(text)

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        slow.map([site.url(f"out/{name}") for name in "abc"], unmapped("text"))

    learn()
    assert set(site.keys("out/")) == {"out/a/file", "out/b/file", "out/c/file"}


async def test_tasks_that_nobody_awaits_are_done_before_the_final_push(site: S3Site, cache: Path) -> None:
    @task
    def slow(url: str) -> None:
        time.sleep(0.5)
        (pos3.upload(url) / "file").write_text("x")

    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        slow.submit(site.url("out/a"))

    await learn()
    assert set(site.keys("out/")) == {"out/a/file"}


def test_a_failed_task_that_nobody_looks_at_does_not_fail_the_run(site: S3Site, cache: Path) -> None:
    @task
    def fail() -> None:
        raise ValueError("mine")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        put(site.url("out"), "x")
        fail.submit()

    assert learn(return_state=True).is_completed()
    assert site.get("out/file") == b"x"


def test_a_returned_future_that_completed_is_a_clean_end(site: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> PrefectFuture[Path]:
        return put.submit(site.url("out"), "x")

    assert learn(return_state=True).is_completed()
    assert site.get("out/file") == b"x"


def test_the_ready_made_tasks_do_what_the_functions_do(site: S3Site, cache: Path) -> None:
    seen = {}

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        data = download_task.submit(site.url("in/a"))
        (upload_task(site.url("out")) / "file").write_text("out")
        (sync_task(site.url("in/b")) / "more").write_text("more")
        seen["data"] = (data.result() / "file").read_text()
        seen["flushed"] = flush_task().uploaded_files
        seen["keys"] = set(site.keys())
        seen["listed"] = ls_task(site.url("in"))

    learn()
    assert seen["data"] == "a"
    assert seen["flushed"] == 2
    assert {"out/file", "in/b/more"} <= seen["keys"]
    assert seen["listed"] == [site.url(f"in/{name}") for name in "abcd"]
    assert site.get("in/b/more") == b"more"


def test_the_ready_made_tasks_are_named_after_what_they_move(site: S3Site, cache: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter
    from prefect.runtime import flow_run

    @pos3_flow(cache_root=cache)
    def learn() -> str:
        download_task(site.url("in/a"))
        flush_task()
        return str(flow_run.id)

    run_id = learn()
    wanted = TaskRunFilter.model_validate({"flow_run_id": {"any_": [run_id]}})
    names: set[str] = set()
    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while len(names) < 2 and time.monotonic() < deadline:
            names = {run.name for run in client.read_task_runs(task_run_filter=wanted)}
    assert names == {f"download {site.url('in/a')}", "flush everything"}


def test_results_of_the_ready_made_tasks_are_not_cached_by_default(site: S3Site, cache: Path) -> None:
    from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings

    attempts = []

    @pos3_flow(cache_root=cache, retries=1)
    def learn() -> None:
        attempts.append(1)
        with pos3.mirror(cache_root=cache):
            (upload_task(site.url("out")) / f"{len(attempts)}").write_text("x")
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        learn()
    assert set(site.keys("out/")) == {"out/1", "out/2"}
