"""What ``pos3_flow`` was given for a flow: the user's function and the options of the flow's mirror.

The function of a mirrored flow carries them as an attribute, so that every module can read them without knowing how the
function is run.
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
    """The user's function, and what was said about the options of its mirror."""

    function: Function
    options: OptionLayers = field(default_factory=OptionLayers)

    def attach_to(self, wrapper: Function) -> None:
        """Makes this what :func:`flow_function` returns for ``wrapper``."""
        setattr(wrapper, _ATTRIBUTE, self)


def flow_function(function: Function) -> FlowFunction:
    """What was given for the function of a flow; the function itself without options, if its flow has no mirror."""
    given = getattr(function, _ATTRIBUTE, None)
    return given if isinstance(given, FlowFunction) else FlowFunction(function)


def layers_of(function: Function) -> OptionLayers:
    """The options that were given for a flow's function; none for one that has no mirror."""
    return flow_function(function).options


def mirror_options_of(flow: Flow[Any, Any]) -> pos3.MirrorOptions:
    """The options that a run of ``flow`` has on this machine; for a flow without a mirror, those of the environment.

    Raises:
        InvalidArgumentError: a variable of the environment has a value that cannot work.
    """
    return layers_of(flow.fn).resolve()


def has_mirror(flow: Flow[Any, Any] | None) -> bool:
    """Whether the runs of ``flow`` have a mirror: ``pos3_flow`` made it."""
    return bool(getattr(flow, "has_pos3_mirror", False))
