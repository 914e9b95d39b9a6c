"""Protects directories that pos3 has never filled, such as a home directory named by mistake, from downloads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pos3.errors import ConflictError, PlanRefusedError
from pos3.plan import NEW, Plan

if TYPE_CHECKING:
    from pos3.jobs.job import Job

FILLED = "filled"
"""The name of the note in the index of a local root that a download has filled."""


def check_target(job: Job, plan: Plan) -> None:
    """Returns if the local path can be that of the objects: a single object needs the path of a file.

    Raises:
        ConflictError: the plan downloads a single object, and ``local`` is a directory. The caller most likely means a
            file in it.
    """
    local = job.registration.local
    # The path of a single object is "", and there is no other.
    is_object = bool(plan.copies) and not plan.copies[0].path
    is_taken = os.path.isdir(local) and not job.in_cache and not job.index.root.get_note(FILLED)
    if is_object and (is_taken or job.registration.local_is_directory):
        name = job.registration.location.key.rpartition("/")[2]
        problem = "is a directory" if is_taken else "is given as a directory"
        raise ConflictError(f"{job.url} is one object, but {local} {problem}; name the file, such as {local}/{name}")


def check_adoption(job: Job, plan: Plan) -> None:
    """Returns if the plan may change the local directory without ``adopt=True``.

    A directory that pos3 has never filled may be a home directory or a typo.

    Raises:
        PlanRefusedError: the local path is such a directory, and the plan deletes or replaces files in it.
    """
    local = job.registration.local
    if job.in_cache:
        return
    if job.index.root.get_note(FILLED) or job.index.is_known:
        return
    if (os.path.isdir(local) and (plan.deletes or plan.overwrites)) or (os.path.isfile(local) and plan.obstacles):
        raise PlanRefusedError(_choices(job, plan))


def _choices(job: Job, plan: Plan) -> str:
    """A message that says what the download would do, and what the caller can choose."""
    local, delete = job.registration.local, f"{job.request.delete_argument}=False"
    if not os.path.isdir(local):
        return (
            f"{local} is a file that pos3 has not put there, and {job.url} is a directory; nothing was changed. "
            "Name another place with local=..., or pass adopt=True to replace the file"
        )
    copies = list(plan.every_copy())
    replaced = sum(action.reason != NEW for action in copies) + len(plan.obstacles)
    deleted = sum(not action.path.endswith("/") for action in plan.deletes)
    would = [
        f"replace {_files(replaced)}" if replaced else "",
        f"delete {_files(deleted)}" if deleted else "",
        "remove empty directories" if len(plan.deletes) > deleted else "",
        f"add {_files(sum(action.reason == NEW for action in copies))}" if copies else "",
    ]
    return (
        f"{local} is not empty, and {_never_filled(job)}; nothing was changed. The download of {job.url} "
        f"would {', '.join(part for part in would if part)}. Choose: local=... downloads to another place; "
        f"exclude=[...] keeps the files that match; with {delete}, nothing is deleted, "
        f"{f'but {_files(replaced)} would still be replaced' if replaced else 'and missing files are added'}; "
        "adopt=True replaces and deletes these files, and makes the directory a mirror of the URL"
    )


def _never_filled(job: Job) -> str:
    if job.index.root.exists and not job.index.root.is_usable:
        return f"what pos3 remembers of it in {job.index.root.path} cannot be used (a warning says why)"
    return "pos3 has never filled it"


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
