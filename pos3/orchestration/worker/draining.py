"""A process worker that can be drained: it takes no more work, stops its flow runs, and reschedules them.

It relies on some private parts of Prefect's workers. Flow runs are executed in ``_runs_task_group``, and counted in
``_limiter`` by their ids. ``_submitting_flow_run_ids`` holds the flow runs that are being
submitted. The base class reads ``_future`` of a task status. A class whose direct base is ABC is not registered as the
class of all process workers. ``tests/orchestration/test_internals.py`` pins them.
"""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
import anyio.to_thread
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from pos3.orchestration.worker.control_channel import EngineChannel
from pos3.orchestration.worker.engine_process import EngineProcess
from pos3.orchestration.worker.run_locks import RunLock, RunLocks
from pos3.orchestration.worker.states import WORKER_LABEL, conclude, reschedule

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_POLL_SECONDS = 0.1
_AFTER_KILL_SECONDS = 3.0
_STOPPED = "its worker was stopped"
_NOT_RESCHEDULED = "flow run %r could not be rescheduled; the next worker that starts with this cache tries again"
_NOT_ENDED = "flow run %r did not end within %g s after SIGTERM, and is killed"
# With any other status, Prefect would report a crash, although the flow run was rescheduled.
_NOTHING_TO_REPORT = ProcessWorkerResult(status_code=0, identifier="")


