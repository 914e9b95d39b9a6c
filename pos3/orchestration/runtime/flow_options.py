"""The options of ``prefect.flow`` that ``pos3_flow`` passes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypedDict

from prefect.flows import FlowStateHook
from prefect.results import ResultSerializer, ResultStorage
from prefect.task_runners import TaskRunner

StrPath = str | os.PathLike[str]


class FlowOptions(TypedDict, total=False):
    """The keyword options of ``prefect.flow``."""

    name: str | None
    version: str | None
    flow_run_name: Callable[[], str] | str | None
    retries: int | None
    retry_delay_seconds: int | float | None
    task_runner: type[TaskRunner[Any]] | TaskRunner[Any] | None
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
