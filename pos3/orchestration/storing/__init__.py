"""Pushes the files of a task run before Prefect commits the record of its persisted result: completed means stored.

This package finds the registered uploads that a task run uses, from its arguments, its result and its registrations,
and pushes them. Task runs that wait for the same upload share its next push. These pushes delete nothing.
:mod:`pos3.orchestration.runtime` decides when to push, and with which mirror.
"""

from pos3.orchestration.storing.arguments import arguments_here
from pos3.orchestration.storing.pre_commit import Metadata, PreCommitPushes
from pos3.orchestration.storing.registration_log import OtherProcess, RegistrationLog, registration_scope
from pos3.orchestration.storing.task_data import TaskData, paths_in

__all__ = [
    "Metadata",
    "OtherProcess",
    "PreCommitPushes",
    "RegistrationLog",
    "TaskData",
    "arguments_here",
    "paths_in",
    "registration_scope",
]
