"""Hooks that upload: what they register is in S3 when they have returned."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.states import Cancelling, Crashed

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import Mirrors
from tests.support import Proxy, S3Site, Status, on


def uploads(site: S3Site, name: str, *, is_async: bool, **options: Any) -> Any:
    def write() -> None:
        (pos3.upload(site.url(name), **options) / "file").write_text("x")

    def hook(flow: Any, flow_run: Any, state: Any) -> None:
        write()

    async def ahook(flow: Any, flow_run: Any, state: Any) -> None:
        await asyncio.to_thread(write)

    return ahook if is_async else hook


ENDS: dict[str, Callable[[], None]] = {
    "completion": lambda: None,
    "failure": lambda: 1 // 0,  # type: ignore[dict-item]
    "crashed": lambda: (_ for _ in ()).throw(KeyboardInterrupt),  # type: ignore[dict-item]
    "running": lambda: 1 // 0,  # type: ignore[dict-item]
}


@pytest.mark.parametrize("is_async", [False, True], ids=["hook", "async hook"])
@pytest.mark.parametrize("kind", ENDS)
def test_what_a_hook_uploads_is_in_s3(
    kind: str, is_async: bool, rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    rclone_site.put("hook/other", b"kept")

    @pos3_flow(cache_root=cache, **{f"on_{kind}": [uploads(rclone_site, "hook", is_async=is_async)]})
    def learn() -> None:
        (pos3.upload(rclone_site.url("out")) / "file").write_text("x")
        ENDS[kind]()

    with suppress(KeyboardInterrupt):
        learn(return_state=True)
    assert rclone_site.objects("hook/") == {"other": b"kept", "file": b"x"}
    assert bool(rclone_site.objects("out/")) == (kind == "completion")
    assert not mirrors.still_open
    # Those that are called while the run's mirror is open use it.
    assert len(mirrors.opened) == (1 if kind in ("completion", "failure") else 2)


@pytest.mark.parametrize("is_async", [False, True], ids=["hook", "async hook"])
@pytest.mark.parametrize("kind", ["completion", "failure"])
def test_asynchronous_flows_do_the_same(kind: str, is_async: bool, rclone_site: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        ENDS[kind]()

    # A hook that is added later.
    getattr(learn, f"on_{kind}")(uploads(rclone_site, "hook", is_async=is_async))
    asyncio.run(learn(return_state=True))  # type: ignore[arg-type]
    assert set(rclone_site.keys()) == {"hook/file"}


def test_hooks_stay_those_of_the_user(rclone_site: S3Site, cache: Path) -> None:
    def first(flow: Any, flow_run: Any, state: Any) -> None: ...

    @pos3_flow(on_completion=[first])
    def learn() -> None: ...

    @learn.on_completion
    def second(flow: Any, flow_run: Any, state: Any) -> None: ...

    other = learn.with_options(on_failure=[second])
    for made in (learn, other, copy.copy(learn), cloudpickle.loads(cloudpickle.dumps(learn))):
        assert [hook.__name__ for hook in made.on_completion_hooks] == ["first", "second"]
        assert not hasattr(made.on_completion_hooks[0], "__wrapped__")
    assert learn.on_completion_hooks == [first, second]
    assert learn.on_failure_hooks == []


def test_a_push_that_fails_is_in_the_log_as_a_hook_that_failed(
    rclone_site: S3Site,
    cache: Path,
    proxied: Callable[..., Proxy],
    caplog: pytest.LogCaptureFixture,
    mirrors: Mirrors,
) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="hook/")))

    @pos3_flow(cache_root=cache, on_completion=[uploads(rclone_site, "hook", is_async=False)])
    def learn() -> None: ...

    with caplog.at_level(logging.ERROR):
        assert learn(return_state=True).is_completed()
    [record] = [record for record in caplog.records if "encountered while running hook 'hook'" in record.message]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], pos3.Pos3Error)
    assert not mirrors.still_open


def test_a_hook_that_raises_pushes_nothing(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    def hook(flow: Any, flow_run: Any, state: Any) -> None:
        (pos3.upload(rclone_site.url("hook")) / "file").write_text("x")
        raise ValueError("mine")

    @pos3_flow(cache_root=cache, on_completion=[hook], on_running=[hook])
    def learn() -> None: ...

    assert learn(return_state=True).is_completed()
    assert not rclone_site.keys()
    assert not mirrors.still_open


def test_a_hook_that_does_without_pos3_costs_no_mirror_even_with_options_that_cannot_work(mirrors: Mirrors) -> None:
    called = []

    @pos3_flow(max_workers=0, on_failure=[lambda *_: called.append(1)])
    def learn() -> None: ...

    assert learn(return_state=True).is_failed()
    assert called == [1]
    assert not mirrors.opened


@pytest.mark.parametrize("is_async", [False, True], ids=["hook", "async hook"])
@pytest.mark.parametrize("kind", ["cancellation", "crashed"])
async def test_hooks_that_a_worker_calls_in_its_own_process_are_pushed(
    kind: str, is_async: bool, rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    runner = pytest.importorskip("prefect.runner._hook_runner")

    @pos3_flow(cache_root=cache, **{f"on_{kind}": [uploads(rclone_site, "hook", is_async=is_async)]})
    def learn() -> None: ...

    async def resolve(flow_run: Any) -> Any:
        return learn

    calls = runner.HookRunner(resolve_flow=resolve)
    async with get_client() as client:
        flow_run = await client.create_flow_run(learn)
    if kind == "crashed":
        await calls.run_crashed_hooks(flow_run, Crashed())
    else:
        await calls.run_cancellation_hooks(flow_run, Cancelling())
    assert set(rclone_site.keys()) == {"hook/file"}
    assert len(mirrors.opened) == 1
    assert not mirrors.still_open


@pytest.mark.parametrize("is_async", [False, True], ids=["hook", "async hook"])
def test_hooks_of_tasks_are_pushed_when_the_task_has_ended(is_async: bool, rclone_site: S3Site, cache: Path) -> None:
    @task(on_completion=[uploads(rclone_site, "hook", is_async=is_async)])
    def work() -> None: ...

    @task(on_failure=[uploads(rclone_site, "failed", is_async=is_async)])
    async def awork() -> None:
        raise ValueError("mine")

    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        work()
        await awork(return_state=True)
        assert set(rclone_site.keys()) == {"hook/file", "failed/file"}
        raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        asyncio.run(learn())


def test_a_push_that_fails_after_the_hooks_of_a_task_is_in_the_log(
    rclone_site: S3Site, cache: Path, proxied: Callable[..., Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="hook/"), times=1))

    @task(on_completion=[uploads(rclone_site, "hook", is_async=False)])
    def work() -> None: ...

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        assert work(return_state=True).is_completed()

    with caplog.at_level(logging.ERROR):
        assert learn(return_state=True).is_completed()
    assert "files that hooks of this task run wrote could not be pushed" in caplog.text
