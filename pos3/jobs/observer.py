"""How other code watches a mirror: its registrations with their reports, and an observer that is called on events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from pos3.reports import Report

Kind = Literal["download", "upload", "sync"]


@dataclass(frozen=True)
class Registered:
    """One registration of a mirror, and what it has done so far.

    Args:
        kind: "download", "upload" or "sync".
        url: the URL without the profile.
        local: the local path.
        endpoint: the endpoint of the profile. None means AWS, or an endpoint that the environment names.
        report: the report of this registration alone. Its ``unchanged`` counts the last transfer only.
        failure: the reason why the last transfer failed, or "".
        files, size_bytes: the number and total size of the files that are known to be equal on both sides.
        etag: the ETag of a single object, or "".
        last_push_at: the time of the last push of everything, in seconds since the epoch. None means that this mirror
            has not pushed everything yet.
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
    """An object that a mirror calls on events. Its methods must return soon and must not raise."""

    def registered(self, kind: Kind, url: str) -> None:
        """A call such as ``download`` has succeeded. This runs in the thread of the call.

        A further call for the same URL is reported again.
        """
        ...

    def transferred(self, kind: Kind, url: str, report: Report) -> None:
        """A transfer has moved or deleted something, or has failed. It runs in the thread of the transfer."""
        ...


class Unobserved:
    """The observer of a mirror that nobody watches."""

    def registered(self, kind: Kind, url: str) -> None:
        pass

    def transferred(self, kind: Kind, url: str, report: Report) -> None:
        pass
