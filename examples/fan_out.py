"""Fan-out by parts: the flow divides a dataset once, and each task lists, downloads and works on its part alone.

    python examples/fan_out.py --runner threads
    python examples/fan_out.py --runner processes
    python examples/fan_out.py --runner dask        # needs prefect-dask

Parts have about the same number of bytes, however many files that are. A part is a small value, so it goes to tasks on
other machines as well. Needs no S3 and no Prefect server. What is said at the end is checked.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

import local_prefect  # noqa: F401 - before Prefect
from local_s3 import Bucket, local_s3
from prefect import task

import pos3
from pos3.orchestration import pos3_flow

FILES, PARTS = 60, 4


@task
def count_words(part: pos3.Part) -> dict[str, Any]:
    # Only the range of the part is listed and downloaded, to the usual path. Other parts may be there, too.
    data = pos3.download(part)
    files = [file for file in data.rglob("*.txt") if file.relative_to(data) in part]
    words = sum(len(file.read_text().split()) for file in files)
    return {"part": part.index, "files": len(files), "words": words, "process": os.getpid()}


@pos3_flow(name="fan-out")
def count(dataset: str) -> list[dict[str, Any]]:
    parts = pos3.partition(dataset, parts=PARTS)
    print(f"the first part: {parts[0]}")
    counted: list[dict[str, Any]] = count_words.map(parts).result()
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

    return ThreadPoolTaskRunner(max_workers=PARTS)


def check(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO ':3}  {what}")
    if not holds:
        raise SystemExit(1)


def show(bucket: Bucket, runner: str, counted: list[dict[str, Any]]) -> None:
    *tasks, total = counted
    elsewhere = {item["process"] for item in tasks} - {os.getpid()}
    sizes = bucket.sizes("dataset/")
    print("checks:")
    check(sum(item["files"] for item in tasks) == FILES == total["downloaded"], "each file was in exactly one part")
    check(sum(item["words"] for item in tasks) == sum(sizes.values()) // len("word "), "and every word was counted")
    most = max(item["words"] for item in tasks) * len("word ")
    check(most <= 1.5 * sum(sizes.values()) / PARTS, "no part had more than one and a half times the mean")
    check(bool(elsewhere) == (runner != "threads"), f"the tasks ran in {len(elsewhere) or 'no'} other processes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runner", choices=("threads", "processes", "dask"), default="threads")
    runner: str = parser.parse_args().runner
    with local_s3() as bucket, tempfile.TemporaryDirectory(prefix="pos3-example-cache-") as cache:
        for number in range(FILES):
            bucket.put(f"dataset/{number % 3}/{number:03}.txt", b"word " * (1 + number % 7))
        chosen = count.with_options(task_runner=task_runner(runner), mirror={"cache_root": cache})
        show(bucket, runner, chosen(bucket.url("dataset")))


if __name__ == "__main__":
    main()
