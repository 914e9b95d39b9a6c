"""Tests whether processes of this machine are running."""

from __future__ import annotations

import os


def is_running(pid: int) -> bool:
    """Whether a process with this pid exists. If that cannot be found out, the result is True.

    Pids are reused, and in another container the same pid belongs to another process.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
