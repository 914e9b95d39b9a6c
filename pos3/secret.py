"""Secrets: strings that do not show, files that hold them, directories that are for one user alone."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path
from typing import SupportsIndex

logger = logging.getLogger("pos3")

_told: set[Path] = set()


class Secret(str):
    """A string that its ``repr`` does not show, so that neither do containers, nor tracebacks with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, which: SupportsIndex | slice) -> Secret:
        # What shows local variables may shorten long strings first.
        return Secret(super().__getitem__(which))


def warn_if_open(path: Path) -> None:
    """Says, once for each file that holds secrets, that other users may read or replace them."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & (stat.S_IRWXO | stat.S_IWGRP) and path not in _told:
        _told.add(path)
        logger.warning("%s holds secrets and is open to other users (mode %03o); run: chmod 600 %s", path, mode, path)


def make_private(directory: str) -> None:
    """Makes a directory that other users cannot look into, unless it exists; those above it are ordinary ones."""
    os.makedirs(directory, mode=0o700, exist_ok=True)


def open_own(path: str, flags: int) -> int:
    """A descriptor of a regular file of this user, which no link leads to.

    Raises:
        OSError: there is none.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "it is no file of this user", path)
    return descriptor
