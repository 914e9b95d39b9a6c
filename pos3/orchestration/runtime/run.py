"""The mirror of one flow run, from its first attempt to its end."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.logging.loggers import flow_run_logger

import pos3
from pos3.orchestration.remote import Broker, MirrorAddress, NoBroker
from pos3.orchestration.runtime.recovery import label_of, recover_earlier
from pos3.orchestration.storing import PreCommitPushes, RegistrationLog, TaskData, arguments_here
from pos3.orchestration.ui import RunView, log_safely

_NO_SOCKET = "pos3: tasks in other processes open their own mirrors, because this run's mirror has no socket: %s"
_open: dict[UUID, RunMirror] = {}
_unpushed: set[UUID] = set()
"""The flow runs whose mirror was closed in this process before everything was pushed."""
_current: ContextVar[RunMirror | None] = ContextVar("pos3_flow_run_mirror", default=None)


class IncompleteRunError(RuntimeError):
    """A flow run ended without an exception, but it is not completed."""


class RunMirror:
    """The mirror of a flow run. The first attempt opens it, all attempts use it, and it is closed exactly once.

    When the body of an attempt has returned, :meth:`finish` pushes, so a failed push fails the attempt. If the run ends
    in any other way, nothing is deleted.
    """

    def __init__(self, flow_run: FlowRun, options: pos3.MirrorOptions):
        self.flow_run = flow_run
        self.error: BaseException | None = None
        self._is_pushed = False
        # get_run_logger() would fail in the threads of the mirror.
        self._log = flow_run_logger(flow_run)
        registration_log = RegistrationLog()
        context = FlowRunContext.get()
        flow_name = context.flow.name if context is not None and context.flow is not None else ""
        self._view = RunView(flow_run.id, self._log, registration_log.add, arguments_here, flow_name)
        self._has_recovered = False
        outer = RunMirror.current()
        group = outer.mirror.group if outer is not None else str(flow_run.id)
        mirror = self._view.new_mirror(options, label=label_of(flow_run.id), group=group)
        self.mirror: pos3.Mirror = mirror.open()
        self.pre_commit_pushes = PreCommitPushes(
            self.mirror, registration_log, functools.partial(self._view.materialized, self.mirror)
        )
        self._view.opened()
        self._broker = self._open_broker()

    def _open_broker(self) -> Broker | NoBroker:
        try:
            return Broker(self.mirror, self.pre_commit_pushes, self.flow_run.id)
        except OSError as error:
            log_safely(self._log, logging.WARNING, _NO_SOCKET, error)
            return NoBroker(self.flow_run.id)

    @classmethod
    def get_or_open(cls, flow_run: FlowRun, resolve: Callable[[], pos3.MirrorOptions]) -> RunMirror:
        """The open mirror of an earlier attempt of this run, or a new one with the options of ``resolve``."""
        run = _open.get(flow_run.id)
        if run is None:
            run = _open[flow_run.id] = cls(flow_run, resolve())
        # For each attempt, the engine reads the flow run again, and sets the state of that new object.
        run.flow_run = flow_run
        run.error = None
        run._is_pushed = False
        _unpushed.discard(flow_run.id)
        run._broker.resume()
        return run

    @staticmethod
    def find(flow_run_id: UUID) -> RunMirror | None:
        """The open mirror of a flow run in this process, as a :class:`RunMirror`, or None."""
        return _open.get(flow_run_id)

    @staticmethod
    def has_ended_unpushed(flow_run_id: UUID) -> bool:
        """Whether a flow run's mirror was closed in this process before everything was pushed."""
        return flow_run_id in _unpushed

    @staticmethod
    def mirror_of(flow_run_id: UUID) -> pos3.Mirror | None:
        """The open mirror of a flow run in this process, or None."""
        run = _open.get(flow_run_id)
        return run.mirror if run is not None else None

    @staticmethod
    def only_open_run() -> UUID | None:
        """The only flow run with an open mirror in this process; None if there are none or several."""
        return next(iter(_open)) if len(_open) == 1 else None

    @staticmethod
    def current() -> RunMirror | None:
        """The mirror that a subflow called in this context joins, or None."""
        run = _current.get()
        return run if run is not None and run.mirror.is_open else None

    @property
    def options(self) -> pos3.MirrorOptions:
        return self.mirror.options

    @property
    def address(self) -> MirrorAddress:
        """The address at which tasks in other processes find the mirror."""
        return self._broker.address

    def ensure_stored(self, task_data: TaskData) -> None:
        """Pushes the uploads that this data uses, without deletes.

        Raises:
            TransferError: some files failed.
        """
        self.pre_commit_pushes.ensure_stored(task_data.used_urls(self.pre_commit_pushes.registered_uploads()))

    def recover(self) -> None:
        """Pushes what an attempt in a killed process has left on this machine. Only the first call does so."""
        if not self._has_recovered:
            self._has_recovered = True
            options = self.mirror.options
            progress = self._view.progress(log_lines=options.show_progress)
            recover_earlier(self.flow_run.id, options, progress, self._log)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes this the mirror of the context, and of the tasks that are started in it."""
        token = _current.set(self)
        try:
            with pos3.activate(self.mirror):
                yield
        finally:
            _current.reset(token)

    @property
    def has_next_attempt(self) -> bool:
        """Whether another attempt follows."""
        state = self.flow_run.state
        return state is not None and state.is_running()

    def finish(self) -> None:
        """Pushes everything and deletes stale objects. The mirror stays open for a retry.

        Raises:
            TransferError: some files failed.
        """
        # What other processes would register from now on would not be pushed.
        self._broker.pause()
        report = self.mirror.finish()
        self._is_pushed = True
        if not report.is_empty:
            log_safely(self._log, logging.INFO, "pos3 final push: %s", report)
        self._view.completed(self.mirror)

    def close(self, error: BaseException | None = None) -> None:
        """Closes the mirror, once. It never raises an ``Exception``, because the run's state is final by now.

        Unless :meth:`finish` has succeeded, nothing is deleted, and only registrations with ``sync_on_error`` are
        pushed. For a suspended run all are pushed, because it may be resumed on another machine.
        """
        if _open.get(self.flow_run.id) is not self:
            # A stopped run is closed before its tasks are waited for, and again when its attempt ends.
            return
        if not self._is_pushed:
            _unpushed.add(self.flow_run.id)
        del _open[self.flow_run.id]
        self._broker.close()
        if not self.mirror.is_open:
            self._view.closed(self.mirror, is_urgent=True)
            return
        cause = error or self.error or IncompleteRunError(f"the flow run ended as {self.flow_run.state!r}")
        try:
            if self._is_pushed:
                self.mirror.close(push=False)
                return
            if isinstance(cause, Pause):
                self._push_for_resumption()
            self.mirror.close(cause)
            for note in getattr(cause, "__notes__", ()):
                log_safely(self._log, logging.ERROR, "%s", note)
        except Exception as failure:  # noqa: BLE001 - see above
            log_safely(self._log, logging.ERROR, "pos3: the mirror of this run could not be closed: %s", failure)
        finally:
            # The traceback of the error would keep the frames of the flow alive.
            self.error = None
            self._view.closed(self.mirror, is_urgent=not isinstance(cause, Exception | Pause))

    def _push_for_resumption(self) -> None:
        try:
            self.mirror.flush()
        except Exception as failure:  # noqa: BLE001 - the run is suspended all the same
            log_safely(self._log, logging.ERROR, "pos3: the push before the suspension failed: %s", failure)


def _close_all() -> None:
    """Closes the mirrors of runs whose engine has not ended, such as generators that were not exhausted."""
    for run in list(_open.values()):
        run.close(IncompleteRunError("the interpreter exits"))


atexit.register(_close_all)
