"""What frameworks add to pos3, as far as they are loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

MIRRORS = "pos3.mirrors"
"""Functions that name the mirror of the place where they are called, or None."""

PROFILES = "pos3.profiles"
"""Functions that find the profile of a name, or None."""


def added(group: str) -> Iterator[Callable[..., Any]]:
    """The functions of a group of entry points; the name of each is that of the package that must be loaded."""
    return (_loaded(point) for point in _points(group) if point.name in sys.modules)


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))


@cache
def _loaded(point: EntryPoint) -> Callable[..., Any]:
    function: Callable[..., Any] = point.load()
    return function
