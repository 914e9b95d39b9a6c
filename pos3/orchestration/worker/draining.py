"""A process worker that can be drained: it takes no more work, stops its flow runs, and reschedules them.

It relies on three private parts of Prefect's workers. ``_submitting_flow_run_ids`` holds the flow runs that are being
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
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from pos3.orchestration.worker.control_channel import EngineChannel
from pos3.orchestration.worker.run_locks import RunLock, RunLocks
from pos3.orchestration.worker.states import reschedule

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_POLL_SECONDS = 0.1
_AFTER_KILL_SECONDS = 3.0
_STOPPED = "its worker was stopped"
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
            self._logger.exception("flow run %r is rescheduled when a worker starts here again", run.flow_run.name)

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
            self._logger.error("flow run %r has not ended in time and is killed", run.flow_run.name)
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
