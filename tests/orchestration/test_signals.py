"""A flow's process that is told to stop: what asks for it is pushed, and nothing is deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

import pos3
from tests.support import S3Site

SCRIPT = """
import asyncio, sys, time
import pos3
from pos3.orchestration import pos3_flow

url, cache, kind = sys.argv[1:]

def write():
    (pos3.upload(f"{url}/out") / "new").write_text("new")
    (pos3.upload(f"{url}/log", sync_on_error=True) / "new").write_text("new")

@pos3_flow(cache_root=cache)
def body():
    write()
    print("ready", flush=True)
    time.sleep(60)

@pos3_flow(cache_root=cache, retries=1, retry_delay_seconds=60)
def delay():
    write()
    print("ready", flush=True)
    raise RuntimeError("not yet")

@pos3_flow(cache_root=cache)
async def abody():
    write()
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(abody()) if kind == "abody" else globals()[kind]()
"""


@pytest.mark.parametrize("kind", ["body", "abody", "delay"])
def test_sigterm_pushes_sync_on_error_and_deletes_nothing(rclone_site: S3Site, tmp_path: Path, kind: str) -> None:
    rclone_site.put_all({"out/stale": b"old", "log/stale": b"old"})
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PYTHONPATH": str(Path(pos3.__file__).parents[1]),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, rclone_site.url(), str(tmp_path), kind],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if kind == "delay":
            # The state is set, and the engine waits.
            time.sleep(1.5)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) != 0
    finally:
        child.kill()
        child.communicate()
    assert set(rclone_site.keys()) == {"out/stale", "log/stale", "log/new"}
