"""Hands paths on to runs on other machines: what they need is pushed before, and what has come is restored.

Paths in arguments and results are made such that they travel, :mod:`pos3.mirrors` has the type. A path below an upload
is handed on as its URL, so files that were not pushed yet are pushed first, without deletes. That is only done where
the other side can be another machine: for task runners other than Prefect's threads and processes, and for ``delay``.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.collections import visit_collection

import pos3
from pos3.mirrors import (
    MirroredPath,
    arrive,
    as_mirrored,
    has_arriving,
    is_arriving,
    origin_of_foreign,
    reference_to_travel,
)
from pos3.orchestration.internals import Success
from pos3.orchestration.remote import MirrorAddress
from pos3.orchestration.runtime.flow_function import has_mirror
from pos3.orchestration.runtime.run import RunMirror
from pos3.orchestration.storing import paths_in
from pos3.orchestration.ui import log_safely

T = TypeVar("T")
_MAX_ARRIVALS = 8
_STAYING = (ThreadPoolTaskRunner, ProcessPoolTaskRunner)


def may_leave(runner: TaskRunner[Any] | None) -> bool:
    """Whether tasks of this runner may run on another machine."""
    return runner is not None and not isinstance(runner, _STAYING)


def run_names() -> str:
    """The names of the task run and the flow run of this context, for messages."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    parts = []
    if task is not None:
        parts.append(f"task run {task.task_run.name!r}")
    if flow is not None and flow.flow_run is not None:
        parts.append(f"flow run {flow.flow_run.name!r}")
    return " of ".join(parts)


def with_travelling_paths(value: Any) -> Any:
    """``value`` with all its paths as paths that travel. Without paths, it is the same object.

    Outside of runs with a mirror, plain paths stay plain, because the other side may know nothing of pos3.
    """
    if next(paths_in((value,)), None) is None:
        return value
    origin, context = run_names(), FlowRunContext.get()
    takes = Path if context is not None and has_mirror(context.flow) else MirroredPath

    def visit(each: Any) -> Any:
        return as_mirrored(each, origin) if isinstance(each, takes) else each

    return visit_collection(value, visit, return_data=True)


def unpushed_roots(value: Any) -> set[str]:
    """The local paths of open uploads that hold a path in ``value``, at which there are files that are not pushed."""
    found: set[str] = set()
    for path in paths_in((value,)):
        if is_arriving(path):
            continue
        reference = reference_to_travel(path)
        if reference is None or reference.upload is None or reference.root in found:
            continue
        if reference.has_local_changes(reference.cache_root):
            found.add(reference.root)
    return found


def push_for(value: Any) -> None:
    """Pushes what the paths in ``value`` need on another machine, with the mirror of this process.

    Raises:
        TransferError: some files failed.
    """
    roots = unpushed_roots(value)
    if not roots:
        return
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    run = RunMirror.find(MirrorAddress.read_from(flow_run).flow_run_id) if flow_run is not None else None
    for mirror in _mirrors(run):
        urls = {url for url, local in mirror._pushed_places() if local in roots}
        if urls:
            mirror._push_additions(urls)


def _mirrors(run: RunMirror | None) -> Iterator[pos3.Mirror]:
    if run is not None:
        yield run.mirror
    with contextlib.suppress(pos3.NoMirrorError):
        current = pos3.current_mirror()
        if isinstance(current, pos3.Mirror) and (run is None or current is not run.mirror):
            yield current


def prepared_to_leave(value: Any) -> Any:
    """``value`` as it is sent to a run that may be on another machine, after what it needs has been pushed.

    Raises:
        TransferError: some files failed.
    """
    push_for(value)
    return with_travelling_paths(value)


def is_elsewhere() -> bool:
    """Whether this task run is in another process than the mirror of its flow run."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    address = MirrorAddress.read_from(flow_run) if flow_run is not None else None
    return address is None or RunMirror.find(address.flow_run_id) is None


def result_to_hand_on(success: Success) -> Any:
    """The result of a task run, with paths that travel if the run is in another process than its flow."""
    return with_travelling_paths(success.result) if is_elsewhere() else success.result


def has_unpushed_result(success: Success) -> bool:
    """Whether the result of a task run in another process holds a path with files that are not pushed yet."""
    context = FlowRunContext.get()
    runner = context.flow.task_runner if context is not None and context.flow is not None else None
    # A process pool returns results to the flow's process on the same machine.
    return not isinstance(runner, ProcessPoolTaskRunner) and bool(unpushed_roots(success.result))


def received(arguments: T) -> T:
    """The arguments of a run, with the content of paths that have come from another machine, or that are URLs.

    Raises:
        RemoteNotFoundError: the content is gone, or not pushed yet.
        Further errors as for :func:`pos3.download`.
    """
    if not has_arriving():
        return arguments
    arriving: list[Path] = []
    for path in paths_in((arguments,)):
        if is_arriving(path):
            arriving.append(path)
        elif (origin := origin_of_foreign(str(path))) is not None and not path.exists():
            # The run may be about to create it, so it is no error yet.
            log_safely(get_run_logger(), logging.WARNING, "pos3: %s", _why_missing(str(path), *origin))
    if not arriving:
        return arguments
    _arrive_together(arriving)
    made: T = visit_collection(arguments, lambda each: arrive(each) if is_arriving(each) else each, return_data=True)
    return made


def _arrive_together(paths: list[Path]) -> None:
    """Restores several paths side by side, since each may be a small file with some round trips."""
    if len(paths) == 1:
        arrive(paths[0])
        return
    with ThreadPoolExecutor(_MAX_ARRIVALS, "pos3-arrival") as pool:
        begun = [pool.submit(contextvars.copy_context().run, arrive, path) for path in paths]
        for future in begun:
            future.result()


@contextlib.contextmanager
def explaining_foreign_paths() -> Iterator[None]:
    """Makes one clear error of a missing file that another machine has.

    Raises:
        RemoteNotFoundError: the body did not find a path that a run on another machine has handed on, and that lies
            outside of every mirror there.
    """
    try:
        yield
    except FileNotFoundError as error:
        path = os.fspath(error.filename) if isinstance(error.filename, str | os.PathLike) else ""
        found = origin_of_foreign(path) if isinstance(path, str) and os.path.isabs(path) else None
        if found is None or isinstance(error, pos3.Pos3Error):
            raise
        raise pos3.RemoteNotFoundError(_why_missing(path, *found)) from error


def _why_missing(path: str, handed_on: str, origin: str) -> str:
    return (
        f"{path} is not on this machine: {origin} passed {handed_on}, which is in no mirror there, so pos3 cannot "
        "download it here; write the file below the path of pos3.upload(...), or pass its content"
    )


def submit_prepared(submit: Callable[..., Any], is_needed: bool) -> Callable[..., Any]:
    """The ``submit`` of a task runner; if its tasks may leave the machine, their arguments are prepared for that."""
    if not is_needed:
        return submit

    def submit_prepared_arguments(task: Any, parameters: Any, *args: Any, **kwargs: Any) -> Any:
        return submit(task, prepared_to_leave(parameters), *args, **kwargs)

    return submit_prepared_arguments
