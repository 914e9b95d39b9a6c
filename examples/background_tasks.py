"""Background tasks: a flow hands work to a task worker, another process, which uses the flow's mirror.

    python examples/background_tasks.py

Needs no S3 and no Prefect server. What is said at the end is checked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local_prefect import local_prefect  # before Prefect
from local_s3 import local_s3
from prefect import task
from prefect.futures import PrefectDistributedFuture
from prefect.task_worker import serve

import pos3
from pos3.orchestration import pos3_flow


@task(persist_result=True)
def resize(dataset: str, name: str, results: str) -> int:
    data = pos3.download(dataset)
    out = pos3.upload(results)
    (out / name).write_bytes((data / name).read_bytes()[:100])
    return os.getpid()


def result_of(future: PrefectDistributedFuture[int]) -> int:
    """The result of a background task. Prefect raises until the server knows the run's first state."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return future.result(timeout=90)
        except RuntimeError as error:
            if "has no state" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


@pos3_flow(name="thumbnails")
def thumbnails(dataset: str, results: str) -> list[int]:
    futures = [resize.delay(dataset, Path(url).name, results) for url in pos3.ls(dataset)]
    processes = [result_of(future) for future in futures]
    print(f"moved before the final push: {pos3.report()}")
    return processes


def check(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO ':3}  {what}")
    if not holds:
        raise SystemExit(1)


def main() -> None:
    with local_prefect(), local_s3() as bucket, tempfile.TemporaryDirectory(prefix="pos3-example-cache-") as cache:
        for number in range(4):
            bucket.put(f"images/{number}.png", bytes(1000))
        worker = subprocess.Popen([sys.executable, __file__, "--worker"], stderr=subprocess.DEVNULL)
        try:
            flow = thumbnails.with_options(mirror={"cache_root": cache})
            processes = flow(bucket.url("images"), bucket.url("thumbnails"))
        finally:
            worker.terminate()
            worker.wait()
        print("checks:")
        check(set(processes) == {worker.pid}, "every task ran in the worker")
        check(bucket.sizes("thumbnails/") == {f"thumbnails/{n}.png": 100 for n in range(4)}, "every result is in S3")


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        serve(resize)
    else:
        main()
