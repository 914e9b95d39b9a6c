"""Secret strings, which ``repr`` does not show, and warnings about files with secrets that others can read."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import SupportsIndex

logger = logging.getLogger("pos3")

_warned: set[Path] = set()


class Secret(str):
    """A string whose ``repr`` is hidden, and so it is in containers, and in tracebacks with local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, which: SupportsIndex | slice) -> Secret:
        # Tools that show local variables may first shorten long strings.
        return Secret(super().__getitem__(which))


def warn_if_accessible(path: Path) -> None:
    """Logs a warning, once for each file, if other users may read or replace the file's secrets."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & (stat.S_IRWXO | stat.S_IWGRP) and path not in _warned:
        _warned.add(path)
        logger.warning("%s holds secrets and is open to other users (mode %03o); run: chmod 600 %s", path, mode, path)
