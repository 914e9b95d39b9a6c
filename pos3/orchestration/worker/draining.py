"""A process worker that can be drained: it takes no more work, ends its flow runs well, and puts them back.

It relies on three private parts of Prefect's workers: ``_submitting_flow_run_ids`` holds the runs that are being
submitted, the base class looks at ``_future`` of a task status, and a class whose direct base is ABC is not registered
as the class of all process workers. ``tests/orchestration/test_internals.py`` pins them.
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

from pos3.orchestration.worker.control_channel import EngineLine
from pos3.orchestration.worker.run_locks import Mark, Marks
from pos3.orchestration.worker.states import reschedule

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_POLL_SECONDS = 0.1
_AFTER_KILL_SECONDS = 3.0
_STOPPED = "its worker was stopped"
# Any other status makes Prefect report a crash, whatever has become of the run.
_NOTHING_TO_REPORT = ProcessWorkerResult(status_code=0, identifier="")


@dataclass
class RunUnderWay:
    """One flow run and the process that executes it, from its start to the end of that process."""

    flow_run: FlowRun
    mark: Mark
    line: EngineLine = field(default_factory=EngineLine)
    pid: int | None = None
    started: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, and to its group if it leads one."""
        if self.pid is None or self.ended.is_set():
            return
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


class _NotingPid(anyio.abc.TaskStatus[int]):
    """Passes the pid of a started process on, and remembers it."""

    def __init__(self, run: RunUnderWay, outer: anyio.abc.TaskStatus[int]):
        self._run = run
        self._outer = outer
        self._future = getattr(outer, "_future", None)
        """Prefect looks at it to learn whether the start was reported."""

    def started(self, value: int | None = None) -> None:
        self._run.pid = value
        self._run.started.set()
        self._outer.started(value)  # type: ignore[arg-type]


# A direct base ABC keeps Prefect from registering this as the class for all process workers.
class DrainingWorker(ProcessWorker, abc.ABC):
    """Executes flow runs as Prefect's process worker does, and ends them well when it ends itself.

    Args:
        marks: where runs that are under way are marked.
        grace_seconds: how long runs may take to end.
    """

    def __init__(self, *args: Any, marks: Marks, grace_seconds: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._marks = marks
        self._grace_seconds = grace_seconds
        self._under_way: dict[UUID, RunUnderWay] = {}
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
        with self._noted(flow_run) as under_way:
            if self._is_draining:
                await self._put_back(under_way)
                outer.started(0)
                return _NOTHING_TO_REPORT
            return await self._run_or_put_back(under_way, configuration, outer)

    async def _run_or_put_back(
        self, under_way: RunUnderWay, configuration: ProcessJobConfiguration, outer: anyio.abc.TaskStatus[int]
    ) -> ProcessWorkerResult:
        try:
            result = await super().run(under_way.flow_run, configuration, _NotingPid(under_way, outer))
        except Exception:
            if self._is_draining:
                await self._put_back(under_way)
            raise
        if not self._is_draining:
            return result
        await self._put_back(under_way)
        return _NOTHING_TO_REPORT

    @contextlib.contextmanager
    def _noted(self, flow_run: FlowRun) -> Iterator[RunUnderWay]:
        with self._marks.holding(flow_run.id) as mark:
            run = self._under_way[flow_run.id] = RunUnderWay(flow_run, mark)
            try:
                with run.line.opened():
                    yield run
            finally:
                run.started.set()
                run.ended.set()
                self._under_way.pop(flow_run.id, None)

    async def _put_back(self, run: RunUnderWay) -> None:
        """Only now that the process is gone: no two processes ever work on a run."""
        try:
            await reschedule(self.client, run.flow_run.id, _STOPPED, self._logger)
        except Exception:
            run.mark.keep()
            self._logger.exception("flow run %r is put back when a worker starts here again", run.flow_run.name)

    async def drain(self) -> None:
        """Returns when no flow run is under way any more, and takes none from now on.

        Each run gets SIGTERM, and SIGKILL if it has not ended within the grace period. A run that has not come to an
        end by itself goes back to its pool, for this worker's successor or another worker.
        """
        self._is_draining = True
        if self._under_way:
            self._logger.info("stopping %d flow runs", len(self._under_way))
        deadline = time.monotonic() + self._grace_seconds
        while time.monotonic() < deadline:
            async with anyio.create_task_group() as group:
                for run in list(self._under_way.values()):
                    group.start_soon(self._end, run, deadline)
            # A run that is being submitted turns up among those under way before it leaves the others.
            if not self._under_way and not self._submitting_flow_run_ids:
                return
            await anyio.sleep(_POLL_SECONDS)

    async def _end(self, run: RunUnderWay, deadline: float) -> None:
        with anyio.move_on_after(max(0.0, deadline - time.monotonic())):
            await run.started.wait()
            await run.line.announce_rescheduling(run.flow_run.id)
            run.signal(signal.SIGTERM)
            await run.ended.wait()
        if not run.ended.is_set():
            self._logger.error("flow run %r has not ended in time and is killed", run.flow_run.name)
            run.signal(signal.SIGKILL)
            with anyio.move_on_after(_AFTER_KILL_SECONDS):
                await run.ended.wait()
                return
            # Prefect has reported the crash, and may take long to call the flow's hooks.
            await self._put_back(run)

    async def teardown(self, *exc_info: Any) -> None:
        """Ends the runs well also when the worker fails."""
        with anyio.CancelScope(shield=True):
            await self.drain()
        await super().teardown(*exc_info)
