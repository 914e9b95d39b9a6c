"""Decides which registrations of one mirror are in conflict, so that a call fails before anything is changed.

Files that have changed on both sides are another matter: :mod:`pos3.jobs.bisync_job` calls those conflicts, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pos3.errors import ConflictError
from pos3.jobs.registration import Registration, is_same_place
from pos3.local import are_nested
from pos3.profiles import Profile


def check_conflicts(new: Registration, existing: Iterable[Registration]) -> None:
    """Returns if ``new`` can work beside the ``existing`` registrations of its mirror.

    Raises:
        ConflictError: files or objects could be lost, or a path would stand for two objects.
    """
    for other in existing:
        if _share_cache_directory(new.profile, other.profile):
            raise ConflictError(
                f"{new} and {other}: their profiles share a local_name but not an endpoint, so their files would mix; "
                "give one of them another local_name"
            )
        if new.pushes and other.pushes:
            _check_two_pushes(new, other)
        elif not new.pushes and not other.pushes:
            _check_two_downloads(new, other)


def _check_two_pushes(new: Registration, other: Registration) -> None:
    if is_same_place(new, other):
        return
    if new.profile == other.profile and new.location == other.location:
        raise ConflictError(
            f"{new} and {other}: two local paths would be pushed to one place, and each would replace the other; "
            "push them to two places"
        )
    nested = new.profile == other.profile and new.location.overlaps(other.location)
    if nested and (new.request.deletes_remote or other.request.deletes_remote):
        raise ConflictError(
            f"{new} overlaps with {other}, which is registered already, so one would delete objects of the other; pass "
            "delete=False to both (delete_remote=False to sync), or push one of them to another place"
        )
    if new.kind == other.kind == "sync" and are_nested(new.local, other.local) and not nested:
        raise ConflictError(
            f"{new} and {other}: the local paths overlap, so files of one would be pushed to the other, too; give one "
            "of them another local=..."
        )


def _check_two_downloads(new: Registration, other: Registration) -> None:
    if not are_nested(new.local, other.local) or maps_the_same_objects(new, other):
        return
    if new.request.deletes_local or other.request.deletes_local:
        raise ConflictError(
            f"{new} and {other}: the local paths overlap, so each would delete the files of the other; give one of "
            "them another local=..., or pass delete=False to both"
        )


def _share_cache_directory(first: Profile | None, second: Profile | None) -> bool:
    """Whether two profiles with different endpoints use the same directory of the cache."""
    if first is None or second is None:
        return False
    return first.local_name == second.local_name and first.place != second.place


def maps_the_same_objects(new: Registration, other: Registration) -> bool:
    """Whether both registrations map each local path that they have in common to the same object."""
    if new.profile != other.profile or not new.location.overlaps(other.location):
        return False
    if new.request.as_of != other.request.as_of:
        return False
    outer, inner = sorted((new, other), key=lambda registration: len(registration.local))
    below = inner.location.key[len(outer.location.key) :].strip("/")
    return inner.local == os.path.join(outer.local, below).rstrip("/")
