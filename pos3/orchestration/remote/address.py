"""The address of a flow run's mirror, for processes that get the context of the run."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

_RUN = "pos3.mirror.run"
_SOCKET = "pos3.mirror.socket"
_MACHINE = "pos3.mirror.machine"


@dataclass(frozen=True)
class MirrorAddress:
    """The flow run that has the mirror, the path of its broker's socket, "" if there is none, and its machine.

    It is stored in the labels of the flow run object, which task runners send with the run's context. These labels are
    never sent to Prefect's API.
    """

    flow_run_id: UUID
    socket: str = ""
    machine: str = ""

    def write_to(self, flow_run: FlowRun) -> None:
        flow_run.labels = {**flow_run.labels, _RUN: str(self.flow_run_id), _SOCKET: self.socket, _MACHINE: self.machine}

    @classmethod
    def read_from(cls, flow_run: FlowRun) -> MirrorAddress:
        """The address that was written to the flow run; if there is none, the run itself without a socket."""
        labels: Mapping[str, object] = flow_run.labels
        if _RUN not in labels:
            return cls(flow_run.id)
        return cls(UUID(str(labels[_RUN])), str(labels[_SOCKET]), str(labels.get(_MACHINE, "")))


def check_private(directory: str) -> None:
    """Returns if no other user can have created files in the directory.

    Raises:
        OSError: other users may write there.
    """
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{directory} is not a directory of this user alone; remove it, or set TMPDIR to another directory"
        )
