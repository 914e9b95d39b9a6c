"""Parts of a pipeline that work alone and composed, for processes that import this and nothing of the test harness."""

from __future__ import annotations

from prefect import task

import pos3
from pos3.orchestration import pos3_flow


def write_raw(url: str) -> str:
    """Writes ``raw``: the source in upper case."""
    source, raw = pos3.download(f"{url}/source"), pos3.upload(f"{url}/raw", interval=None)
    for file in source.iterdir():
        (raw / file.name).write_text(file.read_text().upper())
    return f"{url}/raw"


def write_clean(raw_url: str) -> str:
    """Adds an index to ``raw``, and writes ``clean``."""
    raw, same = pos3.download(raw_url), pos3.sync(raw_url, interval=None)
    clean = pos3.upload(raw_url.replace("/raw", "/clean"), interval=None)
    names = sorted(file.name for file in raw.iterdir() if file.name != "index")
    (same / "index").write_text(" ".join(names))
    for name in names:
        (clean / name).write_text(f"{(raw / name).read_text()}!")
    return raw_url.replace("/raw", "/clean")


def read_clean(clean_url: str) -> dict[str, str]:
    return {file.name: file.read_text() for file in pos3.download(clean_url).iterdir()}


ingest, prepare, read = task(write_raw), task(write_clean), task(read_clean)
ingest_flow, prepare_flow, read_flow = pos3_flow(write_raw), pos3_flow(write_clean), pos3_flow(read_clean)


@task
def call_tasks(url: str) -> dict[str, str]:
    return read(prepare(ingest(url)))


@task
def call_subflows(url: str) -> dict[str, str]:
    return read_flow(prepare_flow(ingest_flow(url)))
