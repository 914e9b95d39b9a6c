"""Checks one place in a store: list, read and write access, latency and throughput.

It writes objects below the URL, with names of temporary files of pos3. So transfers leave them alone. At the end, they
are removed.
"""

from __future__ import annotations

import filecmp
import os
import statistics
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from pos3.doctor.findings import Finding, bad, failed, good
from pos3.doctor.profile import clock_findings, route_findings
from pos3.entries import Entry
from pos3.errors import AccessDeniedError, IntegrityError, Pos3Error
from pos3.local import temporary_name
from pos3.reports import format_bytes
from pos3.store import Store, carried_out, twice_if_unsorted
from pos3.url import Location

_SMALL_REQUESTS = 10
_SMALL_BYTES = 1024
_LARGE_BYTES = 16 * 1024 * 1024
# Among so many objects, one is looked for that can be read.
_LOOKED_AT = 1000

T = TypeVar("T")


def check_place(store: Store, location: Location, *, writes: bool) -> Iterator[Finding]:
    """Findings about a place. If it cannot be reached at all, no further check is made.

    Args:
        writes: whether objects are written there, and removed at the end. Otherwise, an existing object is read.
    """
    try:
        yield from route_findings(store.route())
    except Pos3Error as error:
        yield failed("endpoint", error)
        return
    above = location.key
    try:
        began = time.time()
        survey = store.survey(location.key)
    except AccessDeniedError as error:
        yield failed("list", error, "s3:ListBucket")
    except Pos3Error as error:
        yield failed("list", error)
        return
    else:
        took_seconds = time.time() - began
        there = "an object" if survey.is_object else "objects below it" if survey.is_prefix else "nothing there yet"
        yield good("list", f"allowed, {there}, {took_seconds * 1000:.0f} ms")
        if location.scheme == "s3":
            yield from clock_findings(survey.server_time, began + took_seconds / 2)
        if survey.is_object:
            above = location.key.rpartition("/")[0]
    if not writes or not (yield from _trial_findings(store, location, above)):
        yield _reading(store, location)


def _trial_findings(store: Store, location: Location, above: str) -> Generator[Finding, None, bool]:
    """What comes of writing and reading objects below the key ``above``; returns whether they could be written."""
    with _Trial(store, location, above) as trial:
        writing = _measured("write", "s3:PutObject", trial.put)
        yield writing
        if writing.is_good:
            yield _measured("read", "s3:GetObject", trial.get)
    if trial.removal is not None:
        yield trial.removal
    return writing.is_good


def _measured(name: str, permission: str, move: Callable[[str, int], float]) -> Finding:
    """Moves ten small objects and a large one, one after the other; ``move`` tells the seconds of each."""
    try:
        small = [move(str(number), _SMALL_BYTES) for number in range(_SMALL_REQUESTS)]
        large_seconds = move("large", _LARGE_BYTES)
    except (Pos3Error, OSError) as error:
        return failed(name, error, permission)
    median_ms, slowest_ms = statistics.median(small) * 1000, max(small) * 1000
    rate = format_bytes(int(_LARGE_BYTES / large_seconds))
    times = f"{median_ms:.0f} ms each, the slowest {slowest_ms:.0f} ms"
    small_told = f"{_SMALL_REQUESTS} of {format_bytes(_SMALL_BYTES)} in {times}"
    return good(name, f"allowed, {small_told}; one of {format_bytes(_LARGE_BYTES)} at {rate}/s")


def _reading(store: Store, location: Location) -> Finding:
    """Whether an object that is there can be read, if there is one."""

    def found() -> list[Entry]:
        entries = store.entries(location.key, is_prefix=location.is_prefix)
        return list(islice((entry for entry in entries if not entry.is_directory), _LOOKED_AT))

    try:
        entries = [entry for entry in twice_if_unsorted(found) if entry.size_bytes <= _LARGE_BYTES]
        if not entries:
            return good("read", f"not tried, no object of at most {format_bytes(_LARGE_BYTES)} was found")
        largest = max(entries, key=lambda entry: entry.size_bytes)
        with TemporaryDirectory() as directory:
            key, path = location.object_key(largest.path), os.path.join(directory, "read")
            _, took_seconds = _timed(store, lambda: store.download(key, largest, path))
    except (Pos3Error, OSError) as error:
        return failed("read", error, "s3:GetObject")
    url, size = location.child(largest.path), format_bytes(largest.size_bytes)
    return good("read", f"allowed, {url}: {size} in {took_seconds * 1000:.0f} ms")


def _timed(store: Store, main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    async def timed() -> tuple[T, float]:
        began = time.monotonic()
        result = await main()
        return result, time.monotonic() - began

    return carried_out(store, timed)


class _Trial:
    """Objects that are written and read for a moment. At the end of the block they are removed, whatever happens."""

    def __init__(self, store: Store, location: Location, above: str):
        self._store = store
        self._prefix = "/".join(part for part in (above, temporary_name()) if part)
        self._url = f"{location.scheme}://{location.bucket}/{self._prefix}"
        self._written: dict[str, Entry] = {}
        self.removal: Finding | None = None
        """What became of the objects; None if none was written."""

    def __enter__(self) -> Self:
        self._directory = TemporaryDirectory()
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()
        self._store.abort_unfinished(stopped=True)
        keys = [self._key(name) for name in self._written]
        if not keys:
            return
        try:
            failures = [error for _, error in self._store.delete(keys)]
        except Pos3Error as error:
            failures = [error]
        if failures:
            left = failed("removal", failures[0], "s3:DeleteObject")
            self.removal = bad("removal", left.told, f"{left.advice}, and remove what is below {self._url}/")
        else:
            self.removal = good("removal", "what was written is gone again")

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _path(self, name: str) -> str:
        return os.path.join(self._directory.name, name)

    def put(self, name: str, size_bytes: int) -> float:
        """Writes an object, and returns how many seconds that took."""
        path = self._path(name)
        with open(path, "wb") as file:
            file.write(os.urandom(size_bytes))
        # If its answer is lost, it may be there all the same.
        self._written[name] = Entry("", size_bytes)
        etag, took_seconds = _timed(self._store, lambda: self._store.upload(self._key(name), path, size_bytes))
        self._written[name] = Entry("", size_bytes, etag=etag)
        return took_seconds

    def get(self, name: str, _size_bytes: int) -> float:
        """Reads an object that was written, and returns how many seconds that took.

        Raises:
            IntegrityError: it has another content.
        """
        path, entry = self._path(name), self._written[name]
        target = f"{path}.read"
        _, took_seconds = _timed(self._store, lambda: self._store.download(self._key(name), entry, target))
        if not filecmp.cmp(path, target, shallow=False):
            raise IntegrityError(f"{self._url}/{name}: it has another content than was written")
        return took_seconds
