"""Flows and tasks that work alone give the same when they are composed: as subflows, as tasks, on any task runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.composed_flows import (
    call_subflows,
    call_tasks,
    ingest,
    ingest_flow,
    prepare,
    prepare_flow,
    read,
    read_flow,
)
from tests.support import S3Site, contents

Read = dict[str, str]
RESULT = {"a": "ONE!", "b": "TWO!"}
RAW = {"a": b"ONE", "b": b"TWO", "index": b"a b"}
CLEAN = {"a": b"ONE!", "b": b"TWO!"}


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    """With a source, and with what an earlier pipeline has left."""
    rclone_site.put_all({"x/source/a": b"one", "x/source/b": b"two", "x/raw/stale": b"old", "x/clean/stale": b"old"})
    return rclone_site


def assert_composed(site: S3Site, cache: Path) -> None:
    """S3 and the disk have what the parts give one after the other."""
    assert site.objects("x/raw/") == RAW
    assert site.objects("x/clean/") == CLEAN
    root = cache / "_" / site.bucket / "x"
    assert contents(root / "raw") == RAW
    assert contents(root / "clean") == CLEAN


def test_the_parts_one_after_the_other(site: S3Site, cache: Path) -> None:
    url = site.url("x")
    for part in (ingest_flow, prepare_flow, read_flow):
        url = part.with_options(mirror={"cache_root": cache})(url)  # type: ignore[operator]
    assert url == RESULT
    assert_composed(site, cache)


def threads() -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=4)


def process_pool() -> TaskRunner[Any]:
    return ProcessPoolTaskRunner(max_workers=2)


def dask_threads() -> TaskRunner[Any]:
    return DaskTaskRunner(cluster_kwargs={"processes": False, "dashboard_address": ":0"})


def dask_processes() -> TaskRunner[Any]:
    return DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"})


def ray() -> TaskRunner[Any]:
    runners = pytest.importorskip("prefect_ray", reason="prefect-ray is too large to be a requirement of the tests")
    return runners.RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False})  # type: ignore[no-any-return]


def calls_tasks(url: str) -> Read:
    return read(prepare(ingest(url)))


def calls_subflows(url: str) -> Read:
    return read_flow(prepare_flow(ingest_flow(url)))


def mixes(url: str) -> Read:
    return read_flow(prepare(ingest_flow(url)))


def submits(url: str) -> Read:
    return read.submit(prepare.submit(ingest.submit(url))).result()


def maps(url: str) -> Read:
    return read.map(prepare.map(ingest.map([url]))).result()[0]


def nests_tasks(url: str) -> Read:
    return call_tasks.submit(url).result()


def nests_subflows(url: str) -> Read:
    return call_subflows.submit(url).result()


@pytest.mark.parametrize("compose", [calls_tasks, calls_subflows, mixes, submits, maps, nests_tasks, nests_subflows])
def test_composed_parts_give_the_same_in_threads(site: S3Site, cache: Path, compose: Callable[[str], Read]) -> None:
    pipeline = pos3_flow(cache_root=cache, task_runner=threads())(compose)
    assert pipeline(site.url("x")) == RESULT
    assert_composed(site, cache)
    # A second run finds all as it is.
    assert pipeline(site.url("x")) == RESULT
    assert_composed(site, cache)


@pytest.mark.parametrize("runner", [process_pool, dask_threads, dask_processes, ray])
@pytest.mark.parametrize("compose", [submits, nests_subflows])
def test_composed_parts_give_the_same_on_other_runners(
    site: S3Site, cache: Path, compose: Callable[[str], Read], runner: Callable[[], TaskRunner[Any]]
) -> None:
    pipeline = pos3_flow(cache_root=cache, task_runner=runner())(compose)
    assert pipeline(site.url("x")) == RESULT
    assert_composed(site, cache)


def test_composed_parts_give_the_same_in_an_async_flow(site: S3Site, cache: Path) -> None:
    @pos3_flow
    async def aprepare(raw_url: str) -> str:
        return await asyncio.to_thread(prepare.fn, raw_url)

    @pos3_flow(cache_root=cache)
    async def pipeline(url: str) -> Read:
        return read(await aprepare(ingest(url)))

    assert asyncio.run(pipeline(site.url("x"))) == RESULT
    assert_composed(site, cache)


@pytest.mark.parametrize(
    "own", [{"max_workers": 3}, {"cache_root": "another"}], ids=["the-same-cache", "another-cache"]
)
@pytest.mark.parametrize("part", [0, 1, 2], ids=["ingest", "prepare", "read"])
def test_a_part_with_a_mirror_of_its_own_gives_the_same(
    rclone_site: S3Site, cache: Path, part: int, own: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cache.parent)
    rclone_site.put_all({"x/source/a": b"one", "x/source/b": b"two"})
    parts: list[Any] = [ingest_flow, prepare_flow, read_flow]
    parts[part] = parts[part].with_options(mirror=own)

    @pos3_flow(cache_root=cache)
    def pipeline(url: str) -> Read:
        return parts[2](parts[1](parts[0](url)))  # type: ignore[no-any-return]

    assert pipeline(rclone_site.url("x")) == RESULT
    assert rclone_site.objects("x/raw/") == RAW
    assert rclone_site.objects("x/clean/") == CLEAN


def test_what_the_parent_has_written_is_pushed_without_deletes_for_a_subflow_with_another_cache(
    site: S3Site, cache: Path
) -> None:
    @pos3_flow(cache_root=cache.with_name("another"))
    def look(raw_url: str) -> set[str]:
        return {file.name for file in pos3.download(raw_url).iterdir()}

    @pos3_flow(cache_root=cache)
    def pipeline(url: str) -> set[str]:
        return look(ingest(url))

    assert pipeline(site.url("x")) == {"a", "b", "stale"}
    assert site.objects("x/raw/") == {"a": b"ONE", "b": b"TWO"}


def test_two_pipelines_at_once_in_one_flow_do_not_disturb_each_other(site: S3Site, cache: Path) -> None:
    site.put_all({"y/source/c": b"three", "y/raw/stale": b"old"})

    @pos3_flow(cache_root=cache, task_runner=threads())
    def pipeline(urls: list[str]) -> list[Read]:
        return read.map(prepare.map(ingest.map(urls))).result()

    assert pipeline([site.url("x"), site.url("y")]) == [RESULT, {"c": "THREE!"}]
    assert_composed(site, cache)
    assert site.objects("y/raw/") == {"c": b"THREE", "index": b"c"}
    assert site.objects("y/clean/") == {"c": b"THREE!"}


def test_a_pipeline_whose_last_part_fails_deletes_nothing(site: S3Site, cache: Path) -> None:
    before = site.objects("x/")

    @pos3_flow(cache_root=cache)
    def pipeline(url: str) -> None:
        prepare_flow(ingest_flow(url))
        raise RuntimeError("later")

    assert pipeline(site.url("x"), return_state=True).is_failed()
    assert site.objects("x/") == before
    with pos3.mirror(cache, show_progress=False):
        assert pos3.ls(site.url("x/raw")) == [site.url("x/raw/stale")]
