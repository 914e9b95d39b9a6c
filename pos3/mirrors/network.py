"""Decides whether a mirror asks the stores, or does without them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from pos3.errors import Pos3Error, TransferError, message_of
from pos3.options import OfflineChoice
from pos3.store import is_unreachable, present_endpoint

logger = logging.getLogger("pos3")
T = TypeVar("T")
_BY_CHOICE = "this mirror works offline"
# An endpoint that did not answer is not asked for a while, the longer the longer its silence was waited for.
_SHORTEST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 300.0
_PAUSE_FOR_EACH_SECOND = 10.0


class Network(Protocol):
    """The network as one mirror uses it. It may be used from several threads."""

    is_used: bool
    """Whether any store is ever asked."""

    def ask(self, endpoint: str, call: Callable[[], T], instead: Callable[[str], T]) -> T:
        """The result of ``call``, which asks the store, or of ``instead``, which does without it.

        Args:
            endpoint: the endpoint of the store.
            instead: called with the reason why the store is not asked.
        """
        ...

    @property
    def is_available(self) -> bool:
        """Whether all stores can be asked at the moment, as far as is known."""
        ...

    def reason(self, endpoint: str) -> str:
        """Why a store at the endpoint is not asked at the moment."""
        ...

    def try_again(self) -> None:
        """The next calls ask, even if the endpoint could not be reached just now."""
        ...


class Online:
    """Stores are always asked."""

    is_used = is_available = True

    def ask(self, endpoint: str, call: Callable[[], T], instead: Callable[[str], T]) -> T:
        return call()

    def reason(self, endpoint: str) -> str:
        return ""

    def try_again(self) -> None:
        pass


class Offline:
    """Stores are never asked."""

    is_used = is_available = False

    def ask(self, endpoint: str, call: Callable[[], T], instead: Callable[[str], T]) -> T:
        return instead(_BY_CHOICE)

    def reason(self, endpoint: str) -> str:
        return _BY_CHOICE

    def try_again(self) -> None:
        pass


class WhileReachable:
    """Stores are asked as long as their endpoints can be reached. Whether they can is logged when it changes."""

    is_used = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unreachable: dict[str, tuple[float, str]] = {}

    def ask(self, endpoint: str, call: Callable[[], T], instead: Callable[[str], T]) -> T:
        endpoint = present_endpoint(endpoint)
        with self._lock:
            pause_ends, reason = self._unreachable.get(endpoint, (0.0, ""))
        began = time.monotonic()
        if began < pause_ends:
            return instead(reason)
        try:
            result = call()
        except (Pos3Error, OSError) as error:
            cause = _why_unreachable(error)
            if cause is None:
                raise
            return instead(self._lost(endpoint, cause, time.monotonic() - began))
        with self._lock:
            if self._unreachable.pop(endpoint, None):
                logger.warning("%s can be reached again", endpoint or "AWS")
        return result

    def _lost(self, endpoint: str, cause: BaseException, waited_seconds: float) -> str:
        """Notes that an endpoint cannot be reached, and returns the reason."""
        reason = message_of(cause).rstrip(".")
        pause_seconds = min(
            max(_SHORTEST_PAUSE_SECONDS, waited_seconds * _PAUSE_FOR_EACH_SECOND), _LONGEST_PAUSE_SECONDS
        )
        with self._lock:
            is_known = endpoint in self._unreachable
            self._unreachable[endpoint] = time.monotonic() + pause_seconds, reason
        if not is_known:
            logger.warning("%s; working offline, with what the cache holds", reason)
        return reason

    @property
    def is_available(self) -> bool:
        with self._lock:
            return not self._unreachable

    def reason(self, endpoint: str) -> str:
        with self._lock:
            return self._unreachable.get(present_endpoint(endpoint), (0.0, ""))[1]

    def try_again(self) -> None:
        with self._lock:
            self._unreachable = {endpoint: (0.0, reason) for endpoint, (_, reason) in self._unreachable.items()}


def _why_unreachable(error: BaseException) -> BaseException | None:
    """The failure that shows that an endpoint cannot be reached, or None if there is none."""
    failures = error.failures if isinstance(error, TransferError) else [error]
    return next((failure for failure in failures if is_unreachable(failure)), None)


def network_of(choice: OfflineChoice) -> Network:
    """The network of a mirror with this value of ``offline``."""
    if choice == "auto":
        return WhileReachable()
    return Offline() if choice else Online()
