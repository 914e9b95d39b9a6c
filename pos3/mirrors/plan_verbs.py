"""Plans take the arguments of the verb that they plan, so these are written down once."""

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
    """Decorates a method that plans a request: it takes the arguments of ``verb``, of which the request is made.

    Args:
        by_name: what the plan takes only by name, though the verb takes it by position as well.
    """
    # Evaluated where they were written: this module does not know their names.
    hints = get_type_hints(verb)
    signature = inspect.signature(verb)
    given = [each.replace(annotation=hints.get(each.name, each.empty)) for each in signature.parameters.values()]
    named = [each.replace(kind=each.KEYWORD_ONLY) for each in given if each.name in by_name]
    parameters = sorted([*(each for each in given if each.name not in by_name), *named], key=lambda each: each.kind)
    signature = signature.replace(parameters=parameters)
    (_, *names) = signature.parameters

    def decorate(plan: Callable[[M, A], R]) -> Callable[Concatenate[M, P], R]:
        def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
            arguments = signature.bind(self, *args, **kwargs).arguments
            return plan(self, request(**{name: arguments[name] for name in names if name in arguments}))

        functools.update_wrapper(call, plan)
        # Not the signature of ``plan`` itself, which this refers to.
        vars(call).pop("__wrapped__")
        made = get_type_hints(plan)["return"]
        vars(call)["__signature__"] = signature.replace(return_annotation=made)
        call.__annotations__ = {**hints, "return": made}
        return call

    return decorate
