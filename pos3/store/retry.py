"""Decides which failed requests are repeated, how often, and after which pauses."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pos3.errors import (
    BucketNotFoundError,
    CredentialsError,
    EndpointError,
    IntegrityError,
    ObjectChangedError,
    StoreError,
)

T = TypeVar("T")
logger = logging.getLogger("pos3.store")

ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5


class BusyError(StoreError):
    """The store answered that it cannot do this now. The same request may succeed later."""

    operation = ""
    """The method of the request, where the message does not tell what it was for."""
    code = ""
    """The store's own word for it, if there is one."""
    is_overload = False
    """Whether it is asked for too much at once."""


class UnreachableError(EndpointError):
    """There was no answer, or the connection broke during the answer. The same request may succeed later."""

    operation = ""
    """As above."""
    is_overload = False
    """As above: no answer came in time."""


def is_transient(error: BaseException) -> bool:
    return isinstance(error, (BusyError, UnreachableError, IntegrityError, ObjectChangedError))


def is_shared(error: BaseException) -> bool:
    """Whether the next request to the store would fail for the same reason."""
    return isinstance(error, (BucketNotFoundError, CredentialsError, EndpointError))


def is_unreachable(error: BaseException) -> bool:
    """Whether the endpoint could not be reached: there was no answer, or the connection broke."""
    if isinstance(error, UnreachableError):
        return True
    return isinstance(error, EndpointError) and isinstance(error.__cause__, (ConnectionError, TimeoutError))


class Patience:
    """The number of attempts for one request, and the pauses between them. Pauses grow, and are random."""

    def __init__(self, attempts: int = ATTEMPTS):
        self._left = attempts - 1
        self._failed = 0

    def pause_seconds(self, error: BaseException) -> float | None:
        """The pause before the next attempt, which is logged; None if there is no further attempt."""
        if not is_transient(error) or self._failed >= self._left:
            return None
        self._failed += 1
        seconds = self._next_pause_seconds()
        operation = error.operation if isinstance(error, (BusyError, UnreachableError)) else ""
        told = f"{operation} {error}".lstrip()
        logger.debug("%s; attempt %d of %d in %.2f s", told, self._failed + 1, self._left + 1, seconds)
        return seconds

    def _next_pause_seconds(self) -> float:
        if self._failed == 1:
            # Most second attempts succeed. The import below takes longer than a small transfer.
            return random.uniform(0, _FIRST_PAUSE_SECONDS)
        from tenacity import RetryCallState, Retrying, wait_random_exponential

        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = self._failed
        return float(wait_random_exponential(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)(state))


async def repeated(patience: Callable[[], Patience], attempt: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """The result of ``attempt``. It is called again as long as its failure may be temporary.

    Raises:
        Exception: the last failure.
    """
    left: Patience | None = None
    while True:
        try:
            return await attempt(*arguments)
        except Exception as error:
            left = left or patience()
            pause_seconds = left.pause_seconds(error)
            if pause_seconds is None:
                raise
        await asyncio.sleep(pause_seconds)
