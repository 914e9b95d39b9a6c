"""The mirror options that ``flow.with_options(mirror=...)`` adds to those in the code, for the runs of a deployment.

A deployment stores where the code of its flow is, and each run loads the flow from there. So options that were added to
the loaded flow reach the runs only through their environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prefect.flows import Flow

import pos3
from pos3.orchestration.runtime.flow_function import has_mirror, layers_of
from pos3.orchestration.runtime.option_layers import OptionLayers


def deployed_environment(flow: Flow[Any, Any]) -> dict[str, str]:
    """The variables that give the runs of a deployment the options that the flow has, and its code does not.

    Raises:
        InvalidArgumentError: an environment cannot express an option, or the deployed code has no mirror.
    """
    in_code = _flow_in_code(flow)
    if in_code is None:
        return {}
    if not has_mirror(in_code):
        raise pos3.InvalidArgumentError(
            f"the runs of a deployment load {flow._entrypoint!r}, which is a flow without a mirror; decorate it with "
            "@pos3_flow there"
        )
    coded, added = layers_of(in_code.fn), layers_of(flow.fn).added_to(layers_of(in_code.fn))
    return {
        f"POS3_{name.upper()}": text
        for name, text in _environment_values(added, coded.given_options() if added.layers else {}).items()
    }


def with_environment(job_variables: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The job variables with more variables of the environment. Those that are there already win."""
    return {**job_variables, "env": {**environment, **(job_variables.get("env") or {})}}


def _flow_in_code(flow: Flow[Any, Any]) -> Flow[Any, Any] | None:
    """The flow that the entry point of ``flow`` names, as its module has it; None if that is not a flow."""
    found: Any = None
    first, *others = (flow._entrypoint or "").rpartition(":")[2].split(".")
    found = getattr(flow.fn, "__globals__", {}).get(first)
    for name in others:
        found = getattr(found, name, None)
    return found if isinstance(found, Flow) else None


def _environment_values(added: OptionLayers, in_code: Mapping[str, Any]) -> dict[str, str]:
    blocks = [layer for layer in added.layers if isinstance(layer, str)]
    if blocks:
        raise pos3.InvalidArgumentError(
            f"with_options(mirror={blocks[-1]!r}) cannot be deployed, because an environment cannot name a block; name "
            f"it in the code, as in @pos3_flow(mirror={blocks[-1]!r})",
            argument="mirror",
        )
    options = {
        name: value for name, value in added.given_options().items() if name not in in_code or in_code[name] != value
    }
    pos3.MirrorOptions(**options).checked()
    for name in options:
        if name in in_code:
            raise pos3.InvalidArgumentError(
                f"with_options(mirror={{{name!r}: ...}}) cannot be deployed, because @pos3_flow gives {name} in the "
                "code, and that wins over the environment of a run; change it in the code",
                argument=name,
            )
    return {name: _text(name, value) for name, value in options.items()}


def _text(option: str, value: Any) -> str:
    if isinstance(value, pos3.Profile):
        raise pos3.InvalidArgumentError(
            f"{option}={value.local_name!r} is a Profile object, which a deployment cannot keep; give the name of a "
            "profile that the worker has, or of a Pos3Profile block",
            argument=option,
        )
    if value is None:
        # An empty variable counts as not set, also if the worker has set it.
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
