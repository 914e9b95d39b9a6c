"""The bodies of objects, on their way here: small ones in one piece, large ones in ranges of one version."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pos3.entries import Entry
from pos3.errors import IntegrityError, ObjectChangedError
from pos3.etags import joined_etag, part_size_candidates
from pos3.local import create_file, write_all, write_blocks_at
from pos3.store.base import Counted, OnBytes
from pos3.store.beside import Aside
from pos3.store.s3.loop import Together
from pos3.store.s3.requests import Request, Requests, Response, TooLongError, can_be_sent
from pos3.store.steps import Steps

MIB = 1024 * 1024
# Objects from here on come in ranges. Shorter ones gain nothing from it.
LARGE_BYTES = 16 * MIB
# Held in memory until they are whole: a call for each piece costs more than the piece.
_RANGE_BYTES = 8 * MIB
# Longer bodies are hashed and written beside the loop.
_ASIDE_BYTES = 256 * 1024
# A call that counts costs more than one that takes a piece.
_COUNTED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Delivered:
    """The version of an object that arrived.

    ``digests`` are those ETags that what arrived could have, as far as they were computed on the way. With ``is_weak``,
    another ETag than these means nothing.
    """

    entry: Entry
    digests: tuple[str, ...] = ()
    is_weak: bool = False


class Downloads:
    """Reads the objects of one bucket. ``proves`` says that bodies are to be proven even if they are large."""

    def __init__(self, requests: Requests, proves: bool):
        self._requests = requests
        self._proves = proves
        self._ranges_work = True

    def give_up_ranges(self) -> bool:
        """From now on, objects come in one piece each: a single answer is one version, whatever its ETag is.

        Returns:
            whether they came in ranges until now.
        """
        did_work, self._ranges_work = self._ranges_work, False
        return did_work

    def download(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        """See :meth:`pos3.store.base.Store.download`; the digests are the caller's to compare."""
        if expected.size_bytes >= LARGE_BYTES and expected.etag and can_be_sent(expected.etag) and self._ranges_work:
            try:
                return (yield from self._in_ranges(key, expected, target, on_bytes))
            except _NoRangesError:
                self._ranges_work = False
        try:
            if expected.size_bytes <= LARGE_BYTES:
                return (yield from self._in_memory(key, expected, target, on_bytes))
            return (yield from self._in_pieces(key, expected, target, on_bytes))
        except TooLongError as error:
            where = self._requests.where(Request("GET", key))
            told = f"the object is longer than the {expected.size_bytes} bytes that it was listed with"
            raise ObjectChangedError(f"{where}: {told}", url=where) from error

    def _in_memory(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        with _Arriving(on_bytes) as arriving:
            response: Response = yield Request(
                "GET",
                key,
                sink=arriving.take,
                limit_bytes=expected.size_bytes,
                held_bytes=expected.size_bytes,
            )
            descriptor = create_file(target)
            try:
                keep = functools.partial(_keep, descriptor, arriving.blocks, 0, proves=True)
                is_long = expected.size_bytes >= _ASIDE_BYTES
                size_bytes, digest = (yield Aside(keep, expected.size_bytes)) if is_long else keep()
                arriving.count()
            except BaseException:
                os.unlink(target)
                raise
            finally:
                os.close(descriptor)
        return self._delivered(response, self._entry(response, expected, size_bytes), digest.hex())

    def _in_pieces(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        digest = hashlib.md5(usedforsecurity=False)
        received = 0
        descriptor = create_file(target)

        def take(block: bytes) -> None:
            nonlocal received
            write_all(descriptor, block)
            digest.update(block)
            on_bytes(len(block))
            received += len(block)

        try:
            response: Response = yield Request("GET", key, sink=take, limit_bytes=expected.size_bytes)
        except BaseException:
            on_bytes(-received)
            os.unlink(target)
            raise
        finally:
            os.close(descriptor)
        return self._delivered(response, self._entry(response, expected, received), digest.hexdigest())

    def _in_ranges(self, key: str, expected: Entry, target: str, on_bytes: OnBytes) -> Steps[Delivered]:
        """
        Raises:
            _NoRangesError: the server does not do ranges.
            ObjectChangedError: the object is no longer the expected one.
        """
        size = expected.size_bytes
        # Ranges that are the parts of the upload give the ETag without a second look at the file.
        known = [wanted for wanted in part_size_candidates(expected.etag, size) if wanted <= _RANGE_BYTES]
        step = known[0] if known else _RANGE_BYTES
        descriptor = create_file(target)
        counted = Counted(on_bytes)
        try:
            begins = [
                functools.partial(self._range, key, expected, descriptor, start, min(start + step, size), counted)
                for start in range(0, size, step)
            ]
            parts: list[tuple[Response, bytes]] = yield Together(begins)
        except BaseException as error:
            counted.take_back()
            os.unlink(target)
            if isinstance(error, _ReplacedError):
                raise ObjectChangedError(str(error)) from error
            raise
        finally:
            os.close(descriptor)
        digests = (joined_etag(digest for _, digest in parts),) if self._proves and known else ()
        return Delivered(self._entry(parts[0][0], expected, size), digests)

    def _range(
        self, key: str, expected: Entry, descriptor: int, start: int, end: int, on_bytes: OnBytes
    ) -> Steps[tuple[Response, bytes]]:
        wanted = end - start
        headers = (f"Range: bytes={start}-{end - 1}", f'If-Match: "{expected.etag}"')
        with _Arriving(on_bytes) as arriving:
            request = Request(
                "GET",
                key,
                headers=headers,
                sink=arriving.take,
                limit_bytes=wanted,
                held_bytes=wanted,
            )
            try:
                response: Response = yield request
            except TooLongError as error:
                # A server that does not do ranges sends everything.
                raise _NoRangesError from error
            except ObjectChangedError as error:
                raise _ReplacedError(str(error)) from error
            content_range = response.header("content-range")
            # Ranges with one weak ETag need not be of one version.
            if response.is_weak or not content_range.startswith(f"bytes {start}-{end - 1}/"):
                raise _NoRangesError
            where = self._requests.where(request)
            # Not every server honours If-Match, so the version is compared here as well.
            if response.etag != expected.etag or not content_range.endswith(f"/{expected.size_bytes}"):
                raise _ReplacedError(f"{where}: the object was replaced while it was being read")
            if arriving.size_bytes != wanted:
                raise IntegrityError(f"{where}: {arriving.size_bytes} of {wanted} bytes of a range arrived", url=where)
            keep = functools.partial(_keep, descriptor, arriving.blocks, start, proves=self._proves)
            _, digest = yield Aside(keep, wanted)
            arriving.count()
        return response, digest

    def _delivered(self, response: Response, entry: Entry, digest: str) -> Delivered:
        return Delivered(entry, (digest,), entry.etag != digest and response.is_weak)

    def _entry(self, response: Response, expected: Entry, size_bytes: int) -> Entry:
        etag = response.etag
        if etag == expected.etag and size_bytes == expected.size_bytes and expected.modified_ns:
            return expected
        return Entry("", size_bytes, response.modified_ns, etag)


class _Arriving(AbstractContextManager["_Arriving"]):
    """A body that is held while it comes in, and counted as it does; an error takes back what was counted."""

    def __init__(self, on_bytes: OnBytes):
        self._on_bytes = on_bytes
        self._counted_bytes = 0
        self.blocks: list[bytes] = []
        self.size_bytes = 0

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        # The handle that was used keeps its request.
        self.blocks = []
        if kind is not None and self._counted_bytes:
            self._on_bytes(-self._counted_bytes)

    def take(self, block: bytes) -> None:
        self.blocks.append(block)
        self.size_bytes += len(block)
        if self.size_bytes - self._counted_bytes >= _COUNTED_BYTES:
            self.count()

    def count(self) -> None:
        """Counts what has come in since the last time."""
        self._on_bytes(self.size_bytes - self._counted_bytes)
        self._counted_bytes = self.size_bytes


def _keep(descriptor: int, blocks: Sequence[bytes], start: int, *, proves: bool) -> tuple[int, bytes]:
    """Writes a body, or a range of one, at its place. Returns how many bytes that are, and their MD5 if it proves."""
    digest = hashlib.md5(usedforsecurity=False)
    if proves:
        for block in blocks:
            digest.update(block)
    return write_blocks_at(descriptor, blocks, start), digest.digest()


class _ReplacedError(Exception):
    """There is another object by now: no range of the expected one can be had, however often it is asked for."""


class _NoRangesError(Exception):
    """The server answered a ranged request with something else than a range."""
