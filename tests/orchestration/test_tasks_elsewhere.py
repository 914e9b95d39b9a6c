"""pos3 in tasks that run in other processes than their flow, on the same host: they reach the flow run's mirror."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import Mirrors
from tests.orchestration.elsewhere_tasks import look_around, read, write
from tests.support import Proxy, S3Site

NAMES = ("a", "b", "c")


def process_pool() -> TaskRunner[Any]:
    return ProcessPoolTaskRunner(max_workers=2)


def dask_processes() -> TaskRunner[Any]:
    return DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"})


def ray() -> TaskRunner[Any]:
    runners = pytest.importorskip("prefect_ray", reason="prefect-ray is too large to be a requirement of the tests")
    return runners.RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False})  # type: ignore[no-any-return]


def dask_threads() -> TaskRunner[Any]:
    return DaskTaskRunner(cluster_kwargs={"processes": False, "dashboard_address": ":0"})


@pytest.mark.parametrize("runner", [process_pool, dask_processes, ray])
def test_tasks_in_other_processes_use_the_flow_runs_mirror(
    runner: Callable[[], TaskRunner[Any]],
    rclone_site: S3Site,
    proxied: Callable[..., Proxy],
    cache: Path,
    tmp_path: Path,
    mirrors: Mirrors,
) -> None:
    site = rclone_site
    site.put_all({"in/file": b"text", "out/stale": b"to be deleted"})
    proxy = proxied(site)
    url = site.url()

    @pos3_flow(task_runner=runner())
    def fan_out() -> tuple[FlowRun, list[dict[str, Any]]]:
        run = FlowRunContext.get().flow_run  # type: ignore[union-attr]
        return run, [future.result() for future in [look_around.submit(url, name, tmp_path) for name in NAMES]]

    # The mirror, and so the address, is the one of the parent's run.
    @pos3_flow(cache_root=cache)
    def learn() -> tuple[FlowRun, list[dict[str, Any]]]:
        return fan_out()

    run, seen = learn()
    assert len(mirrors.opened) == 1
    assert os.getpid() not in {each["pid"] for each in seen}
    assert [each["text"] for each in seen] == ["text"] * 3
    assert {each["cached"] for each in seen} == {str(cache / "_" / site.bucket / "in")}
    assert {each["relative"] for each in seen} == {str(tmp_path / "by-relative-path")}
    assert sum(request.kind == "GET" and request.key == "in/file" for request in proxy.requests) == 2
    assert max(each["downloads"] for each in seen) == 2
    for each in seen:
        assert type(each["error"]) is pos3.RemoteNotFoundError
        assert site.url("missing") in str(each["error"])
        assert "no_such" in each["mistake"]
        assert each["listed"] == [site.url("in/file")]
        assert each["planned"] == [(str(tmp_path / "by-relative-path"), site.url("other"))]
        assert each["milliseconds"] < 50
    assert set(site.keys("out/")) == {f"out/{name}" for name in (*NAMES, "by-subflow")}
    with get_client(sync_client=True) as client:
        known_to_all = client.read_flow_run(run.id).labels
    assert not {name for name in run.labels if "mirror" in name} & set(known_to_all)
    assert not os.path.exists(str(run.labels["pos3.mirror.socket"]))


@pytest.mark.parametrize(("runner", "count"), [(ThreadPoolTaskRunner, 100), (dask_threads, 10)])
def test_tasks_in_threads_that_are_mapped_over_many_inputs_use_the_flow_runs_mirror(
    runner: Callable[[], TaskRunner[Any]],
    count: int,
    rclone_site: S3Site,
    proxied: Callable[..., Proxy],
    cache: Path,
    mirrors: Mirrors,
) -> None:
    url, many = rclone_site.url(), [f"{number:03}" for number in range(count)]
    rclone_site.put("in/file", b"text")
    proxy = proxied(rclone_site)

    @pos3_flow(cache_root=cache, task_runner=runner())
    def learn() -> set[str]:
        write.map(unmapped(f"{url}/out"), many)
        return set(read.map([f"{url}/in"] * len(many)).result())

    assert learn() == {"text"}
    assert len(mirrors.opened) == 1
    assert proxy.count("GET") == 1
    assert set(rclone_site.keys("out/")) == {f"out/{name}" for name in many}
