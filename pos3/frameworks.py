"""Functions that frameworks such as Prefect add to pos3 by entry points, if the framework is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

MIRRORS = "pos3.mirrors"
"""The group of functions that return the mirror of the current flow or task, or None."""

PROFILES = "pos3.profiles"
"""The group of functions that return the profile with a given name, or None."""


def functions_of(group: str) -> Iterator[Callable[..., Any]]:
    """The functions of a group of entry points whose frameworks are loaded.

    The name of an entry point is the name of its framework's package.
    """
    return (_loaded(point) for point in _points(group) if point.name in sys.modules)


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))


@cache
def _loaded(point: EntryPoint) -> Callable[..., Any]:
    function: Callable[..., Any] = point.load()
    return function
