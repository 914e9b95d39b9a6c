"""Tasks that cannot reach a flow run's mirror: they have one of their own, which has pushed before they complete.

A context that was serialized in a flow run, and is used when that has ended, is what a task worker elsewhere gets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.context import serialize_context
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings
from prefect.states import Failed
from prefect.task_engine import run_task_async, run_task_sync
from prefect.transactions import transaction

import pos3
from pos3.orchestration import pos3_flow
from pos3.orchestration.remote.task_mirrors import Upload
from tests.orchestration.conftest import Mirrors
from tests.orchestration.elsewhere_tasks import awrite, read, write, write_within
from tests.support import Proxy, S3Site, Status, on

Context = dict[str, Any]


@pytest.fixture
def ended(cache: Path, mirrors: Mirrors) -> Context:
    """The context of a run that has ended, with an option that tells its flow from others."""

    @pos3_flow(cache_root=cache, show_progress=True)
    def learn() -> list[Context]:
        return [serialize_context()]

    context = learn()[0]
    mirrors.opened.clear()
    return context


def run(a_task: Any, context: Context | None, *args: Any, **kwargs: Any) -> State[Any]:
    parameters = dict(zip(a_task.fn.__code__.co_varnames, args, strict=False)) | kwargs
    engine = run_task_async if a_task.isasync else run_task_sync
    state: Any = engine(a_task, parameters=parameters, context=context, return_type="state")
    return asyncio.run(state) if a_task.isasync else state


@pytest.mark.parametrize("a_task", [write, awrite])
def test_a_task_of_an_ended_run_has_pushed_when_it_is_completed(
    a_task: Any, rclone_site: S3Site, ended: Context, cache: Path, mirrors: Mirrors
) -> None:
    rclone_site.put_all({"in/file": b"text", "out/of-another-task": b"kept"})
    assert run(a_task, ended, rclone_site.url("out"), "mine").is_completed()
    assert rclone_site.objects("out/") == {"mine": b"mine", "of-another-task": b"kept"}
    assert run(read, ended, rclone_site.url("in")).result() == "text"
    assert (cache / "_" / rclone_site.bucket / "in" / "file").exists()
    assert len(mirrors.opened) == 2
    assert not mirrors.still_open


def test_a_failed_push_fails_the_try_and_the_tasks_retries_repeat_it(
    rclone_site: S3Site, ended: Context, mirrors: Mirrors, proxied: Callable[..., Proxy]
) -> None:
    refused = Status(403, "AccessDenied", match=on("PUT", key="out/"), times=1)
    proxied(rclone_site, refused)
    assert run(write.with_options(retries=1), ended, rclone_site.url("out"), "mine").is_completed()
    assert rclone_site.objects("out/") == {"mine": b"mine"}

    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="out/")))
    failed = run(write, ended, rclone_site.url("out"), "more")
    assert failed.is_failed()
    with pytest.raises(pos3.TransferError):
        failed.result()
    assert rclone_site.objects("out/") == {"mine": b"mine"}
    assert not mirrors.still_open


def fail() -> None:
    raise ValueError("mine")


def interrupt() -> None:
    raise KeyboardInterrupt


def return_failed() -> State[Any]:
    return Failed(message="mine")


@pytest.mark.parametrize("end", [fail, interrupt, return_failed])
def test_a_task_that_does_not_complete_pushes_only_what_is_wanted_on_error_and_deletes_nothing(
    end: Callable[[], Any], rclone_site: S3Site, ended: Context, mirrors: Mirrors
) -> None:
    rclone_site.put("kept/there", b"x")

    @task
    def work(url: str) -> Any:
        (pos3.upload(f"{url}/lost") / "file").write_text("x")
        (pos3.upload(f"{url}/saved", sync_on_error=True) / "file").write_text("x")
        (pos3.sync(f"{url}/kept", sync_on_error=True) / "there").unlink()
        return end()

    try:
        assert run(work, ended, rclone_site.url()).is_failed()
    except KeyboardInterrupt:
        assert end is interrupt
    assert set(rclone_site.keys()) == {"saved/file", "kept/there"}
    assert not mirrors.still_open


def test_what_a_task_calls_uses_its_mirror_and_transactions_of_the_user_do_not_end_it(
    rclone_site: S3Site, ended: Context, mirrors: Mirrors
) -> None:
    @task
    def work(url: str) -> None:
        with contextlib.suppress(ValueError), transaction():
            path = pos3.upload(f"{url}/out")
            raise ValueError("rolled back")
        write_within(f"{url}/out", "within")
        (path / "after").write_text("x")

    assert run(work, ended, rclone_site.url()).is_completed()
    assert set(rclone_site.keys()) == {"out/within", "out/within-too", "out/after"}
    assert len(mirrors.opened) == 1
    assert not mirrors.still_open


def test_objects_that_the_task_had_and_removed_are_deleted(rclone_site: S3Site, ended: Context) -> None:
    rclone_site.put_all({"out/a": b"a", "out/b": b"b"})

    @task
    def work(url: str) -> None:
        (pos3.sync(url) / "a").unlink()

    assert run(work, ended, rclone_site.url("out")).is_completed()
    assert set(rclone_site.keys()) == {"out/b"}


def test_generator_tasks_push_when_they_end(rclone_site: S3Site, ended: Context, mirrors: Mirrors) -> None:
    from prefect.context import hydrated_context

    @task
    def count(url: str) -> Iterator[int]:
        path = pos3.upload(url)
        for number in range(3):
            (path / str(number)).touch()
            yield number

    @task
    async def acount(url: str) -> AsyncIterator[int]:
        path = pos3.upload(url)
        for number in range(3):
            (path / str(number)).touch()
            yield number

    async def collect(url: str) -> list[int]:
        return [number async for number in acount(url)]

    with hydrated_context(ended):
        assert list(count(rclone_site.url("out"))) == [0, 1, 2]
        assert asyncio.run(collect(rclone_site.url("async"))) == [0, 1, 2]
    assert set(rclone_site.keys()) == {f"{place}/{number}" for place in ("out", "async") for number in range(3)}
    assert not mirrors.still_open


def test_a_task_without_a_flow_has_a_mirror_with_the_environments_options(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POS3_CACHE_ROOT", str(cache))
    rclone_site.put("in/file", b"text")
    with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
        assert read(rclone_site.url("in")) == "text"
        assert write(rclone_site.url("out"), "mine")
    assert rclone_site.objects("out/") == {"mine": b"mine"}
    assert (cache / "_" / rclone_site.bucket / "in" / "file").exists()
    assert not mirrors.still_open


def test_in_a_flow_that_is_not_mirrored_the_error_says_what_to_do(rclone_site: S3Site, mirrors: Mirrors) -> None:
    @flow
    def learn() -> tuple[State[Any], Context]:
        return read(rclone_site.url("in"), return_state=True), serialize_context()

    here, context = learn()
    for state in (here, run(read, context, rclone_site.url("in"))):
        with pytest.raises(pos3.NoMirrorError, match="@pos3_flow"):
            state.result()
    assert not mirrors.opened


def test_what_a_task_registers_again_is_neither_downloaded_nor_emptied_once_more() -> None:
    asked = {"remote": "s3://bucket/x", "fresh": True, "delete_local": False, "delete_remote": False, "adopt": True}
    again = Upload.of("sync", asked, Path("/cache/x"))
    assert again.arguments == {"remote": "s3://bucket/x", "local": Path("/cache/x"), "delete": False}
    again = Upload.of("upload", {"remote": "s3://bucket/x", "fresh": True}, Path("/cache/x"))
    assert again.arguments == {"remote": "s3://bucket/x", "local": Path("/cache/x")}
