"""How others watch a mirror: its registrations, each with its report, and an observer that is called on events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from pos3.reports import Report

Kind = Literal["download", "upload", "sync"]


@dataclass(frozen=True)
class Registered:
    """One registration of a mirror, and what it has done so far.

    Args:
        kind: the verb that was called.
        url: the URL without the profile.
        local: the local path.
        endpoint: the endpoint of the profile; None for AWS, and for an endpoint that the environment names.
        report: what this registration alone has moved. Its ``unchanged`` is that of the last transfer.
        failure: why the last transfer failed, or "".
        files, size_bytes: the number and size of the files that are known to be equal on both sides.
        etag: the ETag of a single object, or "".
        last_push_at: when everything was last pushed, in seconds since the epoch; None if this mirror has not done so.
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
    last_push_at: float | None = None


class Observer(Protocol):
    """An object that a mirror calls on events. Its methods must return soon and raise nothing."""

    def registered(self, kind: Kind, url: str) -> None:
        """A verb was called with success, perhaps not for the first time. This runs in the thread of the caller."""
        ...

    def transferred(self, kind: Kind, url: str, report: Report) -> None:
        """A transfer has moved or deleted something, or has failed. This runs in the thread of the transfer."""
        ...


class Unobserved:
    """The observer of a mirror that nobody watches."""

    def registered(self, kind: Kind, url: str) -> None:
        pass

    def transferred(self, kind: Kind, url: str, report: Report) -> None:
        pass
