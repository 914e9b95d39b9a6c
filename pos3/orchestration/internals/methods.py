"""Keeps what makes a flow a method when the flow is copied with other options.

It relies on attributes of Prefect's flows: the function has the object of a bound method, and the flow has whether it
was made from a ``classmethod`` or a ``staticmethod``. ``tests/orchestration/test_internals.py`` pins them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.flows import Flow

_OF_FUNCTION = ("__prefect_self__", "__prefect_cls__")
_OF_FLOW = ("_isclassmethod", "_isstaticmethod")


def bound_like(made: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Binds the function ``made`` to the object to which ``function`` is bound, if there is one."""
    _copy(_OF_FUNCTION, function, made)


def of_same_kind_of_method(made: Flow[Any, Any], flow: Flow[Any, Any]) -> None:
    """Makes ``made`` a class method or a static method if ``flow`` is one."""
    _copy(_OF_FLOW, flow, made)


def _copy(names: tuple[str, ...], source: object, target: object) -> None:
    for name in names:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
