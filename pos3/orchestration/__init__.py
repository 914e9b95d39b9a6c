"""pos3 for Prefect: each run of a flow has a mirror, and tasks do single transfers.

>>> from pos3.orchestration import pos3_flow
>>> @pos3_flow(retries=2, retry_delay_seconds=60)                          # doctest: +SKIP
... def pipeline(dataset: str) -> Path:
...     data = pos3.download(dataset)
...     return train(data, pos3.upload("s3://bucket/run", interval=30))    # train: any Prefect task
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import_module("prefect")
except ModuleNotFoundError as error:
    if error.name != "prefect":
        raise
    raise ModuleNotFoundError(
        "pos3.orchestration needs Prefect; install pos3 with its extra 'prefect'", name="prefect"
    ) from None

from pos3.orchestration.flow import pos3_flow
from pos3.orchestration.internals import EngineHooks, install
from pos3.orchestration.results import PathSerializer, S3Contents
from pos3.orchestration.run_directories import run_dir
from pos3.orchestration.runtime import (
    around_task_hooks,
    explaining_foreign_paths,
    prepared_to_leave,
    received,
    result_to_hand_on,
    work_before_record,
)
from pos3.orchestration.tasks import bisync_task, download_task, flush_task, ls_task, publish, sync_task, upload_task

if TYPE_CHECKING:
    from pos3.orchestration.blocks import Pos3Mirror, Pos3Profile

__all__ = [
    "PathSerializer",
    "Pos3Mirror",
    "Pos3Profile",
    "S3Contents",
    "bisync_task",
    "download_task",
    "flush_task",
    "ls_task",
    "pos3_flow",
    "publish",
    "run_dir",
    "sync_task",
    "upload_task",
]

install(
    EngineHooks(
        find_work=work_before_record,
        around_hooks=around_task_hooks,
        receive=received,
        around_function=explaining_foreign_paths,
        hand_on=result_to_hand_on,
        prepare=prepared_to_leave,
    )
)


def __getattr__(name: str) -> Any:
    """Loads the blocks on first use, because they import prefect-aws where it is installed, which takes long."""
    if name in ("Pos3Mirror", "Pos3Profile"):
        from pos3.orchestration import blocks

        return getattr(blocks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
