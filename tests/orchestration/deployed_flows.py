"""What workers and runners are given to run: see ``test_workers.py``. They set the cache root in the environment."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from prefect import flow
from prefect.deployments import run_deployment
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment, flow_run

import pos3
from pos3.orchestration import pos3_flow


@pos3_flow
def learn(url: str, ending: str = "completes") -> str:
    """Writes, and then ends as told."""
    (pos3.upload(f"{url}/out") / f"try-{flow_run.run_count}").write_text("new")
    (pos3.upload(f"{url}/log", sync_on_error=True) / "new").write_text("new")
    match ending:
        case "waits to be stopped":
            time.sleep(600)
        case "suspends":
            # Called again after it was resumed, it returns at once.
            suspend_flow_run(timeout=300)
        case "is killed once" if flow_run.run_count == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "runs another":
            name = f"{flow_run.flow_name}/{deployment.name}"
            child = run_deployment(name, parameters={"url": f"{url}/child"}, timeout=120)
            assert child.state is not None
            return child.state.name or ""
    return str(Path.cwd())


@pos3_flow(mirror={"max_workers": 3}, cache_limit="5GB")
def chosen(url: str) -> None:
    """With options in its code."""


chosen = chosen.with_options(mirror={"shutdown_timeout": 9})


@flow
def plain(url: str) -> None: ...


mirrored_elsewhere = pos3_flow(plain)


@pos3_flow
def copy(data: Path, to: str) -> None:
    """Is given a URL for a path."""
    shutil.copytree(data, pos3.upload(to), dirs_exist_ok=True)
