"""Plain tasks for other processes, which import this module and nothing of the test harness."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.task_runners import ProcessPoolTaskRunner

import pos3
from pos3.orchestration import S3Contents, pos3_flow


@task
def read(url: str) -> str:
    return (pos3.download(url) / "file").read_text()


@pos3_flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def read_elsewhere(url: str) -> str:
    return read.submit(url).result()


@task
def write(url: str, text: str, **options: Any) -> int:
    (pos3.upload(url, **options) / text).write_text(text)
    return os.getpid()


@task(cache_policy=S3Contents())
def choose(url: str) -> dict[str, Any]:
    """What is cached: a path, and the process that had it."""
    return {"path": pos3.download(url) / "file", "pid": os.getpid()}


def materialize_model(url: str) -> None:
    """For ``@materialize``: writes ``model`` of ``data``, beside a checkpoint that it syncs and does not change."""
    from prefect.assets import add_asset_metadata

    data, model = pos3.download(f"{url}/data"), pos3.upload(f"{url}/model", interval=None)
    (model / "weights").write_bytes((data / "a").read_bytes())
    pos3.sync(f"{url}/ckpt", interval=None)
    add_asset_metadata(f"{url}/model", {"note": "mine"})


@pos3_flow
def materializing(url: str) -> list[str]:
    """What is stored when the task has ended, long before the end of the run."""
    from prefect.assets import materialize

    materialize(f"{url}/model")(materialize_model).submit(url).result()
    return pos3.ls(f"{url}/model")


@task
async def awrite(url: str, text: str) -> int:
    (pos3.upload(url, interval=None) / text).write_text(text)
    return os.getpid()


@task
def write_within(url: str, text: str) -> int:
    """With a task that this one calls, and one that it submits."""
    return write.submit(url, text).result() and write(url, f"{text}-too")


@pos3_flow
def subflow(url: str, text: str) -> None:
    write(url, text)


@task
def look_around(url: str, name: str, work: Path) -> dict[str, Any]:
    """What a task sees that downloads ``in``, uploads to ``out``, and makes mistakes."""
    os.chdir(work)
    seen: dict[str, Any] = {"pid": os.getpid(), "text": (pos3.download(f"{url}/in") / "file").read_text()}
    seen["cached"] = str(pos3.download(f"{url}/in"))
    write(f"{url}/out", name)
    if name == "a":
        subflow(f"{url}/out", "by-subflow")
    seen["relative"] = str(pos3.download(f"{url}/in/file", "by-relative-path"))
    try:
        pos3.download(f"{url}/missing")
    except FileNotFoundError as error:
        seen["error"] = error
    try:
        pos3.download(f"{url}/in", include="*.txt", no_such=1)  # type: ignore[call-arg]
    except TypeError as error:
        seen["mistake"] = str(error)
    seen["listed"] = pos3.ls(f"{url}/in")
    seen["planned"] = pos3.plan_upload(f"{url}/other", "by-relative-path").to_copy
    seen["downloads"] = pos3.report().downloaded_files
    began = time.perf_counter()
    for _ in range(20):
        pos3.download(f"{url}/in")
    seen["milliseconds"] = (time.perf_counter() - began) * 50
    return seen


@task
def write_before_and_after(url: str, sign: Path) -> int:
    """Writes a file, waits until ``sign`` exists, and writes another."""
    out = pos3.upload(url, interval=None)
    (out / "before").write_text("x")
    sign.with_suffix(".waits").touch()
    while not sign.exists():
        time.sleep(0.05)
    (out / "after").write_text("x")
    return os.getpid()


@task(persist_result=True)
def write_into(folder: Path, name: str) -> int:
    """Knows nothing of pos3: what it writes into is the flow's."""
    (folder / name).write_text(name)
    return os.getpid()


@task(persist_result=True)
def write_and_keep(url: str, name: str) -> int:
    (pos3.upload(url, interval=None) / name).write_text(name)
    return os.getpid()


def serve_all() -> None:
    from prefect.task_worker import serve

    serve(read, write, awrite, write_before_and_after)
