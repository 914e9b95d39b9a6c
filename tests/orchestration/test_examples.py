"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prefect.settings import PREFECT_API_URL

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_training_example_holds_what_it_says(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_"))}
    environment |= {
        "PYTHONPATH": str(EXAMPLES.parent),
        "TMPDIR": str(tmp_path),
        # Without it, the example would start a server of its own, for twice the time.
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_flow.py")], env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("yes  ") == 9
    assert "NO " not in done.stdout
