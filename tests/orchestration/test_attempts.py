"""One mirror per flow run: it opens once, lives through retries and their delay, and closes once."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from prefect import task

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import Mirrors
from tests.support import Latency, RcloneServer, S3Site, Status, on


def test_all_attempts_share_one_mirror_that_is_closed_at_the_end(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    rclone_site.put("data/a", b"one")
    seen = []

    @pos3_flow(cache_root=cache, retries=2, retry_delay_seconds=0.1)
    def learn() -> str:
        seen.append(pos3.current_mirror())
        text = (pos3.download(rclone_site.url("data")) / "a").read_text()
        if len(seen) < 3:
            raise RuntimeError("not yet")
        return text

    assert learn() == "one"
    assert len(seen) == 3
    assert mirrors.opened == [seen[0]] == list(dict.fromkeys(seen))
    assert not mirrors.still_open
    assert seen[0].report().downloaded_files == 1


async def test_all_attempts_of_an_async_flow_share_one_mirror(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    attempts = []

    @pos3_flow(cache_root=cache, retries=1, retry_delay_seconds=0.1)
    async def learn() -> None:
        attempts.append(pos3.current_mirror())
        (pos3.upload(rclone_site.url("out")) / f"{len(attempts)}").write_text("x")
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    await learn()
    assert len(attempts) == 2
    assert mirrors.opened == [attempts[0]] == [attempts[1]]
    assert not mirrors.still_open
    assert set(rclone_site.keys()) == {"out/1", "out/2"}


def test_background_pushes_go_on_during_the_retry_delay(rclone_site: S3Site, cache: Path) -> None:
    keys_at_start = []

    @pos3_flow(cache_root=cache, retries=1, retry_delay_seconds=2)
    def learn() -> None:
        keys_at_start.append(set(rclone_site.keys()))
        out = pos3.upload(rclone_site.url("out"), interval=0.3)
        if len(keys_at_start) == 1:
            (out / "log").write_text("line")
            raise RuntimeError("not yet")

    learn()
    assert keys_at_start == [set(), {"out/log"}]


def test_a_retry_resumes_from_what_the_failed_attempt_left(rclone_site: S3Site, cache: Path) -> None:
    steps = []

    @pos3_flow(cache_root=cache, retries=1)
    def learn() -> None:
        step_file = pos3.sync(rclone_site.url("ckpt")) / "step"
        step = int(step_file.read_text()) if step_file.exists() else 0
        steps.append(step)
        step_file.write_text(f"{step + 5}")
        if step == 0:
            raise RuntimeError("interrupted")

    learn()
    assert steps == [0, 5]
    assert rclone_site.get("ckpt/step") == b"10"


def test_a_failed_final_push_fails_the_run_and_deletes_nothing(
    rclone_site: S3Site, cache: Path, proxied, mirrors: Mirrors
) -> None:
    rclone_site.put("out/stale", b"old")
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="new")))

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")

    state = learn(return_state=True)
    assert state.is_failed()
    assert "new" in str(state.message)
    with pytest.raises(pos3.TransferError, match="new"):
        state.result()
    assert set(rclone_site.keys()) == {"out/stale"}
    assert not mirrors.still_open


def test_a_failed_final_push_is_repeated_by_the_retries_of_the_flow(
    rclone_site: S3Site, cache: Path, proxied, mirrors: Mirrors
) -> None:
    rclone_site.put("out/stale", b"old")
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="new"), times=1))
    attempts = []

    @pos3_flow(cache_root=cache, retries=1)
    def learn() -> None:
        attempts.append(1)
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")

    assert learn(return_state=True).is_completed()
    assert len(attempts) == 2
    assert set(rclone_site.keys()) == {"out/new"}
    assert len(mirrors.opened) == 1


async def test_a_failed_final_push_fails_an_async_run(rclone_site: S3Site, cache: Path, proxied) -> None:
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT", key="new")))

    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")

    assert (await learn(return_state=True)).is_failed()


def test_a_completed_run_has_pushed_before_its_state_says_so(rclone_site: S3Site, cache: Path) -> None:
    keys_when_completed = []

    @pos3_flow(cache_root=cache, on_completion=[lambda *_: keys_when_completed.extend(rclone_site.keys())])
    def learn() -> None:
        (pos3.upload(rclone_site.url("out")) / "model").write_text("x")

    learn()
    assert keys_when_completed == ["out/model"]


def test_two_runs_at_once_each_have_a_mirror_of_their_own(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    both_are_in = Barrier(2, timeout=30)

    @task
    def write(name: str) -> pos3.Mirror:
        (pos3.upload(rclone_site.url(f"out/{name}")) / "file").write_text(name)
        both_are_in.wait()
        return pos3.current_mirror()

    @pos3_flow(cache_root=cache)
    def learn(name: str) -> tuple[pos3.Mirror, pos3.Mirror]:
        return write.submit(name).result(), pos3.current_mirror()

    with ThreadPoolExecutor(2) as pool:
        (task_1, flow_1), (task_2, flow_2) = pool.map(learn, ["one", "two"])
    assert task_1 is flow_1
    assert task_2 is flow_2
    assert flow_1 is not flow_2
    assert len(mirrors.opened) == 2
    assert {key: rclone_site.get(key) for key in rclone_site.keys()} == {
        "out/one/file": b"one",
        "out/two/file": b"two",
    }


async def test_async_runs_at_once_each_have_a_mirror_of_their_own(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    all_are_in = asyncio.Event()

    @pos3_flow(cache_root=cache)
    async def learn(name: str) -> pos3.MirrorLike:
        if len(mirrors.opened) == 3:
            all_are_in.set()
        await all_are_in.wait()
        (pos3.upload(rclone_site.url(f"out/{name}")) / "file").write_text(name)
        await asyncio.sleep(0)
        return pos3.current_mirror()

    found = await asyncio.gather(*(learn(name) for name in ("one", "two", "three")))
    assert len(set(found)) == 3
    assert set(found) == set(mirrors.opened)
    assert set(rclone_site.keys()) == {"out/one/file", "out/two/file", "out/three/file"}


def test_what_a_failed_subflow_registered_is_its_parents_to_push(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    rclone_site.put("child/stale", b"old")

    @pos3_flow
    def child() -> None:
        (pos3.upload(rclone_site.url("child")) / "file").write_text("x")
        raise RuntimeError("mine")

    @pos3_flow
    def steps():
        yield pos3.upload(rclone_site.url("steps"))
        yield pos3.current_mirror()

    @task
    def in_a_task() -> None:
        (pos3.upload(rclone_site.url("task")) / "file").write_text("x")
        child()

    @pos3_flow(cache_root=cache)
    def parent() -> None:
        assert child(return_state=True).is_failed()
        assert set(rclone_site.keys()) == {"child/stale"}
        assert in_a_task.submit().wait() is None
        path, mirror = steps()
        (path / "file").write_text("x")
        assert mirror is pos3.current_mirror()

    assert parent(return_state=True).is_completed()
    assert len(mirrors.opened) == 1
    assert set(rclone_site.keys()) == {"child/file", "task/file", "steps/file"}


def test_a_final_push_that_meets_a_dead_server_is_repeated_when_that_is_back(
    private_rclone: tuple[RcloneServer, S3Site], cache: Path, mirrors: Mirrors
) -> None:
    server, site = private_rclone
    site.put("out/stale", b"old")
    attempts = []

    @pos3_flow(cache_root=cache, retries=1, retry_delay_seconds=0.1)
    def learn() -> None:
        attempts.append(1)
        (pos3.upload(site.url("out")) / "new").write_text("new")
        if len(attempts) == 1:
            server.kill()

    def restart(*_: object) -> None:
        if not server_is_up:
            server_is_up.append(1)
            server.restart()

    server_is_up: list[int] = []
    assert learn.with_options(on_running=[lambda *_: attempts and restart()])(return_state=True).is_completed()
    assert len(attempts) == 2
    assert len(mirrors.opened) == 1
    assert set(site.keys()) == {"out/new"}


def test_a_subflow_uses_its_parents_mirror_and_leaves_it_open(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    tries = []

    @pos3_flow(retries=1)
    def child() -> None:
        tries.append(pos3.current_mirror())
        (pos3.upload(rclone_site.url("child")) / "file").write_text("x")
        if len(tries) == 1:
            raise RuntimeError("not yet")

    @pos3_flow(cache_root=cache)
    def parent() -> pos3.Mirror:
        child()
        (pos3.upload(rclone_site.url("parent")) / "file").write_text("x")
        return pos3.current_mirror()

    assert parent() is mirrors.opened[0]
    assert tries == [mirrors.opened[0]] * 2
    assert len(mirrors.opened) == 1
    assert not mirrors.still_open
    assert set(rclone_site.keys()) == {"child/file", "parent/file"}


async def test_async_subflows_in_parallel_share_their_parents_mirror(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    @pos3_flow
    async def child(name: str) -> None:
        (pos3.upload(rclone_site.url(name)) / "file").write_text(name)

    @pos3_flow(cache_root=cache)
    async def parent() -> None:
        await asyncio.gather(child("one"), child("two"))

    await parent()
    assert len(mirrors.opened) == 1
    assert set(rclone_site.keys()) == {"one/file", "two/file"}


def test_a_run_with_bad_options_fails_and_leaves_nothing_open(mirrors: Mirrors) -> None:
    @pos3_flow(max_workers=0)
    def learn() -> None:
        pass

    with pytest.raises(pos3.InvalidArgumentError, match="max_workers"):
        learn()
    assert not mirrors.opened


def test_the_final_push_does_not_hold_up_the_event_loop(rclone_site: S3Site, cache: Path, proxied) -> None:
    proxied(rclone_site, Latency(seconds=1.5, match=on("PUT")))
    gaps = []

    async def tick() -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            gaps.append(time.monotonic() - before)
            before = time.monotonic()

    @pos3_flow(cache_root=cache)
    async def learn() -> None:
        (pos3.upload(rclone_site.url("out")) / "new").write_text("new")
        await asyncio.sleep(0.1)
        gaps.clear()

    async def both() -> None:
        ticking = asyncio.create_task(tick())
        await learn()
        ticking.cancel()

    asyncio.run(both())
    assert max(gaps) < 1.0
