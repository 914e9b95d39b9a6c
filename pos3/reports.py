"""Reports of transfers: plain counts that can be added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Kept:
    """A file or object that was left as it is, with the reason: for example a FIFO, or an object of another writer."""

    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """How many files and bytes one or several transfers have moved. Reports can be added with ``+``.

    ``duration_seconds`` is the time of the transfers, including the listings of both sides. In a sum, the durations are
    added, too. ``kept`` lists the files and objects that were left as they are on purpose. ``failures`` has one text
    for each failed file.
    """

    downloaded_files: int = 0
    downloaded_bytes: int = 0
    uploaded_files: int = 0
    uploaded_bytes: int = 0
    deleted_local: int = 0
    deleted_remote: int = 0
    unchanged: int = 0
    duration_seconds: float = 0.0
    kept: tuple[Kept, ...] = field(default=())
    failures: tuple[str, ...] = field(default=())

    def __add__(self, other: Report) -> Report:
        return Report(
            self.downloaded_files + other.downloaded_files,
            self.downloaded_bytes + other.downloaded_bytes,
            self.uploaded_files + other.uploaded_files,
            self.uploaded_bytes + other.uploaded_bytes,
            self.deleted_local + other.deleted_local,
            self.deleted_remote + other.deleted_remote,
            self.unchanged + other.unchanged,
            self.duration_seconds + other.duration_seconds,
            _joined(self.kept, other.kept),
            (self.failures + other.failures)[-_MAX_KEPT:],
        )

    def __sub__(self, earlier: Report) -> Report:
        """The difference from ``earlier``, a previous state of this sum."""
        return Report(
            self.downloaded_files - earlier.downloaded_files,
            self.downloaded_bytes - earlier.downloaded_bytes,
            self.uploaded_files - earlier.uploaded_files,
            self.uploaded_bytes - earlier.uploaded_bytes,
            self.deleted_local - earlier.deleted_local,
            self.deleted_remote - earlier.deleted_remote,
            self.unchanged - earlier.unchanged,
            self.duration_seconds - earlier.duration_seconds,
            tuple(kept for kept in self.kept if kept not in earlier.kept),
            tuple(failure for failure in self.failures if failure not in earlier.failures),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing was moved, deleted or failed."""
        moved = self.downloaded_files + self.uploaded_files + self.deleted_local + self.deleted_remote
        return not moved and not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The report as values that JSON can hold."""
        return asdict(self)

    @property
    def figures(self) -> str:
        """The counts above zero as text, such as "3 uploaded (12 B), 1 deleted remotely". It is "" if all are zero."""
        return ", ".join(
            f"{count} {what}{f' ({format_bytes(size)})' if size else ''}"
            for count, size, what in (
                (self.downloaded_files, self.downloaded_bytes, "downloaded"),
                (self.uploaded_files, self.uploaded_bytes, "uploaded"),
                (self.deleted_local, 0, "deleted here"),
                (self.deleted_remote, 0, "deleted remotely"),
                (self.unchanged, 0, "unchanged"),
                (len(self.kept), 0, "kept"),
                (len(self.failures), 0, "failed"),
            )
            if count
        )

    def __str__(self) -> str:
        return f"{self.figures or 'nothing to do'} in {self.duration_seconds:.1f} s"


# This bounds the memory of a mirror that runs for weeks.
_MAX_KEPT = 1000


def _joined(first: Iterable[Kept], second: Iterable[Kept]) -> tuple[Kept, ...]:
    return tuple({kept.path: kept for kept in (*first, *second)}.values())[-_MAX_KEPT:]


def format_bytes(size_bytes: float) -> str:
    """Returns the size as text for people, in binary units: ``1536`` gives "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def parse_bytes(text: str | int) -> int:
    """The number of bytes that ``text`` means: "10GB", "1.5 GiB", "500M" or a plain number.

    Raises:
        ValueError: if it is not a size.
    """
    if isinstance(text, int):
        return text
    number = text.strip().upper().removesuffix("B")
    factor = 1
    for index, letter in enumerate("KMGT", start=1):
        if number.endswith(f"{letter}I"):
            number, factor = number[:-2], 1024**index
        elif number.endswith(letter):
            number, factor = number[:-1], 1000**index
    try:
        return int(float(number) * factor)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a size such as '10GB' or '512MiB'") from None
