"""What the marker of a complete set says of it: how many files, how many bytes, and which names and sizes."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from pos3.entries import Entry
from pos3.errors import InvalidArgumentError
from pos3.plan import segment_problem

LONGEST_BYTES = 4096
_FORMAT = 1


def check_marker(marker: object) -> str:
    """
    Raises:
        InvalidArgumentError: it cannot be the name of an object below a prefix.
    """
    if not isinstance(marker, str) or not marker or marker.strip("/") != marker or segment_problem(marker):
        raise InvalidArgumentError(f"marker {marker!r}: expected the name of an object below the URL, as '_SUCCESS'")
    return marker


@dataclass
class Tally:
    """Counts the files of a listing as they go by. ETags do not count, since a copy of the set may have others."""

    files: int = 0
    size_bytes: int = 0
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)

    def add(self, entry: Entry) -> None:
        if entry.is_directory:
            return
        self.files += 1
        self.size_bytes += entry.size_bytes
        self._digest.update(repr((entry.path, entry.size_bytes)).encode("utf-8", "surrogatepass"))

    def manifest(self) -> Manifest:
        return Manifest(self.files, self.size_bytes, self._digest.hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The files of one complete set."""

    files: int
    size_bytes: int
    sha256: str

    def as_bytes(self) -> bytes:
        """The content of a marker; never the same twice, so that each publication gives the marker another ETag."""
        return f"{json.dumps({'pos3_set': _FORMAT, 'id': uuid.uuid4().hex, **asdict(self)})}\n".encode()

    @staticmethod
    def parse(content: bytes) -> Manifest | None:
        """The manifest in a marker; None for a marker of another writer, such as the empty one of Spark."""
        try:
            said = json.loads(content)
            if said["pos3_set"] != _FORMAT:
                return None
            found = Manifest(said["files"], said["size_bytes"], said["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        is_one = type(found.files) is type(found.size_bytes) is int and isinstance(found.sha256, str)
        return found if is_one and max(found.files, found.size_bytes) < 1 << 63 else None
