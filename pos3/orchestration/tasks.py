"""Single transfers as Prefect tasks. They appear in the graph of a flow run.

They use the mirror of their flow run, and take the arguments of the functions of pos3 that they call. Their results are
never cached, because a cached upload would push nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

import pos3

P = ParamSpec("P")
R = TypeVar("R")


def _task(function: Callable[P, R], run_name: str | Callable[[], str]) -> Task[P, R]:
    return Task(
        function,
        name=f"pos3-{function.__name__}",
        task_run_name=run_name,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _flush_name() -> str:
    parameters: dict[str, Any] = task_run.parameters
    return f"flush {parameters.get('path_or_url') or 'everything'}"


download_task = _task(pos3.download, "download {remote}")
"""``pos3.download`` as a task. It returns a local path that matches ``remote``."""

upload_task = _task(pos3.upload, "upload {remote}")
"""``pos3.upload`` as a task. It returns the local path, which is pushed from then on."""

sync_task = _task(pos3.sync, "sync {remote}")
"""``pos3.sync`` as a task. It downloads first. It returns the local path, which is pushed from then on."""

bisync_task = _task(pos3.bisync, "bisync {remote}")
"""``pos3.bisync`` as a task. It returns the local path when both sides are up to date."""

publish = _task(pos3.publish, "publish {remote}")
"""``pos3.publish`` as a task. It returns when the set and its marker are stored. A retry continues the work."""

ls_task = _task(pos3.ls, "ls {prefix}")
"""``pos3.ls`` as a task. It returns full URLs."""

flush_task = _task(pos3.flush, _flush_name)
"""``pos3.flush`` as a task. It returns the report of the push."""
