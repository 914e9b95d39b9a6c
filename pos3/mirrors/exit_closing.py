"""Closes, at the exit of the interpreter, the mirrors that nobody has closed."""

from __future__ import annotations

import atexit
import logging
import sys
from typing import Protocol

logger = logging.getLogger("pos3")


class Closable(Protocol):
    """A mirror that can be closed at the exit."""

    def close_at_exit(self, error: BaseException | None) -> None:
        """Closes the mirror. ``error`` is the exception that has ended the program, or None."""
        ...


# This keeps the mirrors alive, so that their files are pushed even if the program has no reference to them any more.
_mirrors: dict[Closable, None] = {}


def add_mirror(mirror: Closable) -> None:
    """From now on, the exit closes the mirror."""
    _mirrors[mirror] = None


def remove_mirror(mirror: Closable) -> None:
    """From now on, the exit does not close the mirror. Nothing happens if it was not added."""
    _mirrors.pop(mirror, None)


def _close_all() -> None:
    error = _unhandled_exception()
    for mirror in reversed(list(_mirrors)):
        try:
            mirror.close_at_exit(error)
        except Exception:
            logger.exception("%s could not be closed at the interpreter's exit", mirror)


def _unhandled_exception() -> BaseException | None:
    """The exception that has ended the program, or None. An interactive session goes on after an exception."""
    if hasattr(sys, "ps1"):
        return None
    error: BaseException | None = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error


# When this is called, all threads but daemon threads have ended, and no thread can be started any more.
atexit.register(_close_all)
