"""Says what a task run pushes before the engine commits the record of its result, and with which mirror."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

import pos3
from pos3.orchestration.internals import Success
from pos3.orchestration.remote import BrokeredMirror, MirrorAddress, MirrorGoneError, mirror_of_try
from pos3.orchestration.runtime.run import RunMirror
from pos3.orchestration.storing import Commits, Handled, Ledger


def work_before_record(success: Success) -> Callable[[], object] | None:
    """What a task run whose function has returned must still do; None for nothing, as where no record is left."""
    handled = Handled((success.parameters, success.result)) if success.leaves_record else None
    own = mirror_of_try(success.transaction)
    if own is not None:
        return functools.partial(own.finish, handled) if success.completes else None
    return _secured(str(success.task_run.id), handled) if handled is not None else None


def _secured(task_run_id: str, handled: Handled) -> Callable[[], object] | None:
    """A task run that has no mirror of its own has that of its flow run, and one that a user has opened around it."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    address = MirrorAddress.read_from(flow_run) if flow_run is not None else None
    run = RunMirror.of_run(address.flow_run_id) if address is not None else None
    if run is None and address is not None and (address.socket or RunMirror.has_ended_unpushed(address.flow_run_id)):
        return functools.partial(_secure_at, address, handled)
    commits = [run.commits] if run is not None else []
    users = _mirror_of_user(run)
    if users is not None:
        # Nobody has noted there who has registered what.
        commits.append(Commits(users, Ledger()))
    if not any(each.places() for each in commits):
        return None

    def secure() -> None:
        for each in commits:
            each.secure_run(task_run_id, handled)

    return secure


def _secure_at(address: MirrorAddress, handled: Handled) -> None:
    try:
        BrokeredMirror(address).secure(handled)
    except MirrorGoneError as gone:
        # A task that has registered something in another process has a mirror of its own by now, and is not here.
        is_lost = RunMirror.has_ended_unpushed(address.flow_run_id) or (
            handled.exists_here() and not _is_completed(address.flow_run_id)
        )
        if is_lost:
            raise MirrorGoneError(
                "the flow run has ended before what this task wrote was stored, so its result is not kept; "
                "the next run of the flow runs the task again"
            ) from gone


def _is_completed(flow_run_id: UUID) -> bool:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    return state is not None and state.is_completed()


def _mirror_of_user(run: RunMirror | None) -> pos3.Mirror | None:
    """The mirror that a user has opened in this context, if it is not that of the flow run."""
    here: pos3.MirrorLike | None = None
    with contextlib.suppress(pos3.NoMirrorError):
        here = pos3.current_mirror()
    own = run.mirror if run is not None else None
    return here if isinstance(here, pos3.Mirror) and here is not own else None
