"""A flow for the worker of docker/compose.yaml: it fails once, is retried, and goes on from its checkpoint."""

from __future__ import annotations

import json
import time
from pathlib import Path

from prefect import task

import pos3
from pos3.orchestration import pos3_flow


@task
def count_words(data: Path) -> int:
    return sum(len(file.read_text().split()) for file in data.rglob("*.txt"))


@pos3_flow(name="train", retries=1, retry_delay_seconds=1)
def train(bucket: str, steps: int = 3, pauses: list[float] | None = None, interval: float = 5) -> int:
    """Counts the words of the dataset, and then takes its steps. ``pauses`` are the seconds before each of them.

    Without pauses, the second step fails at its first try.
    """
    words = count_words(pos3.download(f"{bucket}/data"))
    # What is written here is in S3 within seconds, and also when the worker is stopped in the middle.
    state = pos3.sync(f"{bucket}/state", interval=interval, sync_on_error=True)
    checkpoint = state / "checkpoint.json"
    done = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
    with (state / "log.txt").open("a") as log:
        for step in range(done + 1, steps + 1):
            time.sleep(pauses[step - 1] if pauses else 0.2)
            print(f"step {step}: {words} words", file=log, flush=True)
            checkpoint.write_text(json.dumps({"step": step}))
            if step == 2 and done == 0 and not pauses:
                raise RuntimeError("the machine has a bad day")
    return steps
