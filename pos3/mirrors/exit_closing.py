"""Mirrors that nobody has closed: the interpreter's exit closes them."""

from __future__ import annotations

import atexit
import logging
import sys
from typing import Protocol

logger = logging.getLogger("pos3")


class Closable(Protocol):
    """A mirror that is closed by the exit if nobody has done that before."""

    def close_at_exit(self, error: BaseException | None) -> None:
        """``error`` has ended the program."""
        ...


# They are kept alive: what is registered with them is to be pushed, even if the program has dropped them.
_held: dict[Closable, None] = {}


def hold(mirror: Closable) -> None:
    """The mirror has something to push from now on, until :func:`release`."""
    _held[mirror] = None


def release(mirror: Closable) -> None:
    """The mirror is closed."""
    _held.pop(mirror, None)


def _close_all() -> None:
    error = _unhandled()
    for mirror in reversed(list(_held)):
        try:
            mirror.close_at_exit(error)
        except Exception:
            logger.exception("%s could not be closed at the interpreter's exit", mirror)


def _unhandled() -> BaseException | None:
    """The exception that has ended the program. An interactive session goes on after one, so none has ended that."""
    if hasattr(sys, "ps1"):
        return None
    error: BaseException | None = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error


# Threads that are no daemons have ended by then, and the others still run. No further one may be started.
atexit.register(_close_all)
