"""The clock of a server, from the dates of its answers."""

from __future__ import annotations

import math
import re
import threading
from email.utils import parsedate_to_datetime

_GLANCE_SECONDS = 0.05
_LONGEST_DATE = 100
_EARLY = re.compile(r"(\w{3}, \d\d \w{3} )(00\d\d)( .*)")
# The calendar repeats after this number of years.
_SECONDS_OF_400_YEARS = 146_097 * 86_400


def seconds_of(date: str) -> float:
    """A Date header in seconds since the epoch; 0 for none."""
    if len(date) > _LONGEST_DATE:
        return 0.0
    try:
        if early := _EARLY.fullmatch(date):
            # Python takes a year of two digits for one of the last century, or of this one, however it is written.
            later = parsedate_to_datetime(f"{early[1]}{int(early[2]) + 400:04}{early[3]}")
            return later.timestamp() - _SECONDS_OF_400_YEARS
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0


class ServerClock:
    """Notices when a server's clock goes back. Safe to use from several threads.

    Each answer has a date in whole seconds. The server made it between the sending of the request and the arrival of
    the answer. So each date limits the difference between the server's clock and the monotonic clock of this machine.
    """

    def __init__(self) -> None:
        self.set_back_seconds = 0.0
        """By how much the clock has gone back, at the most; 0 unless it certainly has."""
        self._at_least_ahead_seconds = self._at_most_ahead_seconds = -math.inf
        self._next_glance = 0.0
        self._lock = threading.Lock()

    def is_due(self, now: float) -> bool:
        """Whether another date is useful; ``now`` is ``time.monotonic()``."""
        return now >= self._next_glance

    def earliest(self, moment: float) -> float:
        """The earliest time that the server's clock can show at a ``time.monotonic()``; -inf if nothing is known."""
        return moment + self._at_least_ahead_seconds - self.set_back_seconds

    def saw(self, server_time: float, sent_at: float, arrived_at: float) -> None:
        """Records an answer.

        Args:
            server_time: its date in seconds since the epoch; 0 if it has none.
            sent_at, arrived_at: when the request was sent, and when the answer arrived, by ``time.monotonic()``.
        """
        if not server_time:
            return
        at_least, at_most = server_time - arrived_at, server_time + 1 - sent_at
        with self._lock:
            self._next_glance = arrived_at + _GLANCE_SECONDS
            if at_most < self._at_least_ahead_seconds:
                self.set_back_seconds = max(self.set_back_seconds, self._at_most_ahead_seconds - at_least)
            self._at_least_ahead_seconds = max(self._at_least_ahead_seconds, at_least)
            self._at_most_ahead_seconds = max(self._at_most_ahead_seconds, at_most)
