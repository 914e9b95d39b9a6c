"""Whether processes of this machine run."""

from __future__ import annotations

import os


def is_running(pid: int) -> bool:
    """Whether there is a process of this number; in doubt there is.

    A number is used again, and in another container it may be that of another process.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
