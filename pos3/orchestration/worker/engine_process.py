"""The process that executes a flow run, found by its environment, also after the worker that started it has died."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

_PROC = Path("/proc")


@dataclass(frozen=True)
class EngineProcess:
    """A process on this machine. A later process with the same pid counts as another one."""

    pid: int
    started_at: str

    @property
    def is_alive(self) -> bool:
        found = _stat(self.pid)
        return found is not None and found.started_at == self.started_at and found.state not in ("Z", "X")


def engine_process_of(flow_run_id: UUID) -> EngineProcess | None:
    """The process that executes the flow run, or None. Of a process and its children, it is the parent."""
    wanted = f"PREFECT__FLOW_RUN_ID={flow_run_id}".encode()
    found: dict[int, _Stat] = {}
    for environment in _PROC.glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            pid = int(environment.parent.name)
            if wanted in environment.read_bytes().split(b"\0") and (stat := _stat(pid)) is not None:
                found[pid] = stat
    outermost = [pid for pid, stat in found.items() if stat.parent not in found]
    return EngineProcess(outermost[0], found[outermost[0]].started_at) if outermost else None


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    started_at: str


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name of the program is in parentheses, and may contain anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[1]), fields[19])
