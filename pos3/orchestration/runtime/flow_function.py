"""The arguments of ``pos3_flow`` for a flow: the user's function and the options of the flow's mirror.

The function of a mirrored flow has them as an attribute, so every module can read them without knowing how the function
is run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefect.flows import Flow

import pos3
from pos3.orchestration.runtime.option_layers import OptionLayers

Function = Callable[..., Any]
_ATTRIBUTE = "_pos3_flow_function"


@dataclass(frozen=True)
class FlowFunction:
    """The user's function, and the given options of its mirror."""

    function: Function
    options: OptionLayers = field(default_factory=OptionLayers)

    def attach_to(self, wrapper: Function) -> None:
        """Makes :func:`flow_function` return this object for ``wrapper``."""
        setattr(wrapper, _ATTRIBUTE, self)


def flow_function(function: Function) -> FlowFunction:
    """The attached object of a flow's function. For a flow without a mirror, it has the function and no options."""
    given = getattr(function, _ATTRIBUTE, None)
    return given if isinstance(given, FlowFunction) else FlowFunction(function)


def layers_of(function: Function) -> OptionLayers:
    """The given options of a flow's mirror; no layers for a flow without a mirror."""
    return flow_function(function).options


def mirror_options_of(flow: Flow[Any, Any]) -> pos3.MirrorOptions:
    """The options of a run of ``flow`` on this machine. For a flow without a mirror, they come from the environment.

    Raises:
        InvalidArgumentError: a variable of the environment has a value that cannot work.
    """
    return layers_of(flow.fn).resolve()


def has_mirror(flow: Flow[Any, Any] | None) -> bool:
    """Whether ``flow`` was made by ``pos3_flow``, so that its runs have a mirror."""
    return bool(getattr(flow, "has_pos3_mirror", False))
