"""Run locks: files in the cache that show which flow runs the workers of this node are executing.

A run lock is a file ``<cache_root>/.pos3/flow-runs/<flow run id>`` with the worker's name, which the worker locks. The
kernel drops the lock when the worker dies. So a file without a lock is that of an abandoned flow run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from pos3.local import STATE_DIRECTORY, ForeignFileError, is_trusted, make_private, open_lock, open_own
from pos3.orchestration.worker.engine_process import EngineProcess, engine_process_of

_MAX_NAME_BYTES = 1000


class RunLock:
    """The lock of one flow run. :meth:`release` removes its file, unless :meth:`keep` was called."""

    def __init__(self, path: Path, worker_name: str):
        self._path = path
        self._descriptor = open_lock(str(path))
        # If another worker holds the lock, the file stays with that worker's name.
        self._is_held = self._removes_file = _locked(self._descriptor)
        if self._removes_file:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, worker_name.encode(), 0)

    @property
    def is_held(self) -> bool:
        """Whether this worker holds the lock, and no other one."""
        return self._is_held

    def keep(self) -> None:
        """Leaves the file, so that the next worker that starts here reschedules the run."""
        self._removes_file = False

    def release(self) -> None:
        if self._removes_file:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class RunLocks:
    """The run locks of one cache, which several workers may share."""

    def __init__(self, cache_root: Path, worker_name: str = ""):
        self._worker_name = worker_name
        self._directory = cache_root / STATE_DIRECTORY / "flow-runs"

    @contextlib.contextmanager
    def holding(self, flow_run_id: UUID) -> Iterator[RunLock]:
        """Holds the lock of a flow run during the block. If the block is cancelled or interrupted, the file stays."""
        make_private(str(self._directory.parent))
        make_private(str(self._directory))
        run_lock = RunLock(self._directory / str(flow_run_id), self._worker_name)
        try:
            yield run_lock
        except BaseException as error:
            if not isinstance(error, Exception):
                run_lock.keep()
            raise
        finally:
            run_lock.release()

    @contextlib.contextmanager
    def abandoned(self) -> Iterator[dict[UUID, str]]:
        """The flow runs whose worker is dead, each with the name of that worker.

        The block reschedules them. If it succeeds, their files are removed. During the block, no other worker gets the
        same flow runs.
        """
        found: dict[UUID, str] = {}
        with contextlib.ExitStack() as stack:
            trusted = is_trusted(str(self._directory.parent), self._directory.name)
            for path in sorted(self._directory.glob("*")) if trusted else ():
                with contextlib.suppress(ValueError, FileNotFoundError, ForeignFileError):
                    flow_run_id = UUID(path.name)
                    descriptor = open_own(str(path), os.O_RDWR)
                    stack.callback(os.close, descriptor)
                    if _locked(descriptor) and engine_process_of(flow_run_id) is None:
                        found[flow_run_id] = os.pread(descriptor, _MAX_NAME_BYTES, 0).decode("utf-8", "replace")
            yield found
            for flow_run_id in found:
                (self._directory / str(flow_run_id)).unlink(missing_ok=True)

    def surviving(self) -> dict[UUID, EngineProcess]:
        """The flow runs whose worker is dead, and whose process goes on. Outside of containers, it may survive."""
        found: dict[UUID, EngineProcess] = {}
        trusted = is_trusted(str(self._directory.parent), self._directory.name)
        for path in sorted(self._directory.glob("*")) if trusted else ():
            with contextlib.suppress(ValueError, FileNotFoundError, ForeignFileError):
                flow_run_id = UUID(path.name)
                descriptor = open_own(str(path), os.O_RDWR)
                try:
                    process = engine_process_of(flow_run_id) if _locked(descriptor) else None
                finally:
                    os.close(descriptor)
                if process is not None:
                    found[flow_run_id] = process
        return found


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
