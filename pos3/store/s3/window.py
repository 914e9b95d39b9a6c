"""Decides how many requests may be in flight: a fixed number, or the number that is measured to be fastest.

This module does not use a loop, a thread or a server.
"""

from __future__ import annotations

import math
from collections.abc import Callable

MOST = 256
_NEAR, _FAR = 10, 32
# A store that needs this long to begin a listing page is far away.
_FAR_SECONDS = 0.015
# What a far store is asked for at first. Stores limit requests by the second, so the farther one is, the more may be
# in flight.
_EARLY_REQUESTS_PER_SECOND = _FAR / _FAR_SECONDS
# Shorter measurements are not reliable.
_ROUND_SECONDS = 0.02
# Answers that take this much longer than the first one are waiting for other requests.
_WAITS_FOR_OTHERS = 1.5
# Doubling continues if it makes transfers a fifth faster.
_PAYS = 0.2
# Growth continues if each request has at least this share of the best speed per request.
_KEEPS_UP = 0.75
_TRIES = 2


class Fixed:
    """A fixed number of requests in flight."""

    epoch = 0

    def __init__(self, limit: int):
        self.limit = self.most = limit

    def answered(self, epoch: int, in_flight: int) -> None: ...

    def overloaded(self, epoch: int) -> None: ...

    def broken(self, epoch: int) -> None: ...


class Window:
    """Finds the number of requests in flight. It doubles each round as long as the speed grows, and then grows by one.

    If the store is overloaded, the number is halved, at most once a round. A round has as many answers as requests in
    flight. One thread at a time uses a window.

    Args:
        wait_seconds: how long the store takes to begin a listing page; 0 if this is not known.
        threshold: a number that was too large before. Below it, the number doubles.
        allowed: called with the present number; returns the maximum number at this moment.
        is_alone: whether no other window uses the store at the same time.
    """

    most = MOST

    def __init__(
        self,
        wait_seconds: float,
        threshold: float,
        allowed: Callable[[int], int],
        clock: Callable[[], float],
        *,
        is_alone: bool = True,
    ):
        is_far = wait_seconds >= _FAR_SECONDS
        self._allowed = allowed
        self._clock = clock
        self._wait_seconds = wait_seconds if is_alone else 0.0
        self._begun_with = max(1, int(min(_FAR if is_far and is_alone else _NEAR, threshold, allowed(0))))
        self.threshold = threshold
        self.limit = self._begun_with
        self.epoch = 0
        """Which limit a request was sent under; another one whenever it has become lower."""
        self._is_doubling = True
        # If answers come fast, the first round mostly measures new connections.
        self._is_warming_up = not is_far
        self._tries = 0
        self._limit_before = self.limit
        self._rate_before = 0.0
        # The best number of answers a second per request in flight.
        self._best_each = 0.0
        self._begin_round()
        # The first answer is measured separately.
        self._due = 1
        self._is_first = True
        self._first_seconds = 0.0

    def _begin_round(self) -> None:
        self._began = self._clock()
        self._answered = 0
        self._due = self.limit
        self._is_full = False

    def answered(self, epoch: int, in_flight: int) -> None:
        """Records the answer to a request that was sent in ``epoch``, with ``in_flight`` requests until now."""
        # Requests that were sent before the last reduction say nothing about the new number.
        if epoch != self.epoch:
            return
        self._answered += 1
        if in_flight >= self.limit:
            self._is_full = True
        if self._answered < self._due:
            return
        seconds = self._clock() - self._began
        if self._is_first:
            self._is_first = False
            self._first_seconds = seconds
            # The store may need longer for a listing page.
            self._wait_seconds = min(self._wait_seconds, seconds)
            self._due = self.limit
            return
        if seconds < _ROUND_SECONDS:
            # Whole rounds are measured, because answers come in groups.
            self._due += self.limit
            return
        rate, is_full = self._answered / seconds, self._is_full
        # With fewer requests than allowed, nothing can be measured.
        if is_full:
            self._best_each = max(self._best_each, rate / self.limit)
            if self._is_doubling:
                self._double(rate)
            elif rate >= _KEEPS_UP * self._best_each * self.limit:
                self._grow(self.limit + 1)
                self.threshold = max(self.threshold, self.limit)
        self._begin_round()

    def _double(self, rate: float) -> None:
        if self._is_warming_up:
            self._is_warming_up = False
            return
        if rate < self._rate_before * (1 + _PAYS * (self.limit / self._limit_before - 1)):
            self._tries += 1
            if self._tries == _TRIES:
                self._cut(self._limit_before)
            return
        self._tries, self._rate_before, self._limit_before = 0, rate, self.limit
        wanted = 2 * self.limit
        if 1 / self._best_each < _WAITS_FOR_OTHERS * self._first_seconds:
            wanted = max(wanted, int(_EARLY_REQUESTS_PER_SECOND * self._wait_seconds))
        self._grow(int(min(wanted, self.threshold)))
        self._is_doubling = self.limit > self._limit_before

    def _grow(self, wanted: int) -> None:
        self.limit = max(self.limit, min(wanted, self._allowed(self.limit)))

    def overloaded(self, epoch: int) -> None:
        """Records that the store was overloaded by a request that was sent in ``epoch``."""
        if self._halved(epoch, 1):
            self.threshold = self.limit

    def broken(self, epoch: int) -> None:
        """Records a broken connection. This may be chance, or too many connections, so a few requests stay allowed."""
        self._halved(epoch, self._begun_with)

    def _halved(self, epoch: int, least: int) -> bool:
        if epoch != self.epoch or self.limit <= least:
            return False
        self._cut(max(least, self.limit // 2))
        return True

    def _cut(self, limit: int) -> None:
        self.limit = limit
        self.epoch += 1
        self._is_doubling = False
        self._begin_round()


NO_THRESHOLD = math.inf
