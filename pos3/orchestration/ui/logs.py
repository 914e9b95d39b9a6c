"""Sends log records of pos3, for example about failed background pushes, to the log of their flow run."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
from collections.abc import Iterator

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

_logger = logging.getLogger("pos3")


class RunLogHandler(logging.Handler):
    """Sends records to Prefect's API, each to the run in whose context it was logged.

    A mirror's thread has the context of the code that started the work, so the logs of runs in one process do not mix.
    Consoles and files show the records as before. If the user has attached Prefect's own handler, that one sends them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._api = APILogHandler()
        self._users = 0
        self._lock = threading.Lock()

    def attach(self) -> None:
        """Begins to send records, until :meth:`detach` was called as often as this."""
        with self._lock:
            self._users += 1
            _logger.addHandler(self)

    def detach(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                _logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception, SystemExit):
            if any(isinstance(handler, APILogHandler) for handler in _handlers(logging.getLogger(record.name))):
                return
            flow, task = FlowRunContext.get(), TaskRunContext.get()
            sent = copy.copy(record)
            if task is not None:
                sent.flow_run_id, sent.task_run_id = task.task_run.flow_run_id, task.task_run.id
            elif flow is not None and flow.flow_run is not None:
                sent.flow_run_id = flow.flow_run.id
            else:
                return
            self._api.emit(sent)


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """The handlers that a record of the logger reaches."""
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


run_log_handler = RunLogHandler()