@dataclass
class ActiveRun:
    """A flow run and the process that executes it, until that process has ended."""

    flow_run: FlowRun
    run_lock: RunLock
    channel: EngineChannel = field(default_factory=EngineChannel)
    pid: int | None = None
    started: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, or to its process group if it leads one."""
        if self.pid is None or self.ended.is_set():
            return
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


class _PidRecorder(anyio.abc.TaskStatus[int]):
    """Remembers the pid of the started process, and passes it on."""

    def __init__(self, run: ActiveRun, outer: anyio.abc.TaskStatus[int]):
        self._run = run
        self._outer = outer
        self._future = getattr(outer, "_future", None)
        """Prefect reads it to find out whether the start was reported."""

    def started(self, value: int | None = None) -> None:
        self._run.pid = value
        self._run.started.set()
        self._outer.started(value)  # type: ignore[arg-type]


# Because ABC is a direct base, Prefect does not register this as the class of all process workers.
class DrainingWorker(ProcessWorker, abc.ABC):
    """Executes flow runs like Prefect's process worker, but stops and reschedules them when it ends.

    Flow runs whose worker was killed, and whose process goes on, are taken over by the next worker on the machine.

    Args:
        run_locks: the locks of the flow runs that are executed.
        grace_seconds: the time that flow runs have to end after SIGTERM.
    """

    def __init__(self, *args: Any, run_locks: RunLocks, grace_seconds: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._run_locks = run_locks
        self._grace_seconds = grace_seconds
        self._active_runs: dict[UUID, ActiveRun] = {}
        self._is_draining = False

    async def setup(self) -> None:
        """Prepares the worker, and takes over the flow runs that a killed worker has left running on this machine."""
        await super().setup()
        assert self._runs_task_group is not None
        for flow_run_id, process in (await anyio.to_thread.run_sync(self._run_locks.surviving)).items():
            self._runs_task_group.start_soon(self._take_over, flow_run_id, process)

    async def _take_over(self, flow_run_id: UUID, process: EngineProcess) -> None:
        """Does for a running flow run what its killed worker would have done, until its process has ended."""
        try:
            flow_run = await self.client.read_flow_run(flow_run_id)
            with self._tracked(flow_run) as run, self._counted(flow_run_id):
                if not run.run_lock.is_held:
                    return
                run.pid = process.pid
                run.started.set()
                await self.client.update_flow_run_labels(flow_run_id, {WORKER_LABEL: self.name})
                self._logger.info("taking over flow run %r, whose process %d goes on", flow_run.name, process.pid)
                is_cancelled = await self._watch(run, process)
                if self._is_draining and not is_cancelled:
                    await self._requeue(run)
                else:
                    await conclude(self.client, flow_run_id, self._logger, is_cancelled=is_cancelled)
        except Exception:
            self._logger.exception(
                "flow run %s could not be taken over; its process goes on without a worker", flow_run_id
            )

    async def _watch(self, run: ActiveRun, process: EngineProcess) -> bool:
        """Returns when the process has ended. The result is whether it was ended because the run is cancelled."""
        pause_seconds = get_current_settings().worker.query_seconds
        ask_at = 0.0
        while process.is_alive:
            if not self._is_draining and time.monotonic() >= ask_at:
                if await self._is_cancelling(run):
                    await self._end_process(run, process)
                    return True
                ask_at = time.monotonic() + pause_seconds
            await anyio.sleep(_POLL_SECONDS)
        return False

    async def _is_cancelling(self, run: ActiveRun) -> bool:
        try:
            state = (await self.client.read_flow_run(run.flow_run.id)).state
        except Exception as error:  # noqa: BLE001 - the API may answer next time
            self._logger.warning("cannot read the state of flow run %r, will try again: %s", run.flow_run.name, error)
            return False
        return state is not None and state.is_cancelling()

    async def _end_process(self, run: ActiveRun, process: EngineProcess) -> None:
        self._logger.info("stopping flow run %r, because it is cancelled", run.flow_run.name)
        run.signal(signal.SIGTERM)
        if not await _has_ended(process, self._grace_seconds):
            self._logger.error(_NOT_ENDED, run.flow_run.name, self._grace_seconds)
            run.signal(signal.SIGKILL)
            await _has_ended(process, _AFTER_KILL_SECONDS)

    @contextlib.contextmanager
    def _counted(self, flow_run_id: UUID) -> Iterator[None]:
        """Counts a flow run in the limit of the worker, if there is room."""
        limiter = self.limiter if self._limiter is not None else None
        try:
            if limiter is not None:
                limiter.acquire_on_behalf_of_nowait(flow_run_id)
        except anyio.WouldBlock:
            limiter = None
        try:
            yield
        finally:
            if limiter is not None:
                limiter.release_on_behalf_of(flow_run_id)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        return [] if self._is_draining else await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        outer = task_status if task_status is not None else anyio.TASK_STATUS_IGNORED
        with self._tracked(flow_run) as active_run:
            if self._is_draining:
                await self._requeue(active_run)
                outer.started(0)
                return _NOTHING_TO_REPORT
            return await self._run_or_requeue(active_run, configuration, outer)

    async def _run_or_requeue(
        self, active_run: ActiveRun, configuration: ProcessJobConfiguration, outer: anyio.abc.TaskStatus[int]
    ) -> ProcessWorkerResult:
        try:
            result = await super().run(active_run.flow_run, configuration, _PidRecorder(active_run, outer))
        except Exception:
            if self._is_draining:
                await self._requeue(active_run)
            raise
        if not self._is_draining:
            return result
        await self._requeue(active_run)
        return _NOTHING_TO_REPORT

    @contextlib.contextmanager
    def _tracked(self, flow_run: FlowRun) -> Iterator[ActiveRun]:
        with self._run_locks.holding(flow_run.id) as run_lock:
            run = self._active_runs[flow_run.id] = ActiveRun(flow_run, run_lock)
            try:
                with run.channel.opened():
                    yield run
            finally:
                run.started.set()
                run.ended.set()
                self._active_runs.pop(flow_run.id, None)

    async def _requeue(self, run: ActiveRun) -> None:
        """Reschedules a flow run whose process has ended, so that two processes never execute it at the same time."""
        try:
            await reschedule(self.client, run.flow_run.id, _STOPPED, self._logger)
        except Exception:
            run.run_lock.keep()
            self._logger.exception(_NOT_RESCHEDULED, run.flow_run.name)

    async def drain(self) -> None:
        """Stops all flow runs, and returns when none is executed any more. The worker takes no new ones.

        Each run gets SIGTERM, and SIGKILL if it has not ended within the grace period. A run that has not completed or
        failed by itself goes back to its work pool, for the next start of this worker or for another worker.
        """
        self._is_draining = True
        if self._active_runs:
            self._logger.info("stopping %d flow runs", len(self._active_runs))
        deadline = time.monotonic() + self._grace_seconds
        while time.monotonic() < deadline:
            async with anyio.create_task_group() as group:
                for run in list(self._active_runs.values()):
                    group.start_soon(self._end, run, deadline)
            # A flow run is added to the active runs before Prefect removes it from those that are being submitted.
            if not self._active_runs and not self._submitting_flow_run_ids:
                return
            await anyio.sleep(_POLL_SECONDS)

    async def _end(self, run: ActiveRun, deadline: float) -> None:
        with anyio.move_on_after(max(0.0, deadline - time.monotonic())):
            await run.started.wait()
            await run.channel.announce_rescheduling(run.flow_run.id)
            run.signal(signal.SIGTERM)
            await run.ended.wait()
        if not run.ended.is_set():
            self._logger.error(_NOT_ENDED, run.flow_run.name, self._grace_seconds)
            run.signal(signal.SIGKILL)
            with anyio.move_on_after(_AFTER_KILL_SECONDS):
                await run.ended.wait()
                return
            # Prefect has reported the crash, but it may need long to call the flow's hooks.
            await self._requeue(run)

    async def teardown(self, *exc_info: Any) -> None:
        """Drains the worker before it ends, also if it ends with an error."""
        with anyio.CancelScope(shield=True):
            await self.drain()
        await super().teardown(*exc_info)


async def _has_ended(process: EngineProcess, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    # Nobody but the parent of a process is told of its end.
    while process.is_alive and time.monotonic() < deadline:  # noqa: ASYNC110
        await anyio.sleep(_POLL_SECONDS)
    return not process.is_alive
