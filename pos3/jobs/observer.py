"""What others may see of a mirror: its registrations, each with what it moved, and word of what happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from pos3.reports import Report

Kind = Literal["download", "upload", "sync"]


@dataclass(frozen=True)
class Registered:
    """One registration of a mirror, and what has come of it so far.

    Args:
        kind: the function that was called.
        url: where it leads, without the profile.
        local: the local path.
        endpoint: that of its profile; None for AWS, and for whatever the environment names.
        report: what this registration alone has moved; ``unchanged`` is that of its last transfer.
        failure: why the last transfer failed, or "".
        files, size_bytes: of what is known to be equal on both sides.
        etag: that of a single object, or "".
    """

    kind: Kind
    url: str
    local: str
    endpoint: str | None = None
    report: Report = field(default_factory=Report)
    failure: str = ""
    files: int = 0
    size_bytes: int = 0
    etag: str = ""


class Observer(Protocol):
    """Is told what a mirror does. Its methods return soon and raise nothing."""

    def registered(self, kind: Kind, url: str) -> None:
        """A call has succeeded, a repeated one included. Called in the thread of the caller."""
        ...

    def transferred(self, kind: Kind, url: str, report: Report) -> None:
        """A transfer has moved, deleted or failed something. Called in whichever thread it ran in."""
        ...


class Unobserved:
    """Takes no notice."""

    def registered(self, kind: Kind, url: str) -> None:
        pass

    def transferred(self, kind: Kind, url: str, report: Report) -> None:
        pass
