"""The mirror of one flow run, from its first attempt to its end."""

from __future__ import annotations

import atexit
import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.logging.loggers import flow_run_logger

import pos3
from pos3.orchestration.remote import Broker, MirrorAddress, NoBroker
from pos3.orchestration.runtime.recovery import label_of, recover_earlier
from pos3.orchestration.storing import Commits, Handled, Ledger
from pos3.orchestration.ui import RunView, say

_open: dict[UUID, RunMirror] = {}
_unpushed: set[UUID] = set()
"""The flow runs whose mirror was closed in this process before all was pushed."""
_current: ContextVar[RunMirror | None] = ContextVar("pos3_flow_run_mirror", default=None)


class IncompleteRunError(RuntimeError):
    """A flow run ended without an exception, but not as completed."""


class RunMirror:
    """Opened by a flow run's first attempt, used by all of its attempts, and closed exactly once.

    An attempt whose body ended well pushes with :meth:`finish`, so that a failed push fails the attempt. Nothing is
    deleted when the run ended in any other way.
    """

    def __init__(self, flow_run: FlowRun, options: pos3.MirrorOptions):
        self.flow_run = flow_run
        self.error: BaseException | None = None
        self._is_pushed = False
        # Not get_run_logger(): that fails in the mirror's threads.
        self._log = flow_run_logger(flow_run)
        ledger = Ledger()
        self._view = RunView(flow_run.id, self._log, ledger.note)
        self._has_recovered = False
        outer = RunMirror.of_this_context()
        group = outer.mirror.group if outer is not None else str(flow_run.id)
        mirror = self._view.new_mirror(options, label=label_of(flow_run.id), group=group)
        self.mirror: pos3.Mirror = mirror.open()
        self.commits = Commits(self.mirror, ledger)
        self._view.opened()
        self._broker = self._served()

    def _served(self) -> Broker | NoBroker:
        try:
            return Broker(self.mirror, self.commits, self.flow_run.id)
        except OSError as error:
            say(self._log, logging.WARNING, "pos3: tasks in other processes get mirrors of their own: %s", error)
            return NoBroker(self.flow_run.id)

    @classmethod
    def of(cls, flow_run: FlowRun, resolve: Callable[[], pos3.MirrorOptions]) -> RunMirror:
        """The mirror that an earlier attempt of this run left open, or a new one with the options of ``resolve``."""
        run = _open.get(flow_run.id)
        if run is None:
            run = _open[flow_run.id] = cls(flow_run, resolve())
        # The engine reads the flow run anew for each attempt, and sets the state of that object.
        run.flow_run = flow_run
        run.error = None
        run._is_pushed = False
        _unpushed.discard(flow_run.id)
        run._broker.resume()
        return run

    @staticmethod
    def of_run(flow_run_id: UUID) -> RunMirror | None:
        """What is open in this process for a flow run."""
        return _open.get(flow_run_id)

    @staticmethod
    def has_ended_unpushed(flow_run_id: UUID) -> bool:
        """Whether a flow run's mirror was closed in this process before all was pushed."""
        return flow_run_id in _unpushed

    @staticmethod
    def mirror_of(flow_run_id: UUID) -> pos3.Mirror | None:
        """The mirror that is open in this process for a flow run."""
        run = _open.get(flow_run_id)
        return run.mirror if run is not None else None

    @staticmethod
    def only_open_run() -> UUID | None:
        """The flow run whose mirror is the only one that is open in this process."""
        return next(iter(_open)) if len(_open) == 1 else None

    @staticmethod
    def of_this_context() -> RunMirror | None:
        """The mirror that a subflow called here joins."""
        run = _current.get()
        return run if run is not None and run.mirror.is_open else None

    @property
    def options(self) -> pos3.MirrorOptions:
        return self.mirror.options

    @property
    def address(self) -> MirrorAddress:
        """Where tasks in other processes find the mirror."""
        return self._broker.address

    def secure(self, handled: Handled) -> None:
        """Pushes what somebody has registered, without deletes.

        Raises:
            TransferError: some of it failed.
        """
        self.commits.secure(handled.among(self.commits.places()))

    def recover(self) -> None:
        """Before the first attempt in this process: pushes what one in a killed process left on this machine."""
        if not self._has_recovered:
            self._has_recovered = True
            options = self.mirror.options
            progress = self._view.progress(log_lines=options.show_progress)
            recover_earlier(self.flow_run.id, options, progress, self._log)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes this the mirror of the context, and so of the tasks that are started in it."""
        token = _current.set(self)
        try:
            with pos3.activate(self.mirror):
                yield
        finally:
            _current.reset(token)

    @property
    def goes_on(self) -> bool:
        """Whether another attempt follows."""
        state = self.flow_run.state
        return state is not None and state.is_running()

    def finish(self) -> None:
        """Pushes everything and deletes stale objects; the mirror stays open for a retry.

        Raises:
            TransferError: some of it failed.
        """
        # Nobody would push what is registered from now on.
        self._broker.pause()
        report = self.mirror.finish()
        self._is_pushed = True
        if not report.is_empty:
            say(self._log, logging.INFO, "pos3 final push: %s", report)
        self._view.completed(self.mirror)

    def close(self, error: BaseException | None = None) -> None:
        """Ends the mirror, once. Never raises an ``Exception``: the run's state is final by now.

        Unless :meth:`finish` succeeded, nothing is deleted, and only registrations with ``sync_on_error`` are pushed;
        of a suspended run all are, because it may be resumed on another machine.
        """
        if _open.get(self.flow_run.id) is not self:
            # A stopped run is closed before its tasks are waited for, and its attempt ends after that.
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
                say(self._log, logging.ERROR, "%s", note)
        except Exception as failure:  # noqa: BLE001 - see above
            say(self._log, logging.ERROR, "pos3: the mirror did not end well: %s", failure)
        finally:
            # Its traceback holds the frames of the flow.
            self.error = None
            self._view.closed(self.mirror, is_urgent=not isinstance(cause, Exception | Pause))

    def _push_for_resumption(self) -> None:
        try:
            self.mirror.flush()
        except Exception as failure:  # noqa: BLE001 - the run is suspended all the same
            say(self._log, logging.ERROR, "pos3: the push at suspension failed: %s", failure)


def _close_all() -> None:
    """Closes the mirrors of runs whose engine never came to an end, such as generators that nobody exhausted."""
    for run in list(_open.values()):
        run.close(IncompleteRunError("the interpreter exits"))


atexit.register(_close_all)
