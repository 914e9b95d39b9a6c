"""The mirror of one flow run: how it is opened, found, used by the run's attempts, pushed and closed.

The engine enters an attempt for each try of a flow run, and calls the body in place of the user's function. Both use
the run's mirror, which lives from the first attempt to the end of the run. This package also says which mirror a call
of pos3 inside of a flow, a task or a hook belongs to, and when a task pushes before its result is kept. How calls reach
a mirror in another process is for :mod:`pos3.orchestration.remote`, what such a push covers is for
:mod:`pos3.orchestration.storing`, and what Prefect's UI shows is for :mod:`pos3.orchestration.ui`.
"""

from pos3.orchestration.runtime.attempt import scoped
from pos3.orchestration.runtime.body import wrapped
from pos3.orchestration.runtime.flow_function import layers_of, mirror_options_of
from pos3.orchestration.runtime.flow_options import FlowOptions, StrPath
from pos3.orchestration.runtime.hooks import Hooks, around_task_hooks
from pos3.orchestration.runtime.mirror_lookup import find_mirror
from pos3.orchestration.runtime.option_layers import MirrorChoice, OptionLayers
from pos3.orchestration.runtime.profile_lookup import find_profile
from pos3.orchestration.runtime.records import work_before_record

__all__ = [
    "FlowOptions",
    "Hooks",
    "MirrorChoice",
    "OptionLayers",
    "StrPath",
    "around_task_hooks",
    "find_mirror",
    "find_profile",
    "layers_of",
    "mirror_options_of",
    "scoped",
    "work_before_record",
    "wrapped",
]
