"""Completed means stored: no result is kept for later runs before what its task has written is in S3."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from prefect import flow, task, unmapped
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import serialize_context
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings
from prefect.states import AwaitingRetry
from prefect.task_engine import run_task_sync
from prefect.task_runners import ProcessPoolTaskRunner
from prefect_dask import DaskTaskRunner
from pydantic import BaseModel

import pos3
from pos3.jobs.job import Job
from pos3.orchestration import S3Contents, pos3_flow
from pos3.orchestration.runtime.run import RunMirror
from tests.orchestration.conftest import eventually
from tests.orchestration.elsewhere_tasks import write_and_keep, write_into
from tests.support import Latency, Proxy, S3Site, Status, on

FAILS = RuntimeError("later, in the flow")


@pytest.mark.parametrize("policy", [S3Contents() - "out", INPUTS], ids=["contents", "inputs"])
def test_a_run_that_finds_a_task_cached_has_its_data_in_s3(policy: Any, s3: S3Site, cache: Path) -> None:
    s3.put("in/a", b"1")
    seen = []

    @task(persist_result=True, cache_policy=policy)
    def work(data: str, out: str) -> int:
        (pos3.upload(out, interval=None) / "file").write_text("hours")
        return 1

    @pos3_flow(cache_root=cache)
    def learn(fails: bool) -> None:
        state = work(s3.url("in"), s3.url("out"), return_state=True)
        seen.append(state.name)
        if fails:
            raise FAILS

    assert learn(True, return_state=True).is_failed()
    assert s3.objects("out/") == {"file": b"hours"}
    assert learn(False, return_state=True).is_completed()
    assert seen == ["Completed", "Cached"]
    assert set(s3.keys("out/")) == {"out/file"}


def run_twice(learn: Any) -> list[str]:
    """As ``prefect flow-run retry`` and a drained worker do: the same flow run, started again."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(learn)
        first = run_flow(learn, flow_run=run, return_type="state")
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        second = run_flow(learn, flow_run=client.read_flow_run(run.id), return_type="state")
    return [first.type.value, second.type.value]


def test_a_flow_run_that_is_started_again_has_its_data_in_s3(rclone_site: S3Site, cache: Path) -> None:
    seen = []

    @task(persist_result=True)
    def work() -> int:
        (pos3.upload(rclone_site.url("out"), interval=None) / "file").write_text("x")
        return 1

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        seen.append(work(return_state=True).name)
        if len(seen) == 1:
            raise FAILS

    assert run_twice(learn) == ["FAILED", "COMPLETED"]
    assert seen == ["Completed", "Cached"]
    assert set(rclone_site.keys()) == {"out/file"}


def test_what_is_persisted_by_the_settings_counts(rclone_site: S3Site, cache: Path) -> None:
    @task
    def work() -> int:
        (pos3.upload(rclone_site.url("out")) / "file").write_text("x")
        return 1

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        work()
        raise FAILS

    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == {"out/file"}


@pytest.mark.parametrize("options", [{}, {"persist_result": False}, {"persist_result": True, "cache_policy": NO_CACHE}])
def test_a_task_that_leaves_no_record_pushes_nothing_itself(
    options: dict[str, Any], rclone_site: S3Site, cache: Path
) -> None:
    @task(**options)
    def work() -> int:
        (pos3.upload(rclone_site.url("out"), interval=None) / "file").write_text("x")
        return 1

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        work()
        assert not rclone_site.keys()
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert not rclone_site.keys()


@dataclass
class Config:
    folder: Path


class Model(BaseModel):
    config: dict[str, list[Config]]


def as_path(path: Path) -> Any:
    return path / "below"


def as_text(path: Path) -> Any:
    return str(path)


def as_dataclass(path: Path) -> Any:
    return [Config(path)]


def as_model(path: Path) -> Any:
    return Model(config={"a": [Config(path)]})


@pytest.mark.parametrize("given", [as_path, as_text, as_dataclass, as_model])
@pytest.mark.parametrize("is_result", [False, True], ids=["argument", "result"])
def test_what_the_flow_has_registered_is_pushed_if_the_task_names_it(
    given: Callable[[Path], Any], is_result: bool, rclone_site: S3Site, cache: Path
) -> None:
    @task(persist_result=True)
    def work(folder: Any, out: Any) -> Any:
        (paths[0] / "below").write_text("x")
        (paths[1] / "other").write_text("x")
        return given(paths[0]) if is_result else None

    paths: list[Path] = []

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        paths[:] = [pos3.upload(rclone_site.url(name), interval=None) for name in ("out", "other")]
        work(None if is_result else given(paths[0]), "no path")
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == {"out/below"}


