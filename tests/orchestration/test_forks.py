"""Tasks that fork: one locks a local root while another one forks."""

from __future__ import annotations

import os
from pathlib import Path

from prefect import task
from prefect.task_runners import ThreadPoolTaskRunner

import pos3
from pos3.orchestration import pos3_flow
from tests.support import S3Site

TASKS = 12


@task
def read_in_children(url: str) -> list[int]:
    path = pos3.download(url)
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            os._exit((path / "file").read_bytes() != b"1")
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def test_mapped_tasks_that_fork_at_once_all_complete(rclone_site: S3Site, cache: Path) -> None:
    rclone_site.put("in/file", b"1")

    @pos3_flow(cache_root=cache, task_runner=ThreadPoolTaskRunner(max_workers=TASKS))
    def learn() -> list[list[int]]:
        return read_in_children.map([rclone_site.url("in")] * TASKS).result()

    assert learn() == [[0] * 8] * TASKS
