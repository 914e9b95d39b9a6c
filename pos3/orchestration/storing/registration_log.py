"""Who has registered what for upload, noted in the context of whoever registers it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator
from contextvars import ContextVar
from enum import Enum

from prefect.context import FlowRunContext, TaskRunContext

from pos3.orchestration.internals import task_runs_here

_scopes: ContextVar[tuple[Hashable, ...]] = ContextVar("pos3_registration_scopes", default=())


class Elsewhere(Enum):
    """Stands for the task runs in other processes, which know themselves what they have registered."""

    TASK = "task"
    NESTED_TASK = "nested task"
    """Called by another task run, which may not know of it."""


class Unknown(Enum):
    """Stands for whoever registers something where no run is known."""

    PLACE = "a thread without a run"


@contextlib.contextmanager
def scope(holder: Hashable) -> Iterator[None]:
    """What is registered inside is also noted for ``holder``."""
    token = _scopes.set((*_scopes.get(), holder))
    try:
        yield
    finally:
        _scopes.reset(token)


class Ledger:
    """Which task runs and subflow runs have registered which URLs for upload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._urls: dict[Hashable, set[str]] = {}

    def note(self, url: str) -> None:
        """A registration has been made here: in the run, and in those around it, of this context."""
        context = TaskRunContext.get()
        holders: set[Hashable] = {*_scopes.get(), *task_runs_here()}
        if context is not None:
            holders.add(str(context.task_run.id))
        if not holders and FlowRunContext.get() is None:
            holders.add(Unknown.PLACE)
        with self._lock:
            for holder in holders:
                self._urls.setdefault(holder, set()).add(url)

    def of(self, *holders: Hashable) -> set[str]:
        with self._lock:
            return {url for holder in holders for url in self._urls.get(holder, ())}
