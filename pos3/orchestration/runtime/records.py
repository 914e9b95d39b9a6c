"""Decides what a task run pushes before the engine commits the record of its result, and with which mirror."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

import pos3
from pos3.orchestration.internals import Success
from pos3.orchestration.remote import BrokeredMirror, MirrorAddress, MirrorGoneError, mirror_of_try
from pos3.orchestration.runtime.handing_on import has_unpushed_result, is_elsewhere
from pos3.orchestration.runtime.run import RunMirror
from pos3.orchestration.storing import Metadata, PreCommitPushes, RegistrationLog, TaskData
from pos3.orchestration.ui import materialized_here, metadata_writer


def work_before_record(success: Success) -> Callable[[], object] | None:
    """The function to call before a task run completes; None if nothing is to do.

    There is something to do for a run that leaves a record, for one that materializes assets, because Prefect emits
    them when it completes, and for one with a mirror of its own.
    """
    task_data = _task_data(success)
    work = _work(success, task_data)
    if work is None or task_data is None or not task_data.assets:
        return work
    add_metadata = metadata_writer()
    return lambda: add_metadata(work())


def _work(success: Success, task_data: TaskData | None) -> Callable[[], Metadata] | None:
    own = mirror_of_try(success.transaction)
    if own is not None:
        return functools.partial(own.finish, task_data) if success.completes else None
    return _work_of_flow_mirror(str(success.task_run.id), task_data) if task_data is not None else None


def _task_data(success: Success) -> TaskData | None:
    assets = frozenset(materialized_here()) if success.completes else frozenset()
    if success.leaves_record:
        return TaskData((success.parameters, success.result), assets=assets)
    if is_elsewhere() and has_unpushed_result(success):
        # The flow, or another task, may load the result on another machine.
        return TaskData((success.result,), assets=assets)
    return TaskData(assets=assets, leaves_record=False) if assets else None


def _work_of_flow_mirror(task_run_id: str, task_data: TaskData) -> Callable[[], Metadata] | None:
    """The work of a task run without a mirror of its own. It pushes with its flow run's mirror, and with a user's."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    address = MirrorAddress.read_from(flow_run) if flow_run is not None else None
    run = RunMirror.find(address.flow_run_id) if address is not None else None
    if run is None and address is not None and (address.socket or RunMirror.has_ended_unpushed(address.flow_run_id)):
        return functools.partial(_ensure_stored_at, address, task_data)
    pre_commit_pushes = [run.pre_commit_pushes] if run is not None else []
    user_mirror = _mirror_of_user(run)
    if user_mirror is not None:
        # A mirror that the user has opened has no log of its registrations.
        pre_commit_pushes.append(PreCommitPushes(user_mirror, RegistrationLog()))
    if not any(each.registered_uploads() for each in pre_commit_pushes):
        return None

    def ensure_stored() -> Metadata:
        metadata: dict[str, Mapping[str, Any]] = {}
        for each in pre_commit_pushes:
            metadata |= each.ensure_stored_for_run(task_run_id, task_data)
        return metadata

    return ensure_stored


def _ensure_stored_at(address: MirrorAddress, task_data: TaskData) -> Metadata:
    try:
        return BrokeredMirror(address).ensure_stored(task_data)
    except MirrorGoneError as gone:
        # A task in another process that has registered an upload has a mirror of its own by now, and does not get here.
        is_lost = task_data.leaves_record and (
            RunMirror.has_ended_unpushed(address.flow_run_id)
            or (task_data.exists_locally() and not _is_completed(address.flow_run_id))
        )
        if is_lost:
            raise MirrorGoneError(
                "the flow run ended before the uploads of this task were pushed, so the result of the task is not "
                "stored; the next run of the flow runs the task again"
            ) from gone
        return {}


def _is_completed(flow_run_id: UUID) -> bool:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    return state is not None and state.is_completed()


def _mirror_of_user(run: RunMirror | None) -> pos3.Mirror | None:
    """The mirror that a user has opened in this context; None if that is the flow run's mirror."""
    current: pos3.MirrorLike | None = None
    with contextlib.suppress(pos3.NoMirrorError):
        current = pos3.current_mirror()
    own = run.mirror if run is not None else None
    return current if isinstance(current, pos3.Mirror) and current is not own else None
