"""The indexes and locks of local roots, in the state directory of a cache.

The state of a local root lies below the cache root, never in the root itself, and only this user can read it::

    <cache_root>/
      <local_name or _>/<bucket>/<key>...   cached files, plain, with the permissions of the umask
      .pos3/
        <id>.sqlite                         the index of a local root: its places, and a row for each synced file
        <id>.lock                           held while a process downloads into or pushes from the root
        <id>-<range>.lock                   held while a process downloads a part of the root
        <id>.use                            held for reading by each open mirror that uses the root; has the time of the
                                            last push
        unfinished/<id>...                  a link to the temporary file of a running download of a single object, or
                                            to the part file of a huge one
        .locks                              shows whether the file system has locks; if not, lock files are used

``<id>`` is made from the absolute path of the root. All these files may be deleted while no pos3 is running; files
without records are compared again. A broken index is moved away, and a new one is created. If the index cannot be used,
for example because the disk is full, a warning is logged. Transfers continue, and the next one compares their files
again.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pos3.entries import EVERY_PATH, PathRange
from pos3.local import lies_in_cache, make_private, state_directory_of
from pos3.state.database import ROOT_ID, Database
from pos3.state.locks import NoUseLock, UseLock, last_push_at, locked, locked_part

logger = logging.getLogger("pos3")

_UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT})
_warned: set[str] = set()


@dataclass(frozen=True)
class Place:
    """A URL at an endpoint, which a local root mirrors.

    ``endpoint`` is a value of :func:`pos3.store.endpoint_of`. It is None if an older version of pos3 did not store it.
    """

    endpoint: str | None
    url: str


@dataclass(frozen=True)
class KnownPlace:
    """A place in the index. ``used_at`` is in seconds since the epoch."""

    place: Place
    used_at: float


class RootIndex:
    """The index of one local root with all its places. Several threads and processes may use it at the same time.

    Its files are named by ``id``, which is made from ``local`` unless ``known_id`` is given.
    """

    def __init__(self, cache_root: str, local: str, known_id: str = ""):
        self.local = local
        self.directory = state_directory_of(cache_root)
        self.id = known_id or _short_id(local)
        self._base = os.path.join(self.directory, self.id)
        self.database = Database(f"{self._base}.sqlite")

    @property
    def path(self) -> str:
        return self.database.path

    @property
    def exists(self) -> bool:
        """Whether the index exists: pos3 has downloaded into the root, or pushed from it."""
        return self.database.exists

    @property
    def is_usable(self) -> bool:
        """Whether no other user can have written the index."""
        return self.database.is_trusted

    def places(self) -> list[KnownPlace]:
        """The places that the root mirrors or has mirrored, the most recently used first."""
        if not self.exists:
            return []
        query = "SELECT endpoint, url, used_at FROM places ORDER BY used_at DESC"
        rows: list[tuple[str | None, str, float]] = self.database.run(
            lambda connection: connection.execute(query).fetchall(), []
        )
        return [KnownPlace(Place(endpoint, url), used_at) for endpoint, url, used_at in rows]

    def set_note(self, name: str, value: str) -> None:
        """Stores a value about the root under ``name``."""
        row = (ROOT_ID, name, value)

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", row)

        self.database.run(store, None)

    def get_note(self, name: str) -> str:
        """The value that :meth:`set_note` stored under ``name``, or ""."""
        if not self.exists:
            return ""
        query = "SELECT value FROM notes WHERE place = ? AND name = ?"
        row = self.database.run(lambda connection: connection.execute(query, (ROOT_ID, name)).fetchone(), None)
        return os.fsdecode(row[0]) if row else ""

    def delete(self) -> None:
        """Deletes the index. The lock files stay, because other processes may be waiting for them."""
        self.database.remove()

    @contextmanager
    def locked(self, on_wait: Callable[[], None] = lambda: None, within: PathRange = EVERY_PATH) -> Iterator[None]:
        """Holds the lock of the root, which one thread of one process has at a time; or that of a range of its paths.

        The locks of different ranges can be held at once, but none of them beside that of the root.
        While another thread or process holds it, ``on_wait`` is called twice a second. An exception of it ends the
        waiting.
        """
        with ExitStack() as held:
            with self._tolerating_unwritable_state():
                make_private(self.directory)
                if within.is_everything:
                    held.enter_context(locked(self._base, on_wait))
                else:
                    held.enter_context(locked_part(self._base, _short_id(repr(within)), on_wait))
            yield

    def use_lock(self) -> UseLock | NoUseLock:
        """A lock that shows that the root is in use, until the lock is released or the process dies."""
        use_locks: list[UseLock | NoUseLock] = []
        with self._tolerating_unwritable_state():
            make_private(self.directory)
            use_locks.append(UseLock(f"{self._base}.use"))
        return use_locks[0] if use_locks else NoUseLock()

    @property
    def last_push_at(self) -> float | None:
        """When a mirror last pushed everything from the root, in seconds since the epoch; None for never."""
        return last_push_at(f"{self._base}.use")

    @contextmanager
    def _tolerating_unwritable_state(self) -> Iterator[None]:
        """Ends the block, without an error, if the state directory cannot be written and the root is outside the cache.

        Raises:
            OSError: the state directory cannot be written and the root is in the cache. The message has advice.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            place = error.filename or self.directory
            if not self.local or lies_in_cache(self.local, os.path.dirname(self.directory)):
                advice = "give this user write permission, or name another cache with cache_root=..."
                raise OSError(error.errno, f"{error.strerror} ({advice})", place) from error
            self.database.has_warned = True
            if self.directory not in _warned:
                _warned.add(self.directory)
                logger.warning(
                    "%s: %s. Transfers with a place outside the cache go on, but nothing is remembered: files are "
                    "compared again next time, and other processes are not waited for",
                    place,
                    error.strerror,
                )


def _short_id(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]


def root_indexes(cache_root: str) -> Iterator[RootIndex]:
    """The index of every root in the state directory of the cache, in no particular order."""
    directory = state_directory_of(cache_root)
    if not os.path.isdir(directory):
        return
    for name in sorted(os.listdir(directory)):
        if name.endswith(".sqlite"):
            root = RootIndex(cache_root, "", name.removesuffix(".sqlite"))
            root.local = root.get_note("local")
            yield root
