"""What the worker of ``test_draining_worker.py`` is given to run. Each run ends only at its second start."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import prefect
from prefect.runtime import flow_run

import pos3
from pos3.orchestration import pos3_flow


def work(url: str, here: str) -> bool:
    """Whether this is the first start, which is to be stopped."""
    name = flow_run.flow_name
    data = pos3.download(f"{url}/data")
    out = pos3.sync(f"{url}/{name}", sync_on_error=True, interval=None)
    (out / f"start-{flow_run.run_count}").write_bytes(b"".join(file.read_bytes() for file in sorted(data.iterdir())))
    is_first = flow_run.run_count == 1
    if is_first:
        (Path(here) / f"{name}-waits").touch()
    return is_first


@pos3_flow
def waits(url: str, here: str) -> None:
    if work(url, here):
        time.sleep(600)


@pos3_flow
async def awaits(url: str, here: str) -> None:
    if work(url, here):
        await asyncio.sleep(600)


@pos3_flow(retries=1, retry_delay_seconds=600)
def retries(url: str, here: str) -> None:
    if work(url, here):
        raise RuntimeError("not yet")


@prefect.flow
def clings(url: str, here: str) -> None:
    """Never learns that it is to stop."""
    mark = Path(here) / "clings-waits"
    if not mark.exists():
        signal.signal(signal.SIGTERM, lambda *_: None)
        mark.touch()
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            time.sleep(0.5)


@prefect.task(persist_result=True)
def make(url: str) -> int:
    (pos3.upload(f"{url}/made", interval=None) / "file").write_text("hours of work")
    return 1


@pos3_flow
def takes(url: str, here: str) -> None:
    """Finds its task cached at the second start."""
    state = make(url, return_state=True)
    mark = Path(here) / f"takes-{state.name}"
    mark.touch()
    if state.name != "Cached":
        time.sleep(600)


FLOWS: dict[str, Any] = {"waits": waits, "awaits": awaits, "retries": retries, "clings": clings}
