"""Plain tasks that get and return paths. Workers on other machines import this module."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from pydantic import BaseModel

import pos3
from pos3.mirrors import is_arriving
from pos3.orchestration import run_dir


@dataclass(frozen=True)
class Split:
    name: str
    train: Path


class Model(BaseModel):
    weights: Path
    notes: list[Path]


class Plain:
    """A class of which nobody knows what it holds."""

    def __init__(self, path: Path):
        self.path = path


def here() -> str:
    """The mounts that this process sees."""
    return os.readlink("/proc/self/ns/mnt")


@task
def fetch(url: str) -> Path:
    return pos3.download(url)


@task
def read(path: Path) -> dict[str, Any]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {
        "here": here(),
        "text": str(path),
        "files": {file.name: file.read_text() for file in files},
        "downloads": pos3.report().downloaded_files,
    }


@task
async def aread(path: Path) -> str:
    assert not is_arriving(path), "the event loop would wait for its download"
    return await asyncio.to_thread(path.read_text)


@task
def read_all(values: Any) -> list[str]:
    """The content of each path in a collection of everything that can hold paths."""
    plain, split, model, by_path, in_set = (
        values["plain"],
        values["split"],
        values["model"],
        values["keys"],
        values["set"],
    )
    assert all(path in by_path for path in list(by_path))
    assert all(path in in_set for path in list(in_set))
    paths = [plain.path, split.train, model.weights, *model.notes, *by_path, *in_set, *values["nested"][0]["x"]]
    return [path.read_text() for path in paths]


@task
def make(url: str, name: str, text: str) -> Path:
    out = pos3.upload(url, interval=None)
    (out / name).write_text(text)
    return out / name


@task
def make_many(url: str) -> dict[str, Any]:
    out = pos3.upload(url, interval=None)
    for name in "abcdefg":
        (out / name).write_text(name)
    a, b, c, d, e, f, g = (out / name for name in "abcdefg")
    return {
        "plain": Plain(a),
        "split": Split("x", b),
        "model": Model(weights=c, notes=[d]),
        "keys": {e: 1},
        "set": {f},
        "nested": ({"x": [g]},),
    }


@task
def write_into(folder: Path, name: str, text: str) -> str:
    """Knows nothing of pos3: what it writes into is handed on by the flow."""
    (folder / name).write_text(text)
    return here()


@task
def write_and_wait(path: Path, mine: Path, events: str) -> str:
    """Reads a file and writes another one, says that it has begun, and reads again when it may end."""
    path.read_text()
    mine.write_text("mine")
    Path(events, "begun").touch()
    while not Path(events, "end").exists():
        time.sleep(0.1)
    return path.read_text()


@task
def write_as(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@task
def make_scratch() -> Path:
    path = Path(tempfile.mkdtemp()) / "scratch.txt"
    path.write_text("x")
    return path


@task
def read_one(path: Path) -> str:
    return path.read_text()


@task
def make_directory(path: Path) -> str:
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


@task(persist_result=True)
def keep(url: str) -> Path:
    out = pos3.upload(url, interval=None)
    (out / "kept").write_text("kept")
    return out / "kept"


@task
def write_output(name: str) -> Path:
    out = run_dir("model")
    (out / name).write_text(name)
    return out


def serve_all() -> None:
    from prefect.task_worker import serve

    serve(read, read_all, make, write_into)
