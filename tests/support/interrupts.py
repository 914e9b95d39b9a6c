"""Interrupts that come at a chosen line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def interrupted_at_line(number: int, file: str) -> Iterator[list[str]]:
    """Raises KeyboardInterrupt at the line of this number that is reached in ``file``, and tells which one it was."""
    reached = 0
    hit: list[str] = []

    def trace(frame: FrameType, event: str, _value: object) -> Any:
        nonlocal reached
        if frame.f_code.co_filename != file:
            return None
        reached += event == "line"
        if reached == number and not hit:
            hit.append(f"{frame.f_code.co_name}, line {frame.f_lineno}")
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield hit
    finally:
        sys.settrace(before)
