"""Whether a download may fill a place that pos3 has never filled: it may be a home directory or a typo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pos3.errors import ConflictError, PlanRefusedError
from pos3.plan import NEW, Plan

if TYPE_CHECKING:
    from pos3.jobs.job import Job

FILLED = "filled"
"""What is noted of a local root once a download has filled it."""


def check_target(job: Job, plan: Plan) -> None:
    """One object goes to a file; whoever names a directory most likely means a file in it.

    Raises:
        ConflictError: it is so.
    """
    local = job.registration.local
    is_object = any(not action.path for action in plan.copies)
    is_taken = os.path.isdir(local) and not job.in_cache and not job.index.root.get_note(FILLED)
    if is_object and (is_taken or job.registration.local_is_directory):
        name = job.registration.location.key.rpartition("/")[2]
        told = "is a directory" if is_taken else "is given as a directory"
        raise ConflictError(f"{job.url} is one object, but {local} {told}; name the file, such as {local}/{name}")


def check_adoption(job: Job, plan: Plan) -> None:
    """A directory that pos3 has never filled may be a home directory or a typo.

    Raises:
        PlanRefusedError: it is such a directory, and the plan deletes or replaces something in it.
    """
    local = job.registration.local
    if job.in_cache:
        return
    if job.index.root.get_note(FILLED) or job.index.is_known:
        return
    if (os.path.isdir(local) and (plan.deletes or plan.overwrites)) or (os.path.isfile(local) and plan.obstacles):
        raise PlanRefusedError(_choices(job, plan))


def _choices(job: Job, plan: Plan) -> str:
    """What a download into a strange place would do, and what the caller can choose."""
    local, delete = job.registration.local, f"{job.request.delete_argument}=False"
    if not os.path.isdir(local):
        return (
            f"{local} is a file that pos3 has not put there, and {job.url} is a directory; nothing was changed. "
            "Name another place with local=..., or pass adopt=True to have the file replaced"
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
    still = f"but what has the same name is replaced all the same ({_files(replaced)})"
    return (
        f"{local} is not empty, and {_never_filled(job)}; nothing was changed. The download of {job.url} "
        f"would {', '.join(part for part in would if part)}. Choose: local=... is another place; exclude=[...] "
        f"leaves alone what it matches; with {delete} nothing is deleted, "
        f"{still if replaced else 'and what is missing is added'}; adopt=True replaces and deletes as said, and "
        "makes the directory a mirror of the URL"
    )


def _never_filled(job: Job) -> str:
    if job.index.root.exists and not job.index.root.is_usable:
        return f"what pos3 remembers of it in {job.index.root.path} cannot be used (a warning says why)"
    return "pos3 has never filled it"


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
