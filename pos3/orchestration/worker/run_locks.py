"""Which flow runs a process of this node works on: marks in the cache that outlive a kill, but not unnoticed.

A mark is a file ``<cache_root>/.pos3/flow-runs/<flow run id>`` with the worker's name, on which it holds a lock. The
kernel drops the lock when the worker dies, so a mark without a lock is a run that nobody looks after any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from pos3.local import STATE_DIRECTORY, ForeignFileError, is_trusted, make_private, open_lock, open_own

_MOST_NAME_BYTES = 1000


class Mark:
    """One mark that is held. It goes with the end of the body, unless :meth:`keep` is called."""

    def __init__(self, path: Path, worker_name: str):
        self._path = path
        self._descriptor = open_lock(str(path))
        # A run that another worker looks after stays marked by that one.
        self._goes = _locked(self._descriptor)
        if self._goes:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, worker_name.encode(), 0)

    def keep(self) -> None:
        """Leaves the run to the next worker that starts here."""
        self._goes = False

    def release(self) -> None:
        if self._goes:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Marks:
    """The marks of one cache, which several workers may share."""

    def __init__(self, cache_root: Path, worker_name: str = ""):
        self._worker_name = worker_name
        self._directory = cache_root / STATE_DIRECTORY / "flow-runs"

    @contextlib.contextmanager
    def holding(self, flow_run_id: UUID) -> Iterator[Mark]:
        """Marks a flow run for as long as the body runs; longer, if the body is cancelled."""
        make_private(str(self._directory.parent))
        make_private(str(self._directory))
        mark = Mark(self._directory / str(flow_run_id), self._worker_name)
        try:
            yield mark
        except BaseException as error:
            if not isinstance(error, Exception):
                mark.keep()
            raise
        finally:
            mark.release()

    @contextlib.contextmanager
    def abandoned(self) -> Iterator[dict[UUID, str]]:
        """The runs whose worker is gone, each with that worker's name.

        The body looks after them; if it succeeds, they are no longer marked. While it runs, no other worker gets the
        same ones.
        """
        found: dict[UUID, str] = {}
        with contextlib.ExitStack() as stack:
            trusted = is_trusted(str(self._directory.parent), self._directory.name)
            for path in sorted(self._directory.glob("*")) if trusted else ():
                with contextlib.suppress(ValueError, FileNotFoundError, ForeignFileError):
                    flow_run_id = UUID(path.name)
                    descriptor = open_own(str(path), os.O_RDWR)
                    stack.callback(os.close, descriptor)
                    if _locked(descriptor) and not _runs_still(flow_run_id):
                        found[flow_run_id] = os.pread(descriptor, _MOST_NAME_BYTES, 0).decode("utf-8", "replace")
            yield found
            for flow_run_id in found:
                (self._directory / str(flow_run_id)).unlink(missing_ok=True)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _runs_still(flow_run_id: UUID) -> bool:
    """Whether a process on this machine still executes the run: outside a container it may survive its worker."""
    wanted = f"PREFECT__FLOW_RUN_ID={flow_run_id}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in environment.read_bytes().split(b"\0"):
                return True
    return False
