"""One S3 request as a server sees it: what it asks for, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

_SUBRESOURCES = (
    "delete",
    "uploads",
    "partNumber",
    "uploadId",
    "location",
    "versioning",
    "acl",
    "tagging",
    "policy",
    "lifecycle",
    "cors",
)


@dataclass
class Request:
    """A recorded request. `status` is None until an answer was sent, and stays so when none was."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    status: int | None = None
    sent: int = 0
    """Bytes of body that the client sent."""
    received: int = 0
    """Bytes of body that the client was given."""
    faults: tuple[str, ...] = ()
    """Names of the faults that struck it."""
    forwarded: bool = False
    """Whether the server got to see it."""

    @classmethod
    def parse(cls, method: str, target: str, headers: dict[str, str]) -> Request:
        path, _, query = target.partition("?")
        return cls(method, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers)

    @property
    def bucket(self) -> str:
        return self.path[1:].partition("/")[0]

    @property
    def key(self) -> str:
        return self.path[1:].partition("/")[2]

    @property
    def kind(self) -> str:
        """LIST, HEAD, GET, PUT, COPY, DELETE for plain requests; `POST ?delete`, `PUT ?partNumber`, ...;
        `HEAD bucket`, `PUT bucket`, `GET buckets` for what concerns no key."""
        for name in _SUBRESOURCES:
            if name in self.query:
                return f"{self.method} ?{name}"
        if not self.bucket:
            return f"{self.method} buckets"
        if not self.key:
            return "LIST" if self.method == "GET" else f"{self.method} bucket"
        if self.method == "PUT" and "x-amz-copy-source" in self.headers:
            return "COPY"
        return self.method
