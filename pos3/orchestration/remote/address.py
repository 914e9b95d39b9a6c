"""Where the mirror of a flow run is, as told to processes that got the run's context."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

_RUN = "pos3.mirror.run"
_SOCKET = "pos3.mirror.socket"


@dataclass(frozen=True)
class MirrorAddress:
    """The flow run that has the mirror, and the socket that it is served on; "" if it is not.

    Travels in the labels of the flow run's object, which task runners send along with the run's context. Prefect's API
    never sees those labels.
    """

    flow_run_id: UUID
    socket: str = ""

    def write_to(self, flow_run: FlowRun) -> None:
        flow_run.labels = {**flow_run.labels, _RUN: str(self.flow_run_id), _SOCKET: self.socket}

    @classmethod
    def read_from(cls, flow_run: FlowRun) -> MirrorAddress:
        """What was written; else the run itself, not served."""
        labels: Mapping[str, object] = flow_run.labels
        if _RUN not in labels:
            return cls(flow_run.id)
        return cls(UUID(str(labels[_RUN])), str(labels[_SOCKET]))


def check_private(directory: str) -> None:
    """What lies in ``directory`` was put there by this user.

    Raises:
        OSError: others may write there.
    """
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a directory of this user alone")
