"""Shows times to people."""

from __future__ import annotations

import time


def local_time(seconds: float) -> str:
    """A time in seconds since the epoch, in the time zone of this machine, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
