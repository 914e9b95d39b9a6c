"""Tasks that a flow, or a script, hands to a task worker: ``task.delay`` and ``serve``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.futures import PrefectDistributedFuture

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration import elsewhere_tasks
from tests.orchestration.conftest import Mirrors, environment_of_children, eventually
from tests.orchestration.elsewhere_tasks import awrite, read, write, write_before_and_after
from tests.support import S3Site


def result_of(future: PrefectDistributedFuture[Any]) -> Any:
    """The result of a run in a task worker. Prefect refuses to wait for one whose first state is still on its way."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return future.result(timeout=90)
        except RuntimeError as error:
            if "has no state" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def test_background_tasks_use_their_flow_runs_mirror_until_that_ends(
    rclone_site: S3Site, cache: Path, tmp_path: Path, mirrors: Mirrors
) -> None:
    site = rclone_site
    site.put_all({"in/file": b"text", "out/stale": b"x"})
    sign = tmp_path / "sign"

    @pos3_flow(cache_root=cache)
    def learn(url: str) -> tuple[list[int], UUID, list[str]]:
        left = write_before_and_after.delay(f"{url}/late", sign)
        assert result_of(read.delay(f"{url}/in")) == "text"
        waited = [write.delay(f"{url}/out", "a", interval=None), awrite.delay(f"{url}/out", "b")]
        pids = [result_of(future) for future in waited]
        eventually(sign.with_suffix(".waits").exists)
        # Not the future itself: the flow would wait for it.
        return pids, left.task_run_id, pos3.ls(url, recursive=True)

    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-c", f"import {elsewhere_tasks.__name__} as tasks; tasks.serve_all()"],
            env=environment_of_children(POS3_CACHE_ROOT=str(tmp_path / "own-cache")),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        pids, late_id, keys = learn(site.url())
        # Results of background tasks are persisted, so what they depend on was pushed before, and nothing was deleted.
        pushed = ("in", "in/file", "late", "late/before", "out", "out/a", "out/b", "out/stale")
        assert keys == [site.url(key) for key in pushed]
        assert pids == [worker.pid] * 2
        assert len(mirrors.opened) == 1
        assert set(site.keys("out/")) == {"out/a", "out/b"}
        # The final push took what was there; what came later is the task's own to push.
        assert set(site.keys("late/")) == {"late/before"}
        sign.touch()
        assert result_of(PrefectDistributedFuture[int](late_id)) == worker.pid
        assert set(site.keys("late/")) == {"late/before", "late/after"}
        assert (cache / "_" / site.bucket / "late" / "after").exists()

        assert result_of(write.delay(site.url("script"), "x")) == worker.pid
        assert set(site.keys("script/")) == {"script/x"}
        assert (tmp_path / "own-cache" / "_" / site.bucket / "script" / "x").exists()
    except BaseException as error:
        error.add_note(log.read_text(errors="replace")[-5000:])
        raise
    finally:
        worker.terminate()
        worker.wait(timeout=60)
