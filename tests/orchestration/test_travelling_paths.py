"""Paths that are handed to tasks on other machines, and that come from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration import travelling_tasks as tasks
from tests.orchestration.conftest import Mirrors
from tests.orchestration.machines import Machines, two_machines
from tests.support import Proxy, S3Site


@pytest.fixture
def machines(rclone_site: S3Site) -> Iterator[Machines]:
    with two_machines() as machines:
        yield machines


def on(name: str) -> Any:
    """Tasks that are submitted in this context run on the machine of this name."""
    return dask.annotate(workers=[name], allow_other_workers=False)


def test_a_path_of_the_flow_is_valid_on_another_machine(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    site = rclone_site
    site.put_all({"data/a": b"one", "data/sub/b": b"two"})
    url = site.url("data")

    @pos3_flow(cache_root=cache, task_runner=machines.runner())
    def learn() -> list[Any]:
        data = pos3.download(url)
        with on("first"):
            whole = tasks.read.submit(data)
            again = tasks.read.submit(data / "sub")
        with on("second"):
            part = tasks.read.submit(data / "sub" / "b")
        return [each.result() for each in (whole, again, part)]

    try:
        whole, again, part = learn()
    except BaseException as error:
        for log in machines.shared.glob("*.log"):
            error.add_note(log.read_text()[-6000:])
        raise
    assert whole["here"] != part["here"]
    assert os.readlink("/proc/self/ns/mnt") not in (whole["here"], part["here"])
    assert whole["files"] == {"a": "one", "b": "two"}
    assert again["files"] == part["files"] == {"b": "two"}
