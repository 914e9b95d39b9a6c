"""What a download is asked for, and what it delivers: plain values."""

from __future__ import annotations

import os
from typing import NamedTuple

from pos3.entries import Entry
from pos3.store.base import CancelToken, Moved, RangeNotes, Rate, TellChecksum
from pos3.store.s3.checksums import Told
from pos3.store.s3.requests import Response


class Wanted(NamedTuple):
    """One download: the arguments of :meth:`pos3.store.base.Store.download`."""

    key: str
    expected: Entry
    target: str
    moved: Moved
    cancelled: CancelToken
    notes: RangeNotes
    tell_checksum: TellChecksum
    rate: Rate

    def discard(self) -> None:
        """What has arrived is of no use."""
        if self.notes.keeps_failed:
            self.notes.forget()
        else:
            os.unlink(self.target)


class Delivered(NamedTuple):
    """The version of an object that arrived.

    ``digests`` are those ETags that what arrived could have, as far as they were computed on the way. With ``is_weak``,
    another ETag than these means nothing. ``told`` is the checksum that the store has told of the object, and
    ``content`` that of what arrived; of a checksum of parts, nothing was computed on the way.
    """

    entry: Entry
    digests: tuple[str, ...] = ()
    is_weak: bool = False
    told: Told | None = None
    content: bytes = b""

    @property
    def has_told_checksum(self) -> bool:
        """Whether a checksum proves that the object has arrived as the store has it."""
        return self.told is not None and self.told.is_of(self.content)


def entry_of(response: Response, expected: Entry, size_bytes: int) -> Entry:
    """The version that has arrived: the expected one, if the answer tells no other."""
    etag = response.etag
    if etag == expected.etag and size_bytes == expected.size_bytes and expected.modified_ns:
        return expected
    return Entry("", size_bytes, response.modified_ns, etag)


class NoRangesError(Exception):
    """The server answered a ranged request with something else than a range."""
