"""What flow runs have left below an output root: ``<output root>/<flow>/<flow run id>/``, listed and removed."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pos3.entries import Entry
from pos3.errors import TransferError
from pos3.store import Store, twice_if_unsorted
from pos3.url import Location


@dataclass(frozen=True)
class RunOutput:
    """All objects of one flow run. ``changed_at`` is the time at which the newest was written, since the epoch."""

    url: str
    flow: str
    run_id: str
    files: int
    size_bytes: int
    changed_at: float


def list_runs(store: Store, root: Location) -> list[RunOutput]:
    """The runs below an output root, the longest unchanged first. Objects that belong to no run are left out.

    It lists all objects below the root.
    """
    found = twice_if_unsorted(lambda: list(_runs(store, root)))
    return sorted(found, key=lambda run: run.changed_at)


def _runs(store: Store, root: Location) -> Iterator[RunOutput]:
    entries = store.entries(root.key, is_prefix=True)
    for (flow, run_id), objects in itertools.groupby(entries, key=_run_of):
        if run_id:
            yield _output(root, flow, run_id, objects)


def _run_of(entry: Entry) -> tuple[str, str]:
    """The flow and the flow run of an object; empty if it belongs to none."""
    parts = entry.path.split("/", 2)
    return (parts[0], parts[1]) if len(parts) == 3 and parts[0] and _is_run_id(parts[1]) else ("", "")


def _is_run_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _output(root: Location, flow: str, run_id: str, objects: Iterator[Entry]) -> RunOutput:
    files, size_bytes, changed_at = 0, 0, 0.0
    for each in objects:
        files += not each.path.endswith("/")
        size_bytes += each.size_bytes
        changed_at = max(changed_at, each.modified_ns / 1e9)
    return RunOutput(f"{root.child(f'{flow}/{run_id}')}/", flow, run_id, files, size_bytes, changed_at)


def remove_run(store: Store, root: Location, run: RunOutput) -> bool:
    """Removes all objects of a run. If one of them is newer than the listing said, nothing is removed.

    Returns:
        whether it was removed.

    Raises:
        TransferError: some objects could not be deleted. A further call deletes the rest.
    """
    prefix = root.object_key(f"{run.flow}/{run.run_id}")
    entries = twice_if_unsorted(lambda: list(store.entries(prefix, is_prefix=True)))
    if any(entry.modified_ns / 1e9 > run.changed_at for entry in entries):
        return False
    failed = store.delete([f"{prefix}/{entry.path}" for entry in entries])
    if failed:
        raise TransferError("Delete", [failure for _, failure in failed])
    return True
