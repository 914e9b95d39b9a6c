"""Gives a method that plans a verb the signature of the verb, so that the arguments are written down once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Concatenate, ParamSpec, TypeVar, get_type_hints

from pos3.jobs import Request

P = ParamSpec("P")
M = TypeVar("M")
A = TypeVar("A", bound=Request)
R = TypeVar("R")
T = TypeVar("T")


def planning(
    request: Callable[..., A], verb: Callable[Concatenate[M, P], T], by_name: Collection[str] = ()
) -> Callable[[Callable[[M, A], R]], Callable[Concatenate[M, P], R]]:
    """Decorates a method that plans a request. The result takes the arguments of ``verb`` and makes a request of them.

    Args:
        by_name: arguments that the plan takes only by name, although the verb takes them by position as well.
    """
    # The annotations are evaluated in the module of the verb, because their names are not known here.
    hints = get_type_hints(verb)
    signature = inspect.signature(verb)
    typed = [item.replace(annotation=hints.get(item.name, item.empty)) for item in signature.parameters.values()]
    named = [item.replace(kind=item.KEYWORD_ONLY) for item in typed if item.name in by_name]
    parameters = sorted([*(item for item in typed if item.name not in by_name), *named], key=lambda item: item.kind)
    signature = signature.replace(parameters=parameters)
    (_, *names) = signature.parameters

    def decorate(plan: Callable[[M, A], R]) -> Callable[Concatenate[M, P], R]:
        def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
            arguments = signature.bind(self, *args, **kwargs).arguments
            return plan(self, request(**{name: arguments[name] for name in names if name in arguments}))

        functools.update_wrapper(call, plan)
        # inspect.signature() follows __wrapped__, and would show the signature of ``plan``.
        vars(call).pop("__wrapped__")
        return_type = get_type_hints(plan)["return"]
        vars(call)["__signature__"] = signature.replace(return_annotation=return_type)
        call.__annotations__ = {**hints, "return": return_type}
        return call

    return decorate
