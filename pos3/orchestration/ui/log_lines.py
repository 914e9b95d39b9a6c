"""Writes lines to the log of a run, without ever raising."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from pos3.redaction import escaped

Log = logging.Logger | logging.LoggerAdapter[Any]


def log_safely(log: Log, level: int, message: str, *args: object) -> None:
    """Logs a message, and never raises. If the pipe to a supervisor is broken, a log call raises SystemExit.

    Arguments are escaped, so that the name of a file cannot begin a new line.
    """
    with contextlib.suppress(Exception, SystemExit):
        log.log(level, message, *(arg if isinstance(arg, (int, float)) else escaped(str(arg)) for arg in args))
