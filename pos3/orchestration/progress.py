"""How a flow run says what pos3 does: lines in the run's own log."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import Any

import pos3

Log = logging.Logger | logging.LoggerAdapter[Any]


def say(log: Log, level: int, message: str, *args: object) -> None:
    """Logs, and never fails: where the pipe to a supervisor is broken, a log call ends with SystemExit."""
    with contextlib.suppress(Exception, SystemExit):
        log.log(level, message, *args)


def run_log_progress(log: Log) -> pos3.OpenProgress:
    """One line in the run's log every ten seconds, and one at the end of a transfer that took a while."""
    return functools.partial(pos3.LogProgress, log=functools.partial(say, log, logging.INFO))
