"""Formats log records as one JSON object on each line, for log collectors."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_CONTEXT = (
    "flow_run_id",
    "flow_run_name",
    "flow_name",
    "task_run_id",
    "task_run_name",
    "worker_name",
    "work_pool_name",
)


class JsonFormatter(logging.Formatter):
    """Writes ``time``, ``level``, ``logger``, ``message``, ``exception``, and names and ids of the flow and task run.

    Prefect's own formatter writes the message and its arguments separately, so that a search does not find the text.
    """

    def __init__(self, *_unused: object, **_ignored: object):
        # Logging configurations pass a format, which a JSON object does not need.
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: str(value) for name in _CONTEXT if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
