"""The mirror of a flow run: how it is opened, found, used by the run's attempts, pushed and closed.

The engine enters an attempt for each try of a flow run, and calls the body instead of the user's function. Both use the
run's mirror, which is open from the first attempt to the end of the run. This package also finds the mirror for calls
of pos3 in flows, tasks and hooks, and decides when a task pushes before its result is persisted. Calls of a mirror in
another process go through :mod:`pos3.orchestration.remote`. :mod:`pos3.orchestration.storing` decides what is pushed
before a result is persisted, and :mod:`pos3.orchestration.ui` shows transfers in Prefect's UI.
"""

from pos3.orchestration.runtime.attempt import with_attempts
from pos3.orchestration.runtime.body import wrap_function
from pos3.orchestration.runtime.deployed_options import deployed_environment, with_environment
from pos3.orchestration.runtime.flow_function import layers_of, mirror_options_of
from pos3.orchestration.runtime.flow_options import FlowOptions, StrPath
from pos3.orchestration.runtime.handing_on import (
    explaining_foreign_paths,
    prepared_to_leave,
    received,
    result_to_hand_on,
    run_names,
)
from pos3.orchestration.runtime.hooks import Hooks, around_task_hooks
from pos3.orchestration.runtime.mirror_lookup import find_mirror
from pos3.orchestration.runtime.option_layers import MirrorChoice, OptionLayers
from pos3.orchestration.runtime.profile_lookup import blocks_as_profiles, find_profile
from pos3.orchestration.runtime.records import work_before_record
from pos3.orchestration.runtime.url_parameters import describe_url_parameters, globals_of_annotations, with_url_paths

__all__ = [
    "FlowOptions",
    "Hooks",
    "MirrorChoice",
    "OptionLayers",
    "StrPath",
    "around_task_hooks",
    "blocks_as_profiles",
    "deployed_environment",
    "describe_url_parameters",
    "explaining_foreign_paths",
    "find_mirror",
    "find_profile",
    "globals_of_annotations",
    "layers_of",
    "mirror_options_of",
    "prepared_to_leave",
    "received",
    "result_to_hand_on",
    "run_names",
    "with_attempts",
    "with_environment",
    "with_url_paths",
    "work_before_record",
    "wrap_function",
]