def test_a_task_that_names_nothing_pushes_everything(rclone_site: S3Site, cache: Path) -> None:
    @task(persist_result=True)
    def work() -> None:
        for path in paths:
            (path / "file").write_text("x")

    paths: list[Path] = []

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        paths[:] = [pos3.upload(rclone_site.url(name), interval=None) for name in ("out", "other")]
        work()
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == {"other/file", "out/file"}


def test_what_a_called_task_has_registered_belongs_to_its_caller_too(rclone_site: S3Site, cache: Path) -> None:
    @task
    def inner(name: str) -> None:
        (pos3.upload(rclone_site.url(name), interval=None) / "file").write_text("x")

    @task(persist_result=True)
    def outer() -> None:
        (pos3.upload(rclone_site.url("own"), interval=None) / "file").write_text("x")
        inner("called")
        inner.submit("submitted").result()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(pos3.upload, rclone_site.url("thread"), here).result()

    here = cache.parent / "here"
    here.mkdir()
    (here / "file").write_text("x")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        (pos3.upload(rclone_site.url("of-the-flow"), interval=None) / "file").write_text("x")
        outer()
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == {"called/file", "own/file", "submitted/file", "thread/file"}


def test_nothing_is_deleted_before_the_end(rclone_site: S3Site, cache: Path) -> None:
    rclone_site.put("out/stale", b"old")
    seen = []

    @task(persist_result=True)
    def work(name: str) -> int:
        path = pos3.upload(rclone_site.url("out"), interval=None)
        (path / name).write_text("x")
        (path / "one").unlink()
        (path / f"{name}-too").write_text("x")
        return 1

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        (pos3.upload(rclone_site.url("out"), interval=None) / "one").write_text("x")
        pos3.flush()
        work("two")
        seen.extend(rclone_site.keys())

    learn()
    assert set(seen) == {"out/one", "out/stale", "out/two", "out/two-too"}
    assert set(rclone_site.keys()) == {"out/two", "out/two-too"}


def test_a_failed_push_fails_the_task_run_and_its_own_retries_apply(
    rclone_site: S3Site, cache: Path, proxied: Callable[..., Proxy]
) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="out/"), times=2))
    tries = []

    @task(persist_result=True, cache_policy=INPUTS, retries=1)
    def work(number: int) -> int:
        tries.append(number)
        (pos3.upload(rclone_site.url("out"), interval=None) / "file").write_text("x")
        return 1

    @pos3_flow(cache_root=cache)
    def learn() -> str:
        assert work(1, return_state=True).is_failed()
        return work(1, return_state=True).name

    assert learn() == "Completed"
    assert tries == [1, 1, 1]
    assert set(rclone_site.keys()) == {"out/file"}


async def test_asynchronous_tasks_push_without_holding_up_the_event_loop(
    rclone_site: S3Site, cache: Path, proxied: Callable[..., Proxy]
) -> None:
    proxied(rclone_site, Latency(seconds=1.5, match=on("PUT")))
    gaps: list[float] = []

    @task(persist_result=True)
    async def work() -> None:
        (await asyncio.to_thread(pos3.upload, rclone_site.url("out"), interval=None) / "file").write_text("x")
        gaps.clear()

    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        await work()
        assert set(rclone_site.keys()) == {"out/file"}
        assert max(gaps) < 1.0
        raise FAILS

    async def tick() -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            gaps.append(time.monotonic() - before)
            before = time.monotonic()

    ticking = asyncio.create_task(tick())
    with pytest.raises(RuntimeError, match="later"):
        await learn()
    ticking.cancel()


def test_generator_tasks_push_when_they_end(rclone_site: S3Site, cache: Path) -> None:
    @task(persist_result=True)
    def count() -> Iterator[int]:
        path = pos3.upload(rclone_site.url("out"), interval=None)
        for number in range(2):
            (path / str(number)).write_text("x")
            yield number

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        assert list(count()) == [0, 1]
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == {"out/0", "out/1"}


