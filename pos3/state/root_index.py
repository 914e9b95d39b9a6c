"""What is remembered of the local roots of a cache.

Everything pos3 remembers of a local root lies below the cache root, never in the root itself, and is for this user
alone::

    <cache_root>/
      <local_name or _>/<bucket>/<key>...   cached files, plain, with the permissions of the umask
      .pos3/
        <id>.sqlite                         one a local root: the places that it mirrors, a row for each synced file
        <id>.lock                           held while a process downloads into or pushes from the root
        <id>.use                            held for reading by each open mirror that uses the root
        unfinished/<id>...                  a link to the temporary file of a single object's download under way
        .locks                              tells whether the file system has locks; lock files stand in for them

``<id>`` is made from the absolute path of the root. Any of these files may be deleted while no pos3 runs: what is
not remembered is compared again. A broken index is moved away and begun anew, and one that cannot be used, on a disk
that is full, say, is a warning: transfers go on, and their files are compared again by the next one.
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

from pos3.local import lies_in_cache, make_private, state_directory_of
from pos3.state.database import THE_ROOT, Database
from pos3.state.locks import NoMark, UseMark, locked

logger = logging.getLogger("pos3")

_UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT})
_told: set[str] = set()


@dataclass(frozen=True)
class Place:
    """What a local root mirrors: a URL at an endpoint.

    ``endpoint`` is what :func:`pos3.store.endpoint_of` gives. It is None where it is not known, since an older version
    of pos3 did not write it down.
    """

    endpoint: str | None
    url: str


@dataclass(frozen=True)
class KnownPlace:
    """A place of which the index has rows. ``used_at`` is in seconds since the epoch."""

    place: Place
    used_at: float


class RootIndex:
    """The memory of one local root, whatever places it mirrors. Safe to use from several threads and processes at once.

    Its files are named by ``id``, which is made from ``local`` unless it is known already.
    """

    def __init__(self, cache_root: str, local: str, known_id: str = ""):
        self.local = local
        self.directory = state_directory_of(cache_root)
        self.id = known_id or hashlib.sha256(os.fsencode(local)).hexdigest()[:24]
        self._base = os.path.join(self.directory, self.id)
        self.database = Database(f"{self._base}.sqlite")

    @property
    def path(self) -> str:
        return self.database.path

    @property
    def exists(self) -> bool:
        """Whether pos3 has ever filled or pushed the root."""
        return self.database.exists

    @property
    def is_usable(self) -> bool:
        """Whether what is remembered is this user's alone."""
        return self.database.is_trusted

    def places(self) -> list[KnownPlace]:
        """The places that the root mirrors or mirrored, most recently used first."""
        if not self.exists:
            return []
        query = "SELECT endpoint, url, used_at FROM places ORDER BY used_at DESC"
        rows: list[tuple[str | None, str, float]] = self.database.run(
            lambda connection: connection.execute(query).fetchall(), []
        )
        return [KnownPlace(Place(endpoint, url), used_at) for endpoint, url, used_at in rows]

    def note(self, name: str, value: str) -> None:
        """Remembers a fact about the root."""
        row = (THE_ROOT, name, value)

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", row)

        self.database.run(store, None)

    def noted(self, name: str) -> str:
        """What was noted under ``name``, or ""."""
        if not self.exists:
            return ""
        query = "SELECT value FROM notes WHERE place = ? AND name = ?"
        row = self.database.run(lambda connection: connection.execute(query, (THE_ROOT, name)).fetchone(), None)
        return os.fsdecode(row[0]) if row else ""

    def forget(self) -> None:
        """Removes the memory of the root. Its lock files stay, since others may be waiting on them."""
        self.database.remove()

    @contextmanager
    def locked(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Held by one thread of one process at a time.

        While another holds it, ``on_wait`` is called now and then; what it raises ends the waiting.
        """
        with ExitStack() as held:
            with self._unless_unwritable():
                make_private(self.directory)
                held.enter_context(locked(self._base, on_wait))
            yield

    def use(self) -> UseMark | NoMark:
        """Marks the root as in use until the mark is released or its process ends."""
        marks: list[UseMark | NoMark] = []
        with self._unless_unwritable():
            make_private(self.directory)
            marks.append(UseMark(f"{self._base}.use"))
        return marks[0] if marks else NoMark()

    @contextmanager
    def _unless_unwritable(self) -> Iterator[None]:
        """Ends what is inside where nothing can be remembered. A root in the cache cannot be worked on then.

        Raises:
            OSError: the root is in the cache; it says what can be done.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            place = error.filename or self.directory
            if not self.local or lies_in_cache(self.local, os.path.dirname(self.directory)):
                advice = "allow to write there, or name another cache with cache_root=..."
                raise OSError(error.errno, f"{error.strerror} ({advice})", place) from error
            self.database.is_told = True
            if self.directory not in _told:
                _told.add(self.directory)
                logger.warning(
                    "%s: %s. Transfers with a place outside the cache go on, but nothing is remembered: files are "
                    "compared again next time, and other processes are not waited for",
                    place,
                    error.strerror,
                )


def root_indexes(cache_root: str) -> Iterator[RootIndex]:
    """Every root that is remembered below the cache root, in no particular order."""
    directory = state_directory_of(cache_root)
    if not os.path.isdir(directory):
        return
    for name in sorted(os.listdir(directory)):
        if name.endswith(".sqlite"):
            root = RootIndex(cache_root, "", name.removesuffix(".sqlite"))
            root.local = root.noted("local")
            yield root
