"""Fan-out: one task for each file of a dataset, on the task runner of your choice. The flow is the same for all.

    python examples/map_flow.py --runner threads
    python examples/map_flow.py --runner processes
    python examples/map_flow.py --runner dask        # needs prefect-dask

Needs no S3 and no Prefect server. What is said at the end is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import local_prefect  # noqa: F401 - before Prefect
from local_s3 import Bucket, local_s3
from prefect import task, unmapped

import pos3
from pos3.orchestration import pos3_flow

FILES = 12


@task
def count_words(name: str, dataset: str, results: str) -> dict[str, Any]:
    # Whatever thread or process this runs in: these are calls of the flow's mirror. The dataset is downloaded by
    # whoever comes first, and what is written is pushed by the flow, also after the task has ended.
    data = pos3.download(dataset)
    out = pos3.upload(results, interval=30)
    words = len((data / name).read_text().split())
    (out / f"{name}.json").write_text(json.dumps({"words": words}))
    return {"words": words, "process": os.getpid()}


@pos3_flow(name="count")
def count(dataset: str, results: str) -> list[dict[str, Any]]:
    names = [Path(url).name for url in pos3.ls(dataset)]
    counted: list[dict[str, Any]] = count_words.map(names, unmapped(dataset), unmapped(results)).result()
    print(f"moved before the final push: {pos3.report()}")
    return [*counted, {"downloaded": pos3.report().downloaded_files}]


def task_runner(name: str) -> Any:
    if name == "processes":
        from prefect.task_runners import ProcessPoolTaskRunner

        return ProcessPoolTaskRunner(max_workers=2)
    if name == "dask":
        from prefect_dask import DaskTaskRunner

        cluster = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None, "silence_logs": "CRITICAL"}
        return DaskTaskRunner(cluster_kwargs=cluster)
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=4)


def check(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO ':3}  {what}")
    if not holds:
        raise SystemExit(1)


def show(bucket: Bucket, runner: str, counted: list[dict[str, Any]]) -> None:
    *tasks, total = counted
    elsewhere = {item["process"] for item in tasks} - {os.getpid()}
    print("checks:")
    check(sum(item["words"] for item in tasks) == sum(range(1, FILES + 1)), "every file was counted")
    check(bool(elsewhere) == (runner != "threads"), f"the tasks ran in {len(elsewhere) or 'no'} other processes")
    check(total["downloaded"] == FILES, "each file was downloaded once")
    check(len(bucket.sizes("results/")) == FILES, "each task's result is in S3")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runner", choices=("threads", "processes", "dask"), default="threads")
    runner: str = parser.parse_args().runner
    with local_s3() as bucket, tempfile.TemporaryDirectory(prefix="pos3-example-cache-") as cache:
        for number in range(1, FILES + 1):
            bucket.put(f"dataset/part-{number}.txt", b"word " * number)
        chosen = count.with_options(task_runner=task_runner(runner), mirror={"cache_root": cache})
        show(bucket, runner, chosen(bucket.url("dataset"), bucket.url("results")))


if __name__ == "__main__":
    main()
