"""The manifest of a complete set, which its marker holds: the number of files and bytes, and a digest of the names."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from pos3.entries import Entry
from pos3.errors import InvalidArgumentError
from pos3.plan import segment_problem

MAX_BYTES = 4096
_FORMAT = 1


def check_marker(marker: object) -> str:
    """Returns ``marker`` if it can be the name of an object below a prefix.

    Raises:
        InvalidArgumentError: it cannot.
    """
    if not isinstance(marker, str) or not marker or marker.strip("/") != marker or segment_problem(marker):
        raise InvalidArgumentError(f"marker {marker!r}: expected the name of an object below the URL, as '_SUCCESS'")
    return marker


@dataclass
class ManifestBuilder:
    """Makes a manifest of a listing, entry by entry. ETags are left out, because a copy of the set may have others."""

    files: int = 0
    size_bytes: int = 0
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)

    def add(self, entry: Entry) -> None:
        if entry.is_directory:
            return
        self.files += 1
        self.size_bytes += entry.size_bytes
        self._digest.update(repr((entry.path, entry.size_bytes)).encode("utf-8", "surrogatepass"))

    def build(self) -> Manifest:
        return Manifest(self.files, self.size_bytes, self._digest.hexdigest())


@dataclass(frozen=True)
class Manifest:
    """Describes the files of one complete set. ``sha256`` is a digest of their paths and sizes."""

    files: int
    size_bytes: int
    sha256: str

    def as_bytes(self) -> bytes:
        """The content of a marker. It differs each time, so that each publication gives the marker another ETag."""
        return f"{json.dumps({'pos3_set': _FORMAT, 'id': uuid.uuid4().hex, **asdict(self)})}\n".encode()

    @staticmethod
    def parse(content: bytes) -> Manifest | None:
        """The manifest in a marker, or None if another program wrote the marker, such as Spark, whose one is empty."""
        try:
            values = json.loads(content)
            if values["pos3_set"] != _FORMAT:
                return None
            manifest = Manifest(values["files"], values["size_bytes"], values["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        is_valid = type(manifest.files) is type(manifest.size_bytes) is int and isinstance(manifest.sha256, str)
        return manifest if is_valid and max(manifest.files, manifest.size_bytes) < 1 << 63 else None
