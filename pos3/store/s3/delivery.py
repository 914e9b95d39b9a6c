"""The arguments and the results of a download: plain values."""

from __future__ import annotations

import os
from typing import NamedTuple

from pos3.entries import Entry
from pos3.store.base import CancelToken, Moved, RangeNotes, Rate, TellChecksum
from pos3.store.s3.checksums import Told
from pos3.store.s3.requests import Response


class Wanted(NamedTuple):
    """The arguments of one download: see :meth:`pos3.store.base.Store.download`."""

    key: str
    expected: Entry
    target: str
    moved: Moved
    cancelled: CancelToken
    notes: RangeNotes
    tell_checksum: TellChecksum
    rate: Rate

    def discard(self) -> None:
        """Discards the bytes that have arrived."""
        if self.notes.keeps_failed:
            self.notes.forget()
        else:
            os.unlink(self.target)


class Delivered(NamedTuple):
    """The version of an object that has arrived.

    ``digests`` are possible ETags of the content, as far as they were computed during the download. With ``is_weak``,
    a different ETag means nothing. ``told`` is the checksum of the store, and ``content`` that of the downloaded bytes.
    If ``told`` is one of parts, ``content`` is empty.
    """

    entry: Entry
    digests: tuple[str, ...] = ()
    is_weak: bool = False
    told: Told | None = None
    content: bytes = b""

    @property
    def has_told_checksum(self) -> bool:
        """Whether the content has the checksum of the store."""
        return self.told is not None and self.told.is_of(self.content)


def entry_of(response: Response, expected: Entry, size_bytes: int) -> Entry:
    """The version that has arrived. If the answer does not say it, it is the expected one."""
    etag = response.etag
    if etag == expected.etag and size_bytes == expected.size_bytes and expected.modified_ns:
        return expected
    return Entry("", size_bytes, response.modified_ns, etag)


class NoRangesError(Exception):
    """The answer to a request for a range was no range."""
