"""A flow run whose process was killed: its next attempt on the same machine first pushes what was left."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import environment_of_children
from tests.support import S3Site, Status, on
from tests.support.forks import ForkServer

SCRIPT = """
import sys, time
import prefect.runtime
import pos3
from pos3.orchestration import pos3_flow

url, cache = sys.argv[1:]

@pos3_flow(cache_root=cache)
def learn():
    (pos3.sync(f"{url}/ckpt", interval=None) / "step").write_text("5")
    (pos3.upload(f"{url}/out", interval=None) / "half").write_text("half")
    print(prefect.runtime.flow_run.id, flush=True)
    time.sleep(60)

learn()
"""


def killed_run(programs: ForkServer, site: S3Site, cache: Path) -> UUID:
    """The id of a flow run whose process was killed in the middle."""
    said, told = os.pipe()
    with os.fdopen(told, "wb") as stdout, open(os.devnull, "wb") as nothing:
        child = programs.start(["-c", SCRIPT, site.url(), str(cache)], environment_of_children(), stdout, nothing)
    try:
        with os.fdopen(said) as stream:
            return UUID(stream.readline().strip())
    finally:
        child.kill()
        child.wait(60)


def run_again(flow: Flow[[], None], flow_run_id: UUID) -> None:
    """What a worker does with a run that is scheduled again."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Scheduled(), force=True)
        flow_run: FlowRun = client.read_flow_run(flow_run_id)
    ran = run_flow(flow, flow_run=flow_run)
    if asyncio.iscoroutine(ran):
        asyncio.run(ran)


def logged(flow_run_id: UUID, text: str) -> str:
    """The message in the run's log that contains ``text``; the log is sent to the server now and then."""
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])))
            for log in logs:
                if text in log.message:
                    return log.message
            time.sleep(0.3)
    raise AssertionError(f"no log line with {text!r}")


def journals(cache: Path) -> list[Path]:
    return list((cache / ".pos3" / "journal").glob("*"))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_next_attempt_pushes_what_was_left_before_it_begins(
    programs: ForkServer, rclone_site: S3Site, cache: Path, kind: str
) -> None:
    rclone_site.put_all({"out/stale": b"stale", "ckpt/step": b"0"})
    flow_run_id = killed_run(programs, rclone_site, cache)
    seen: list[dict[str, bytes]] = []
    steps: list[str] = []

    def work() -> None:
        seen.append(rclone_site.objects())
        step = pos3.sync(rclone_site.url("ckpt"), interval=None) / "step"
        steps.append(step.read_text())
        step.write_text("9")
        (pos3.upload(rclone_site.url("out"), interval=None) / "whole").write_text("whole")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        work()

    @pos3_flow(cache_root=cache)
    async def alearn() -> None:
        work()

    @pos3_flow(cache_root=cache)
    def another() -> dict[str, bytes]:
        return rclone_site.objects()

    # Another run takes no part in what this one left.
    assert another() == {"out/stale": b"stale", "ckpt/step": b"0"}
    run_again(learn if kind == "sync" else alearn, flow_run_id)
    assert seen == [{"out/stale": b"stale", "out/half": b"half", "ckpt/step": b"5"}]
    assert steps == ["5"]
    assert rclone_site.objects() == {"out/half": b"half", "out/whole": b"whole", "ckpt/step": b"9"}
    assert journals(cache) == []
    assert "1 uploaded" in logged(
        flow_run_id, f"pos3 pushed files that a killed attempt left for {rclone_site.url('out')}"
    )


def test_a_recovery_that_fails_does_not_stop_the_run_whose_own_push_settles_it(
    programs: ForkServer, rclone_site: S3Site, cache: Path, proxied
) -> None:
    flow_run_id = killed_run(programs, rclone_site, cache)
    proxied(rclone_site, Status(403, "AccessDenied", match=on("PUT"), times=2))

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        assert len(journals(cache)) == 1
        pos3.upload(rclone_site.url("ckpt"))
        (pos3.upload(rclone_site.url("out")) / "whole").write_text("whole")
        assert len(journals(cache)) == 2

    run_again(learn, flow_run_id)
    assert rclone_site.objects() == {"out/half": b"half", "out/whole": b"whole", "ckpt/step": b"5"}
    assert journals(cache) == []
    assert "AccessDenied" in logged(flow_run_id, "could not be pushed")


def test_what_was_left_gives_way_to_what_the_run_has_written_on_another_machine(
    programs: ForkServer, rclone_site: S3Site, cache: Path, tmp_path: Path
) -> None:
    flow_run_id = killed_run(programs, rclone_site, cache)

    @pos3_flow(cache_root=tmp_path / "elsewhere")
    def learn() -> None:
        step = pos3.sync(rclone_site.url("ckpt")) / "step"
        assert not step.exists()
        # Object times are whole seconds.
        time.sleep(1)
        step.write_text("9")

    run_again(learn, flow_run_id)
    ckpt, out = pos3.recover(cache, show_progress=False)
    assert [kept.path for kept in ckpt.report.kept] == ["step"]
    assert out.report.uploaded_files == 1
    assert rclone_site.objects() == {"ckpt/step": b"9", "out/half": b"half"}
