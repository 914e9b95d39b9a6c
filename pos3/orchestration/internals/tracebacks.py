"""Takes the frames of pos3 out of the tracebacks of its errors, as Prefect logs them, so they end at the user's line.

The message of such an error says what failed and what to do, and the frames inside of pos3 say nothing to a user. They
are logged at DEBUG. It relies on CPython, where ``tb_next`` of a traceback can be set.
"""

from __future__ import annotations

import logging
import os
import sysconfig
import traceback
from types import TracebackType

import pos3

_logger = logging.getLogger("pos3")
_OURS = f"{os.path.dirname(os.path.abspath(pos3.__file__))}{os.sep}"
_PREFECT_PART = f"{_OURS}orchestration{os.sep}"
_LIBRARIES = tuple({f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def end_at_caller(error: BaseException) -> None:
    """Cuts the traceback of an error of pos3 below the last line of the user, and those of its causes.

    Above that line, the frames with which pos3 calls the user's function are taken out as well.

    Other errors, which may be mistakes of pos3, keep all frames.
    """
    if not isinstance(error, pos3.Pos3Error):
        return
    if _logger.isEnabledFor(logging.DEBUG):
        _logger.debug("the whole traceback:\n%s", "".join(traceback.format_exception(error)))
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        _cut(each)
        each = each.__cause__ or each.__context__


def _cut(error: BaseException) -> None:
    entries = _entries(error.__traceback__)
    files = [entry.tb_frame.f_code.co_filename for entry in entries]
    inside = [number for number, file in enumerate(files) if file.startswith(_OURS) and not _is_wrapper(file)]
    if not inside:
        return
    of_user = [number for number, file in enumerate(files) if not file.startswith((_OURS, *_LIBRARIES, "<frozen"))]
    last = of_user[-1] if of_user else inside[0] - 1
    if last >= inside[-1]:
        return
    while not of_user and last >= 0 and files[last].startswith(_OURS):
        last -= 1
    if last < 0:
        # The frames that called the user's function are added while the error goes up.
        for entry in entries[: inside[0]]:
            entry.tb_next = None
        error.__traceback__ = entries[0] if inside[0] else None
    else:
        shown = [entry for entry, file in zip(entries[: last + 1], files, strict=False) if not file.startswith(_OURS)]
        for entry, below in zip(shown, [*shown[1:], None], strict=True):
            entry.tb_next = below
        error.__traceback__ = shown[0]


def _is_wrapper(file: str) -> bool:
    """Whether the file is of the part that Prefect calls, and that calls the user's code."""
    return file.startswith(_PREFECT_PART)


def _entries(first: TracebackType | None) -> list[TracebackType]:
    entries = []
    while first is not None:
        entries.append(first)
        first = first.tb_next
    return entries
