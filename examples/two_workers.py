"""A pipeline over two workers: dataset, training, evaluation. Each worker has a cache of its own; S3 is in between.

    python examples/two_workers.py

Both workers are processes of this machine that serve their flows as deployments, as they would on two machines. Needs
no S3 and no Prefect server. What is said at the end is checked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from local_prefect import local_prefect  # before Prefect
from local_s3 import Bucket, local_s3
from prefect import get_client, serve, task
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

import pos3
from pos3.orchestration import pos3_flow, publish

PARTS = 4


@task
def make_samples() -> Path:
    made = Path(tempfile.mkdtemp(prefix="pos3-example-dataset-"))
    for part in range(PARTS):
        (made / f"part-{part}.csv").write_text("\n".join(f"{x},{3 * x}" for x in range(1, 100)))
    return made


@pos3_flow(name="prepare")
def prepare(dataset: str) -> None:
    # The marker comes last, so nobody takes half of the dataset for all of it.
    publish(dataset, make_samples(), marker="_SUCCESS")


@task
def fit(data: Path, out: Path) -> Path:
    samples = [tuple(map(float, line.split(","))) for file in data.glob("*.csv") for line in file.open()]
    slope = sum(y for _, y in samples) / sum(x for x, _ in samples)
    (out / "model.json").write_text(json.dumps({"slope": slope, "cache": str(pos3.current_mirror().cache_root)}))
    return out / "model.json"


@pos3_flow(name="train", persist_result=True)
def train(dataset: str, model: str) -> Path:
    data = pos3.download(dataset, require_marker="_SUCCESS")
    return fit(data, pos3.upload(model))


@pos3_flow(name="evaluate", persist_result=True)
def evaluate(dataset: str, model: str) -> dict[str, Any]:
    data = pos3.download(dataset, require_marker="_SUCCESS")
    trained = json.loads((pos3.download(model) / "model.json").read_text())
    x, y = map(float, (data / "part-0.csv").read_text().splitlines()[0].split(","))
    return {"error": abs(trained["slope"] * x - y), "trained in": trained["cache"], "evaluated in": str(data)}


def run(deployment: str, **parameters: str) -> State[Any]:
    state: State[Any] = run_deployment(deployment, parameters=parameters, poll_interval=0.5).state
    if not state.is_completed():
        raise RuntimeError(f"{deployment}: {state.message}")
    return state


@pos3_flow(name="pipeline")
def pipeline(dataset: str, model: str) -> dict[str, Any]:
    run("prepare/cpu", dataset=dataset)
    # A path of the worker "gpu"; here it is the same file, downloaded.
    trained: Path = run("train/gpu", dataset=dataset, model=model).result()
    print(f"here the model is {trained}")
    evaluation: dict[str, Any] = run("evaluate/cpu", dataset=dataset, model=model).result()
    return {**evaluation, "model here": trained.read_text()}


def wait_until_served(name: str, worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and worker.poll() is None:
        with get_client(sync_client=True) as client, suppress(ObjectNotFound):
            client.read_deployment_by_name(name)
            return
        time.sleep(0.2)
    raise SystemExit(f"{name} is not served")


WORKERS = {"cpu": (prepare, evaluate), "gpu": (train,)}


@contextmanager
def worker(name: str, cache: str) -> Iterator[None]:
    environment = {**os.environ, "POS3_CACHE_ROOT": cache, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    process = subprocess.Popen([sys.executable, __file__, name], env=environment, stdout=subprocess.DEVNULL)
    try:
        for served in WORKERS[name]:
            wait_until_served(f"{served.name}/{name}", process)
        yield
    finally:
        process.terminate()
        process.wait()


def check(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO ':3}  {what}")
    if not holds:
        raise SystemExit(1)


def show(bucket: Bucket, folder: Path, outcome: dict[str, Any]) -> None:
    in_s3 = bucket.sizes()
    print("in S3:", *in_s3, sep="\n  ")
    print("checks:")
    check(outcome["error"] < 1e-9, "the model is right")
    check(outcome["trained in"] == str(folder / "gpu"), "it was trained by one worker")
    check(outcome["evaluated in"].startswith(str(folder / "cpu")), "and evaluated by the other")
    check(bucket.get("model/model.json").decode() == outcome["model here"], "and its path leads to its bytes, here too")
    check({f"dataset/part-{part}.csv" for part in range(PARTS)} < set(in_s3), "the dataset is in S3")
    check("dataset/_SUCCESS" in in_s3, "and its marker")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pos3-example-cache-") as made, local_prefect(), local_s3() as bucket:
        folder = Path(made).resolve()
        with worker("cpu", str(folder / "cpu")), worker("gpu", str(folder / "gpu")):
            here = pipeline.with_options(mirror={"cache_root": str(folder / "here")})
            show(bucket, folder, here(bucket.url("dataset"), bucket.url("model")))


if __name__ == "__main__":
    if sys.argv[1:]:
        serve(*[served.to_deployment(sys.argv[1]) for served in WORKERS[sys.argv[1]]])
    else:
        main()