def test_a_mirror_that_a_user_has_opened_around_a_task_pushes_too(rclone_site: S3Site, cache: Path) -> None:
    @task(persist_result=True)
    def work() -> None:
        (pos3.upload(rclone_site.url("out"), interval=None) / "file").write_text("x")

    @flow
    def learn() -> None:
        with pos3.mirror(cache_root=cache):
            work()
            raise FAILS

    assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == {"out/file"}


# Subflows


@pytest.mark.parametrize("persists", [True, False])
def test_a_subflow_whose_result_is_persisted_pushes_before(persists: bool, rclone_site: S3Site, cache: Path) -> None:
    @task
    def in_it(out: Path) -> None:
        (out / "by-task").write_text("x")

    @pos3_flow(persist_result=persists)
    def child() -> int:
        out = pos3.upload(rclone_site.url("out"), interval=None)
        (out / "file").write_text("x")
        in_it.submit(out).wait()
        return 1

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        (pos3.upload(rclone_site.url("other"), interval=None) / "file").write_text("x")
        child()
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert set(rclone_site.keys()) == ({"out/by-task", "out/file"} if persists else set())


# Other processes


@pos3_flow
def in_processes(url: str) -> list[int]:
    into = pos3.upload(f"{url}/into", interval=None)
    (pos3.upload(f"{url}/other", interval=None) / "file").write_text("x")
    found = [
        *write_into.map([into, into], ["one", "two"]).result(),
        *write_and_keep.map([f"{url}/kept"], ["three"]).result(),
    ]
    raise RuntimeError(" ".join(map(str, found)))


def dask_processes() -> Any:
    return DaskTaskRunner(cluster_kwargs={"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"})


@pytest.mark.parametrize("runner", [lambda: ProcessPoolTaskRunner(max_workers=2), dask_processes], ids=["pool", "dask"])
def test_tasks_in_other_processes_push_through_the_flows_mirror(
    runner: Callable[[], Any], rclone_site: S3Site, cache: Path
) -> None:
    run = in_processes.with_options(mirror={"cache_root": cache}, task_runner=runner())
    with pytest.raises(RuntimeError) as caught:
        run(rclone_site.url())
    assert str(os.getpid()) not in str(caught.value).split()
    assert set(rclone_site.keys()) == {"into/one", "into/two", "kept/three"}


# Sharing


def test_mapped_tasks_share_their_pushes(rclone_site: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = []
    really = Job.push_additions

    def counted(link: Job, terms: Any) -> None:
        scans.append(link)
        really(link, terms)

    monkeypatch.setattr(Job, "push_additions", counted)

    @task(persist_result=True, cache_policy=INPUTS)
    def work(out: Path, number: int) -> int:
        (out / str(number)).write_text("x")
        return number

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        out = pos3.upload(rclone_site.url("out"), interval=None)
        assert work.map(unmapped(out), list(range(40))).result() == list(range(40))
        raise FAILS

    assert learn(return_state=True).is_failed()
    assert len(rclone_site.keys("out/")) == 40
    assert len(scans) <= 8


# When the flow's mirror is gone


@pytest.mark.parametrize("completes", [True, False])
def test_a_task_that_outlives_its_flow_keeps_no_result_that_depends_on_what_nobody_pushed(
    completes: bool, rclone_site: S3Site, cache: Path
) -> None:
    contexts: list[dict[str, Any]] = []

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        contexts.append(serialize_context())
        pos3.upload(rclone_site.url("out"), interval=None)
        if not completes:
            raise FAILS

    learn(return_state=True)
    folder = cache / "_" / rclone_site.bucket / "out"
    parameters = {"folder": folder, "name": "late"}
    state: Any = run_task_sync(write_into, parameters=parameters, context=contexts[0], return_type="state")
    assert state.is_completed() == completes
    if not completes:
        with pytest.raises(pos3.NoMirrorError, match="the result of the task is not stored"):
            state.result()


def test_a_task_in_a_thread_that_outlives_its_stopped_flow_keeps_no_result(rclone_site: S3Site, cache: Path) -> None:
    states: list[Any] = []

    @task(persist_result=True)
    def work() -> None:
        (pos3.upload(rclone_site.url("out"), interval=None) / "file").write_text("x")
        has_written.set()
        eventually(lambda: not RunMirror.only_open_run())

    has_written = Event()

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        future = work.submit()
        states.append(future)
        has_written.wait(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn()
    eventually(lambda: states[0].state.is_final() is True)
    assert not states[0].state.is_completed()
    assert not rclone_site.keys()
