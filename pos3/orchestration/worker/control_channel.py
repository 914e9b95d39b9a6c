"""Tells an engine that it is stopped for a restart, so that it does not report the run as crashed.

Prefect has such a message, and its ``prefect flow-run execute`` sends it, but a worker has no public way to send it.
This module relies on ``FlowRunExecutorContext``, which Prefect's process worker enters for each flow run, and on the
``control_channel`` of that context. Where a version of Prefect has neither, the run is ``Crashed`` for a moment before
it is put back. ``tests/orchestration/test_internals.py`` pins this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from prefect.workers import process

_CONTEXT = "FlowRunExecutorContext"
_line: ContextVar[EngineLine | None] = ContextVar("pos3_engine_line", default=None)


class EngineLine:
    """The connection to the engine of one flow run, if there is one."""

    def __init__(self) -> None:
        self._context: Any = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Takes the context that Prefect makes for a run while the body runs."""
        token = _line.set(self)
        try:
            yield
        finally:
            _line.reset(token)
            self._context = None

    async def announce_rescheduling(self, flow_run_id: UUID) -> bool:
        """Tells the engine that the sender of SIGTERM sets the run's state. Returns whether the engine has agreed."""
        channel: Any = getattr(self._context, "control_channel", None)
        try:
            answer = await channel.signal(flow_run_id, "reschedule")
        except Exception:  # noqa: BLE001 - a private interface: whatever it does, the run is ended all the same
            return False
        return str(getattr(answer, "value", "")) == "acknowledged"


def _keep_contexts() -> None:
    made: Any = getattr(process, _CONTEXT, None)
    if made is None:
        return

    class KeptContext(made):  # type: ignore[misc]
        async def __aenter__(self) -> Any:
            entered = await super().__aenter__()
            line = _line.get()
            if line is not None:
                line._context = entered
            return entered

    setattr(process, _CONTEXT, KeptContext)


_keep_contexts()
