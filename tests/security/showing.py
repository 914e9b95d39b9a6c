"""All that tools show of an error: messages, notes, and tracebacks with the local variables of every frame."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterator

from rich.console import Console
from rich.traceback import Traceback


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it groups, and all that led to it, whether or not Python would print it."""
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            left += [each.__cause__, each.__context__, *getattr(each, "failures", ())]


def shown(error: BaseException) -> str:
    """What Python, logging, rich and pytest would print of the error, local variables included."""
    said = [text for each in chain(error) for text in (str(each), repr(each), *getattr(each, "__notes__", ()))]
    for each in chain(error):
        said += traceback.TracebackException.from_exception(each, capture_locals=True).format()
        said.append(logging.Formatter().formatException((type(each), each, each.__traceback__)))
    rich = Console(file=io.StringIO(), width=400)
    rich.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, max_frames=100))
    assert isinstance(rich.file, io.StringIO)
    return "\n".join([*said, rich.file.getvalue()])
