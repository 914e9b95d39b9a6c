"""Secrets: strings that do not show, and files that hold them."""

from __future__ import annotations

import logging
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
