"""What ``pos3_flow`` takes: options of the mirror, and options of the flow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from prefect.flows import FlowStateHook
from prefect.futures import PrefectFuture
from prefect.results import ResultSerializer, ResultStorage
from prefect.task_runners import TaskRunner

import pos3

StrPath = str | os.PathLike[str]
DEFAULT_CACHE_ROOT = "~/.cache/positronic/s3/"


@dataclass(frozen=True)
class MirrorOptions:
    """The arguments of a mirror, kept until a flow run needs one. Travels with a flow that is pickled."""

    cache_root: StrPath = DEFAULT_CACHE_ROOT
    show_progress: bool = False
    max_workers: int = 10
    default_profile: str | pos3.Profile | None = None
    max_upload_bytes_per_second: float | None = None
    cache_limit: int | str | None = None
    shutdown_timeout: float = 25.0

    def new_mirror(self, progress: pos3.OpenProgress) -> pos3.Mirror:
        """A mirror that is not open yet; ``progress`` is used if progress is to be shown at all.

        Raises:
            InvalidArgumentError, ProfileError: before anything is changed.
        """
        return pos3.Mirror(
            self.cache_root,
            self.show_progress,
            self.max_workers,
            self.default_profile,
            self.max_upload_bytes_per_second,
            cache_limit=self.cache_limit,
            shutdown_timeout=self.shutdown_timeout,
            progress=progress if self.show_progress else None,
        )

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` with a mirror of its own around each call, as outside Prefect."""
        in_mirror = pos3.with_mirror(
            self.cache_root,
            self.show_progress,
            self.max_workers,
            self.default_profile,
            self.max_upload_bytes_per_second,
            cache_limit=self.cache_limit,
            shutdown_timeout=self.shutdown_timeout,
        )
        return in_mirror(function)


class FlowOptions(TypedDict, total=False):
    """The keyword options of ``prefect.flow``."""

    name: str | None
    version: str | None
    flow_run_name: Callable[[], str] | str | None
    retries: int | None
    retry_delay_seconds: int | float | None
    task_runner: type[TaskRunner[PrefectFuture[Any]]] | TaskRunner[PrefectFuture[Any]] | None
    description: str | None
    timeout_seconds: int | float | None
    validate_parameters: bool
    persist_result: bool | None
    result_storage: ResultStorage | None
    result_serializer: ResultSerializer | None
    cache_result_in_memory: bool
    log_prints: bool | None
    on_completion: list[FlowStateHook[..., Any]] | None
    on_failure: list[FlowStateHook[..., Any]] | None
    on_cancellation: list[FlowStateHook[..., Any]] | None
    on_crashed: list[FlowStateHook[..., Any]] | None
    on_running: list[FlowStateHook[..., Any]] | None
