"""Writes the body of a download to a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from pos3.errors import TransferCancelledError
from pos3.local import write_blocks_at
from pos3.store.base import UNLIMITED, CancelToken, Moved, Rate
from pos3.store.s3.checksums import Algorithm, Running, Told, told_of_whole
from pos3.store.s3.requests import Response, Sink

# Data is written in pieces of this size, because each write releases the GIL.
_WRITE_BYTES = 128 * 1024
# What has arrived is noted at most so often, because each note has a cost.
_NOTE_BYTES, _NOTE_SECONDS = 1024 * 1024, 1.0
# Shorter pauses are added up, because each pause has a cost.
_SHORTEST_PAUSE_SECONDS = 0.01


NoteArrival = Callable[[int, bytes], object]
"""Gets the offset in the file up to which a body has arrived, and its checksum so far."""


def _note_nothing(_until: int, _digest: bytes) -> None:
    """Notes nothing."""


def check(cancelled: CancelToken) -> None:
    """
    Raises:
        TransferCancelledError: the download is to end.
    """
    if cancelled.is_set():
        raise TransferCancelledError("the download was stopped")


class ArrivingBody:
    """Writes a body, or a range of one, to its place in a file.

    After an error, its bytes are subtracted from the progress.

    Args:
        algorithm: the checksum to compute, unless the answer has one of the whole object; None for no checksum.
        note: is called now and then while a long body arrives.
    """

    def __init__(
        self,
        descriptor: int,
        offset: int,
        moved: Moved,
        cancelled: CancelToken,
        algorithm: Algorithm | None,
        note: NoteArrival = _note_nothing,
    ):
        self._descriptor = descriptor
        self._offset = offset
        self._moved = moved
        self._cancelled = cancelled
        self._algorithm = algorithm
        self._running: Running | None = None
        self.told: Told | None = None
        """The checksum of the whole object, if the answer tells it."""
        self._blocks: list[bytes] = []
        self._held_bytes = 0
        self._note = note
        self._note_from = offset + _NOTE_BYTES
        self._note_at = time.monotonic() + _NOTE_SECONDS
        self.size_bytes = 0
        """How many bytes have been written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None and self.size_bytes:
            self._moved(-self.size_bytes)

    def begin(self, response: Response) -> None:
        # A checksum of the whole object cannot verify a range.
        if response.header("content-range") == "":
            self.told = told_of_whole(response)
        algorithm = self.told.algorithm if self.told is not None else self._algorithm
        self._running = algorithm.begin() if algorithm is not None else None

    def take(self, block: bytes) -> None:
        self._blocks.append(block)
        self._held_bytes += len(block)
        if self._held_bytes >= _WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        check(self._cancelled)
        # It is counted first, so an error subtracts it again.
        size_bytes, self._held_bytes = self._held_bytes, 0
        self._moved(size_bytes)
        self.size_bytes += size_bytes
        if self._running is not None:
            for block in self._blocks:
                self._running.update(block)
        write_blocks_at(self._descriptor, self._blocks, self._offset)
        self._blocks.clear()
        self._offset += size_bytes
        if self._offset >= self._note_from and self._running is not None and time.monotonic() >= self._note_at:
            self._note(self._offset, self._running.digest())
            self._note_from = self._offset + _NOTE_BYTES
            self._note_at = time.monotonic() + _NOTE_SECONDS

    def flushed(self) -> bytes:
        """The checksum of the body, once all of it has been written; b"" for none."""
        check(self._cancelled)
        if self._blocks:
            self._write()
        if self._running is None and self._algorithm is not None:
            # An empty body has no first piece.
            self._running = self._algorithm.begin()
        return self._running.digest() if self._running is not None else b""


class _PacedSink:
    """Passes a body on to another sink, as fast as a rate allows."""

    def __init__(self, sink: Sink, rate: Rate):
        self._sink = sink
        self._rate = rate
        self._allowed_bytes = 0

    def begin(self, response: Response) -> object:
        return self._sink.begin(response)

    def take(self, block: bytes) -> float | None:
        missing_bytes = len(block) - self._allowed_bytes
        if missing_bytes > 0:
            self._allowed_bytes += missing_bytes
            pause_seconds = self._rate.wait_seconds(missing_bytes)
            if pause_seconds >= _SHORTEST_PAUSE_SECONDS:
                return pause_seconds
        self._allowed_bytes -= len(block)
        return self._sink.take(block)


def paced(sink: Sink, rate: Rate) -> Sink:
    """A sink that accepts data only as fast as the rate allows. Without a limit, it is the given sink."""
    return sink if rate is UNLIMITED else _PacedSink(sink, rate)
