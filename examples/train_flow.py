"""A training flow that fails once, is retried, resumes from its checkpoint, and leaves in S3 exactly what it should.

    python examples/train_flow.py

Needs no S3 and no Prefect server: where the environment names none (AWS_ENDPOINT_URL, PREFECT_API_URL), both are
started for the time of the run. What is said at the end is checked, and the exit status is 0 only if all of it holds.
PREFECT_LOGGING_LEVEL=INFO shows what Prefect logs.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import local_prefect  # noqa: F401 - before Prefect
from local_s3 import Bucket, local_s3
from prefect import task

import pos3
from pos3.orchestration import pos3_flow

EPOCHS = 6
FAILS_AFTER_EPOCH = 3
KEPT_CHECKPOINTS = 2
CACHE = Path(tempfile.mkdtemp(prefix="pos3-example-cache-"))


@dataclass
class Seen:
    """What the flow saw, for the checks at the end."""

    mirrors: list[pos3.Mirror] = field(default_factory=list)
    first_epochs: list[int] = field(default_factory=list)
    logs_in_s3: list[list[str]] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)


seen = Seen()


@task
def count_samples(file: Path) -> int:
    return len(file.read_text().splitlines())


@task
def fit(data: Path, checkpoints: Path, logs: Path) -> float:
    """Fits y = w * x + b by gradient descent, one checkpoint an epoch, from the last checkpoint on."""
    samples = [tuple(map(float, line.split(","))) for file in data.iterdir() for line in file.read_text().splitlines()]
    last = max(checkpoints.glob("epoch-*.json"), default=None)
    state: dict[str, Any] = json.loads(last.read_text()) if last else {"epoch": 0, "w": 0.0, "b": 0.0}
    error = 0.0
    seen.first_epochs.append(state["epoch"] + 1)
    print(f"attempt {len(seen.first_epochs)} starts with epoch {seen.first_epochs[-1]}")
    with (logs / "train.log").open("a") as log:
        for epoch in range(state["epoch"] + 1, EPOCHS + 1):
            error = 0.0
            for x, y in samples:
                off = state["w"] * x + state["b"] - y
                state["w"] -= 0.05 * off * x
                state["b"] -= 0.05 * off
                error += off * off / len(samples)
            (checkpoints / f"epoch-{epoch:03}.json").write_text(json.dumps({**state, "epoch": epoch}))
            for old in sorted(checkpoints.glob("epoch-*.json"))[:-KEPT_CHECKPOINTS]:
                old.unlink()
            print(f"epoch {epoch} error {error:.5f}", file=log, flush=True)
            time.sleep(0.2)
            if epoch == FAILS_AFTER_EPOCH and len(seen.first_epochs) == 1:
                print(f"attempt {len(seen.first_epochs)} fails after epoch {epoch}, on purpose")
                raise RuntimeError("the machine has a bad day")
    return error


@pos3_flow(name="train", retries=1, retry_delay_seconds=2, cache_root=CACHE)
def train(bucket: str) -> float:
    seen.mirrors.append(pos3.current_mirror())
    seen.logs_in_s3.append(pos3.ls(f"{bucket}logs"))
    data = pos3.download(f"{bucket}dataset")
    checkpoints = pos3.sync(f"{bucket}checkpoints", interval=1)
    logs = pos3.upload(f"{bucket}logs", interval=1)
    seen.paths = {"dataset": data, "checkpoints": checkpoints, "logs": logs}

    samples = sum(count_samples.map(sorted(data.iterdir())).result())
    (logs / "dataset.json").write_text(json.dumps({"samples": samples}))
    return fit(data, checkpoints, logs)


def make_dataset(bucket: Bucket) -> None:
    dice = random.Random(1)
    for part in range(8):
        xs = [dice.uniform(-1, 1) for _ in range(500)]
        lines = [f"{x:.6f},{3 * x + 2 + dice.gauss(0, 0.01):.6f}" for x in xs]
        bucket.put(f"dataset/part-{part}.csv", "\n".join(lines).encode())


def check(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO ':3}  {what}")
    if not holds:
        raise SystemExit(1)


def show(bucket: Bucket, dataset: dict[str, int]) -> None:
    """Prints what happened, and checks it with a client that knows nothing of pos3."""
    in_s3 = bucket.sizes()
    report = seen.mirrors[0].report()
    wanted = {*dataset, "checkpoints/epoch-005.json", "checkpoints/epoch-006.json"}
    wanted |= {"logs/dataset.json", "logs/train.log"}
    here = {f"{name}/{file.name}": file for name, path in seen.paths.items() for file in path.iterdir()}

    print(f"\nmoved by pos3: {report}")
    print("local paths:")
    for name, path in seen.paths.items():
        print(f"  {bucket.url(name)}  ->  {path}")
    print("in S3:")
    for key, size_bytes in in_s3.items():
        print(f"  {size_bytes:7} bytes  {key}")
    print("checks:")
    check(seen.first_epochs == [1, FAILS_AFTER_EPOCH + 1], "two attempts; the second resumed after the checkpoint")
    check(seen.mirrors == [seen.mirrors[0]] * 2, "one mirror for both of them")
    check(not seen.mirrors[0].is_open, "it is closed now")
    check(report.downloaded_files == len(dataset), "each file of the dataset was downloaded once")
    check(report.downloaded_bytes == sum(dataset.values()), "and no byte more")
    check("train.log" in str(seen.logs_in_s3[1]), "the log was in S3 before the retry began")
    check(set(in_s3) == wanted, "S3 holds the dataset, the last two checkpoints and the logs, and nothing else")
    check(all(bucket.get(key) == here[key].read_bytes() for key in wanted), "each object has the bytes of its file")
    check(len(bucket.get("logs/train.log").splitlines()) == EPOCHS, "each epoch was trained once")


def main() -> None:
    with local_s3() as bucket:
        make_dataset(bucket)
        dataset = bucket.sizes("dataset/")
        error = train(bucket.url(""))
        print(f"trained to an error of {error:.5f}")
        show(bucket, dataset)


if __name__ == "__main__":
    main()
