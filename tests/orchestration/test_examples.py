"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("command", "checks"),
    [
        pytest.param(["train_flow.py"], 9, id="checkpoints"),
        pytest.param(["map_flow.py", "--runner=threads"], 4, id="threads"),
        pytest.param(["map_flow.py", "--runner=processes"], 4, id="processes"),
        pytest.param(["map_flow.py", "--runner=dask"], 4, id="dask"),
        pytest.param(["fan_out.py", "--runner=threads"], 4, id="parts-on-threads"),
        pytest.param(["fan_out.py", "--runner=processes"], 4, id="parts-on-processes"),
        pytest.param(["fan_out.py", "--runner=dask"], 4, id="parts-on-dask"),
        pytest.param(["distributed_training.py"], 4, id="ranks"),
        pytest.param(["background_tasks.py"], 2, id="background-tasks"),
        pytest.param(["two_workers.py"], 6, id="two-workers"),
    ],
)
def test_an_example_holds_what_it_says(command: list[str], checks: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_"))}
    environment |= {
        "PYTHONPATH": str(EXAMPLES.parent),
        "TMPDIR": str(tmp_path),
        # Without it, each example would start a server of its own, for twice the time.
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
    }
    script, *options = command
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("yes  ") == checks
    assert "NO " not in done.stdout
