"""Gives a function the code location of another one, so that tracebacks and Prefect find the user's code.

It relies on CPython's ``co_linetable``, which maps bytecode to lines (the format since 3.11 is described in
``Objects/locations.md`` of CPython), and on Prefect, which finds a flow's file by the code of its function and resolves
its annotations by the globals of its function. ``tests/orchestration/test_internals.py`` pins this.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any


def located_like(made: FunctionType, function: Callable[..., Any]) -> FunctionType:
    """A copy of ``made`` with the globals, the names and the code location of ``function``.

    If ``function`` is not written in Python, the result is ``made`` itself. All code of the copy is on the first line
    of ``function``, so a traceback shows its decorator there. ``made`` must not use globals.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return made
    moved = made.__code__.replace(
        co_filename=code.co_filename,
        co_firstlineno=code.co_firstlineno,
        co_linetable=_on_first_line(len(made.__code__.co_code) // 2),
        co_name=code.co_name,
        co_qualname=code.co_qualname,
    )
    return FunctionType(moved, function.__globals__, function.__name__, None, made.__closure__)


def _on_first_line(code_units: int) -> bytes:
    """A location table that puts this number of code units on the first line.

    Each entry covers up to eight code units. Its kind is 13, a line without columns, and its line delta is 0.
    """
    table = bytearray()
    for begin in range(0, code_units, 8):
        table += bytes([0x80 | 13 << 3 | min(8, code_units - begin) - 1, 0])
    return bytes(table)
