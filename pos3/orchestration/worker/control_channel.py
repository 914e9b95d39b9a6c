"""Tells the engine of a flow run that it is stopped for a restart, so that it does not report a crash.

Prefect has such a message, and ``prefect flow-run execute`` sends it, but a worker has no public way to send it. This
module relies on ``FlowRunExecutorContext``, which Prefect's process worker enters for each flow run, and on the
``control_channel`` of that context. If a version of Prefect has neither, the run is ``Crashed`` for a moment before it
is rescheduled. ``tests/orchestration/test_internals.py`` pins this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from prefect.workers import process

_CONTEXT = "FlowRunExecutorContext"
_channel: ContextVar[EngineChannel | None] = ContextVar("pos3_engine_channel", default=None)


class EngineChannel:
    """The control channel to the engine of one flow run, if this version of Prefect has one."""

    def __init__(self) -> None:
        self._context: Any = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Keeps the context that Prefect creates for the flow run inside of the block."""
        token = _channel.set(self)
        try:
            yield
        finally:
            _channel.reset(token)
            self._context = None

    async def announce_rescheduling(self, flow_run_id: UUID) -> bool:
        """Tells the engine that the sender of SIGTERM sets the run's state. Returns whether it was acknowledged."""
        channel: Any = getattr(self._context, "control_channel", None)
        try:
            answer = await channel.signal(flow_run_id, "reschedule")
        except Exception:  # noqa: BLE001 - a private interface may raise anything, and the run is ended in any case
            return False
        return str(getattr(answer, "value", "")) == "acknowledged"


def _keep_contexts() -> None:
    made: Any = getattr(process, _CONTEXT, None)
    if made is None:
        return

    class KeptContext(made):  # type: ignore[misc]
        async def __aenter__(self) -> Any:
            entered = await super().__aenter__()
            channel = _channel.get()
            if channel is not None:
                channel._context = entered
            return entered

    setattr(process, _CONTEXT, KeptContext)


_keep_contexts()
