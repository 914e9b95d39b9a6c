"""Completed means stored: what is pushed before Prefect commits the record of a persisted result.

It says which registered places a task run has to do with, from its arguments, its result and its registrations, and it
pushes them, so that task runs that wait for one place share its next push. These pushes delete nothing. When they are
due, and with which mirror, is for :mod:`pos3.orchestration.runtime`.
"""

from pos3.orchestration.storing.pre_commit import Commits
from pos3.orchestration.storing.registration_log import Elsewhere, Ledger, scope
from pos3.orchestration.storing.task_data import Handled

__all__ = [
    "Commits",
    "Elsewhere",
    "Handled",
    "Ledger",
    "scope",
]
