"""Sets the states of flow runs whose process has ended: rescheduled, cancelled or crashed."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Crashed

Log = logging.Logger | logging.LoggerAdapter[Any]
WORKER_LABEL = "prefect.worker.name"
_UNFINISHED_STATES = {StateType.RUNNING, StateType.PENDING, StateType.CRASHED, StateType.PAUSED}


async def reschedule(
    client: PrefectClient,
    flow_run_id: UUID,
    why: str,
    log: Log,
    *,
    worker_name: str = "",
    restarts: int | None = None,
) -> None:
    """Makes a flow run whose process has ended start again, on this worker or on another.

    A run that has ended by itself is not changed, nor is a run that another worker than ``worker_name`` has taken over.
    A run that was being cancelled becomes cancelled. With ``restarts``, a run that has started more often than that,
    not counting its own retries, becomes crashed for good, because it may be the run that kills its workers. ``why`` is
    a clause for the message of its state.
    """
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return
    if worker_name and flow_run.labels.get(WORKER_LABEL, worker_name) != worker_name:
        return
    state = _next_state(flow_run, why, restarts)
    if state is None:
        return
    response = await client.set_flow_run_state(flow_run_id, state)
    if response.status != SetStateStatus.ACCEPT:
        # Without force, a crashed run cannot be scheduled again.
        await client.set_flow_run_state(flow_run_id, state, force=True)
    log.info("flow run %r (%s) is %s: %s", flow_run.name, flow_run_id, state.name, state.message)


async def conclude(client: PrefectClient, flow_run_id: UUID, log: Log, *, is_cancelled: bool) -> None:
    """Gives a flow run whose process has ended a final state, unless it has one.

    Args:
        is_cancelled: whether the process was ended because the run is being cancelled. It may have reported a crash.
    """
    flow_run = await client.read_flow_run(flow_run_id)
    kind = flow_run.state.type if flow_run.state is not None else None
    if kind is StateType.CANCELLING or (is_cancelled and kind in (StateType.CRASHED, StateType.RUNNING)):
        state: State[Any] = Cancelled(message="Cancelled. Its process has ended.")
    elif kind in (StateType.RUNNING, StateType.PENDING):
        state = Crashed(
            message="Crashed, because its process ended without a final state, after its first worker was killed."
        )
    else:
        return
    await client.set_flow_run_state(flow_run_id, state, force=True)
    log.info("flow run %r (%s) is %s: %s", flow_run.name, flow_run_id, state.name, state.message)


def _next_state(flow_run: FlowRun, why: str, restarts: int | None) -> State[Any] | None:
    kind = flow_run.state.type if flow_run.state is not None else None
    if kind is StateType.CANCELLING:
        return Cancelled(message=f"Cancelled, and then {why}.")
    if kind not in _UNFINISHED_STATES:
        return None
    allowed = None if restarts is None else 1 + restarts + (flow_run.empirical_policy.retries or 0)
    if allowed is not None and flow_run.run_count >= allowed:
        return Crashed(message=f"Crashed, because {why} in start {flow_run.run_count} of at most {allowed}.")
    return AwaitingRetry(message=f"Will be started again, because {why}.")
