"""Remembers which run has registered which upload, found from the context of the registering code."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator
from contextvars import ContextVar
from enum import Enum

from prefect.context import FlowRunContext, TaskRunContext

from pos3.orchestration.internals import task_runs_here

_scopes: ContextVar[tuple[Hashable, ...]] = ContextVar("pos3_registration_scopes", default=())


class OtherProcess(Enum):
    """The log has these entries for all task runs in other processes, which know themselves what they register."""

    TASK = "task"
    NESTED_TASK = "nested task"
    """A task run that was called by another task run, which may not know of its registrations."""


class NoRun(Enum):
    """The log has this entry for registrations by code whose run is not known."""

    THREAD = "a thread without a run"


@contextlib.contextmanager
def registration_scope(holder: Hashable) -> Iterator[None]:
    """Uploads that are registered inside also belong to ``holder``, the id of a run."""
    token = _scopes.set((*_scopes.get(), holder))
    try:
        yield
    finally:
        _scopes.reset(token)


class RegistrationLog:
    """The URLs of the uploads that each task run and subflow run has registered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._urls: dict[Hashable, set[str]] = {}

    def add(self, url: str) -> None:
        """Adds a registered URL for the run of this context, and for the runs that have called it."""
        context = TaskRunContext.get()
        holders: set[Hashable] = {*_scopes.get(), *task_runs_here()}
        if context is not None:
            holders.add(str(context.task_run.id))
        if not holders and FlowRunContext.get() is None:
            holders.add(NoRun.THREAD)
        with self._lock:
            for holder in holders:
                self._urls.setdefault(holder, set()).add(url)

    def urls_of(self, *holders: Hashable) -> set[str]:
        """The URLs that any of these runs have registered."""
        with self._lock:
            return {url for holder in holders for url in self._urls.get(holder, ())}
