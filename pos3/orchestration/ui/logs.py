"""Sends log records of pos3, for example about failed background pushes, to the log of their flow run."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
from collections.abc import Iterator

from prefect.logging.handlers import APILogHandler

from pos3.orchestration.ui.current_run import log_here, run_here
from pos3.orchestration.ui.log_lines import log_safely

_logger = logging.getLogger("pos3")


class RunLogHandler(logging.Handler):
    """Sends records to Prefect's API, each to the run in whose context it was logged.

    A mirror's thread has the context of the code that started the work, so the logs of runs in one process do not mix.
    Consoles and files show the records as before. If the user has attached Prefect's own handler, that one sends them.

    INFO records of pos3 are in the log of the run, too, although Python discards them unless it is told otherwise. A
    run's logger writes them then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._api = APILogHandler()
        self._users = 0
        self._level_of_logger: int | None = None
        self._shown_from = logging.NOTSET
        self._lock = threading.Lock()

    def attach(self) -> None:
        """Begins to send records, until :meth:`detach` was called as often as this."""
        with self._lock:
            self._users += 1
            _logger.addHandler(self)
            wanted = max(logging.INFO, logging.getLogger("prefect.flow_runs").getEffectiveLevel())
            # A level that the user has set for pos3 stays.
            if self._level_of_logger is None and _logger.level == logging.NOTSET and not _logger.isEnabledFor(wanted):
                self._shown_from = _logger.getEffectiveLevel()
                self._level_of_logger = wanted
                _logger.setLevel(wanted)
                _logger.addFilter(self._shows)

    def detach(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            _logger.removeHandler(self)
            if self._level_of_logger is not None:
                _logger.removeFilter(self._shows)
                if _logger.level == self._level_of_logger:
                    _logger.setLevel(logging.NOTSET)
                self._level_of_logger = None

    def _shows(self, record: logging.LogRecord) -> bool:
        """Whether a record goes its usual way. The others go to the logger of their run only."""
        if record.levelno >= self._shown_from:
            return True
        log = log_here()
        if log is not None:
            log_safely(log, record.levelno, "pos3: %s", record.getMessage())
        return False

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception, SystemExit):
            if any(isinstance(handler, APILogHandler) for handler in _handlers(logging.getLogger(record.name))):
                return
            run = run_here()
            if run is None:
                return
            sent = copy.copy(record)
            sent.flow_run_id = run.flow_run_id
            if run.task_run_id is not None:
                sent.task_run_id = run.task_run_id
            self._api.emit(sent)


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """The handlers that a record of the logger reaches."""
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


run_log_handler = RunLogHandler()
