"""Which side of a file is the newer one, by what was last synced.

A file that differs is one of three: changed here only (it will be pushed), changed there only (it will be fetched), or
both, or it was never synced, so that nobody knows: a conflict.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pos3.entries import Entry, Record
from pos3.errors import BucketNotFoundError, PlanRefusedError, RemoteNotFoundError
from pos3.jobs import Registration
from pos3.mirrors.parts import Patterns
from pos3.mirrors.verbs import Mirror
from pos3.plan import NEW, Action, Compare, Plan, delete_refusal
from pos3.profiles import Profile
from pos3.redaction import escaped

_GONE_HERE = "deleted here"
_GONE_THERE = "deleted in the store"


@dataclass(frozen=True)
class BothWays:
    """The plan of a sync. ``fetch`` holds what the store has newer, ``push`` what the local side has newer.

    ``removed_here`` are paths of files that were synced, are gone locally, and are unchanged in the store.
    """

    wanted: Registration
    fetch: Plan
    push: Plan
    removed_here: tuple[str, ...] = ()

    def refuse(self) -> None:
        """
        Raises:
            PlanRefusedError: there are conflicts, of which it lists some, or more deletes than ``max_delete`` allows.
        """
        refusal = self.fetch.refusal or self.push.refusal
        if refusal:
            raise PlanRefusedError(refusal)

    def left_deleted(self) -> list[str]:
        """Patterns for exactly ``removed_here``, a whole directory as one of them where nothing in it is fetched."""
        fetched = {parent for action in self.fetch.copies for parent in _parents(action.path)}
        patterns = set()
        for path in self.removed_here:
            gone = [
                parent
                for parent in _parents(path)
                if parent not in fetched and not os.path.lexists(os.path.join(self.wanted.local, parent))
            ]
            patterns.add(_literal(gone[-1] if gone else path))
        return sorted(patterns)


def plan_both_ways(
    mirror: Mirror,
    url: str,
    local: str | None,
    exclude: Patterns,
    profile: str | Profile | None,
    *,
    include: Patterns,
    compare: Compare,
    delete_local: bool,
    delete_remote: bool,
    max_delete: int | str | None,
) -> BothWays:
    """What a sync would do now, each plan with the reason why it would be refused. Nothing is changed.

    Raises:
        as for :func:`pos3.plan_download`, but a URL with nothing below it is normal.
    """
    wanted, up = mirror.plan_upload(
        url, local, exclude, profile, include=include, compare=compare, delete=delete_remote
    )
    try:
        _, down = mirror.plan_download(
            url, local, exclude, profile, include=include, compare=compare, delete=delete_local, adopt=True
        )
    except BucketNotFoundError:
        raise
    except RemoteNotFoundError:
        # The first sync of a prefix.
        down = Plan("download")
    records = {record.path: record for record in mirror.index_of(wanted).records()}
    fetched: list[Action] = []
    conflicts: list[Action] = []
    removed_here: list[str] = []
    for action in down.copies:
        record = records.get(action.path)
        path = os.path.join(wanted.local, action.path) if action.path else wanted.local
        unchanged_there = record is not None and record.etag == action.source.etag
        if not os.path.lexists(path):
            if unchanged_there and delete_remote:
                removed_here.append(action.path)
            else:
                fetched.append(_because(action, _GONE_HERE, record, "changed in the store", unchanged_there))
        elif not unchanged_there:
            (fetched if _is_as_synced(path, record) else conflicts).append(action)
    deleted = [replace(action, reason=_GONE_THERE) for action in down.deletes if _was_synced(action, records)]
    settled = {action.path for action in (*fetched, *conflicts, *deleted)}
    told = [_told_conflicts(wanted, [action.path for action in conflicts])]
    fetch = replace(down, copies=tuple(fetched), deletes=tuple(deleted))
    push = _pushed(up, settled, set(removed_here), records)
    return BothWays(
        wanted,
        replace(fetch, refusal="\n".join(text for text in (*told, delete_refusal(fetch, max_delete)) if text)),
        replace(push, refusal=delete_refusal(push, max_delete)),
        tuple(removed_here),
    )


def _told_conflicts(wanted: Registration, conflicts: list[str]) -> str:
    if not conflicts:
        return ""
    shown = "\n".join(escaped(path or wanted.local) for path in conflicts[:10])
    more = f"\nand {len(conflicts) - 10} more" if len(conflicts) > 10 else ""
    return (
        f"{wanted}: {len(conflicts)} file(s) differ and were changed on both sides, or never synced; "
        f"nothing was changed:\n{shown}{more}\n"
        "Take the store's side with 'pos3 download', or the local one with 'pos3 upload', then sync again."
    )


def _pushed(up: Plan, settled: set[str], removed_here: set[str], records: dict[str, Record]) -> Plan:
    def because(action: Action) -> Action:
        if action.reason != NEW:
            return action
        as_synced = _was_synced(action, records)
        return _because(action, _GONE_THERE, records.get(action.path), "changed here", as_synced)

    # What the store has lost goes with the download, or is pushed again.
    copies = sorted((*up.copies, *(replace(action, reason=NEW) for action in up.lost)), key=lambda action: action.path)
    return replace(
        up,
        copies=tuple(because(action) for action in copies if action.path not in settled),
        deletes=tuple(replace(action, reason=_GONE_HERE) for action in up.deletes if action.path in removed_here),
        lost=(),
    )


def _because(action: Action, gone: str, record: Record | None, changed: str, as_synced: bool) -> Action:
    """A copy of what only one side has, with its true reason: without a record, it is new."""
    if record is None:
        return action
    return replace(action, reason=gone if as_synced else f"{gone}, {changed}")


def _is_as_synced(path: str, record: Record | None) -> bool:
    if record is None:
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    return record.matches_local(Entry.of_file(record.path, status))


def _was_synced(action: Action, records: dict[str, Record]) -> bool:
    record = records.get(action.path)
    return record is not None and record.matches_local(action.source)


def _parents(path: str) -> list[str]:
    """Every directory above a path, the nearest first."""
    found = []
    while "/" in path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found


def _literal(path: str) -> str:
    """A glob for this path below the root, and what lies in it; never taken for an absolute path of this machine."""
    first, rest = path[0], path[1:]
    return f"/{first if first in '!^]' else f'[{first}]'}" + "".join(
        f"[{character}]" if character in "*?[" else character for character in rest
    )
