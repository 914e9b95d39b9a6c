"""Two runs of ``tests/stress/chaos``; ``make chaos`` does a hundred."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

CHAOS = Path(__file__).parents[2] / "tests" / "stress" / "chaos"


@pytest.mark.timeout(300)  # Ten processes that import Prefect.
def test_flow_runs_in_chaos_leave_in_s3_what_they_should(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    # This seed brings a kill, a stop, and tasks in other processes into two runs.
    options = ["--runs=2", "--seed=20", f"--home={tmp_path}", f"--prefect={PREFECT_API_URL.value()}"]
    command = [sys.executable, str(CHAOS), *options]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]
    assert "violations: 0" in ran.stdout
