"""What was last synced.

Everything pos3 remembers of a local root lies below the cache root, never in the root itself, and is for this user
alone::

    <cache_root>/
      <local_name or _>/<bucket>/<key>...   cached files, plain, with the permissions of the umask
      .pos3/
        <id>.sqlite                         one a local root: its URL, and a row for each synced file
        <id>.lock                           held while a process downloads into or pushes from the root
        <id>.use                            held for reading by each open mirror that uses the root
        unfinished/<id>...                  a link to the temporary file of a single object's download under way
        .locks                              tells whether the file system has locks; lock files stand in for them

``<id>`` is made from the absolute path of the root. Any of these files may be deleted while no pos3 runs: what is
not remembered is compared again. A broken index is moved away and begun anew, and one that cannot be used, on a disk
that is full, say, is a warning: transfers go on, and their files are compared again by the next one.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pos3.database import Database
from pos3.entry import Record
from pos3.locks import UseMark, locked
from pos3.secret import make_private

STATE_DIRECTORY = ".pos3"
_PAGE_RECORDS = 10_000
_LANDMARKS = 16
_UPSERT = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class RootState:
    """What an index says of its root: where it is, what it mirrors, when it was used (seconds since the epoch)."""

    local: str
    url: str
    used_at: float


class Index:
    """The memory of one local root. Safe to use from several threads and processes at once.

    Its files are named by ``id``, which is made from ``local`` unless it is known already.
    """

    def __init__(self, cache_root: str, local: str, known_id: str = ""):
        self.local = local
        self.directory = os.path.join(cache_root, STATE_DIRECTORY)
        self.id = known_id or hashlib.sha256(os.fsencode(local)).hexdigest()[:24]
        self._base = os.path.join(self.directory, self.id)
        self._database = Database(f"{self._base}.sqlite")

    @property
    def path(self) -> str:
        return self._database.path

    @property
    def exists(self) -> bool:
        """Whether pos3 has ever filled or pushed the root."""
        return self._database.exists

    def records(self, url: str, below: str = "") -> Iterator[Record]:
        """Every record at or below a path, in code-point order; none if the root has mirrored another URL so far.

        Pages are read in turn, so a long iteration blocks no writer.
        """
        if not self.exists or self.state().url != url:
            return
        last = below
        first = True
        while True:
            comparison = ">=" if first else ">"
            rows = self._page(comparison, last)
            if not below:
                yield from map(Record._make, rows)
            for row in rows if below else ():
                if row[0] > f"{below}/\U0010ffff":
                    return
                if f"{row[0]}/".startswith(f"{below}/"):
                    yield Record(*row)
            if len(rows) < _PAGE_RECORDS:
                return
            last, first = rows[-1][0], False

    def _page(self, comparison: str, path: str) -> list[tuple[str, int, int, int, str, str]]:
        query = (
            "SELECT path, size_bytes, modified_ns, inode, etag, owner FROM files "
            f"WHERE path {comparison} ? ORDER BY path LIMIT {_PAGE_RECORDS}"
        )

        def rows(connection: sqlite3.Connection) -> list[tuple[str, int, int, int, str, str]]:
            return connection.execute(query, (path,)).fetchall()

        return self._database.run(rows, [])

    def landmarks(self, url: str) -> Callable[[str, int], str]:
        """Finds the path so many records behind another one, or "" if there are fewer. It may be outdated."""
        query = "SELECT path FROM files WHERE path > ? ORDER BY path LIMIT 1 OFFSET ?"
        is_url: bool | None = None
        ahead: dict[tuple[str, int], str] = {}

        def landmark(after: str, steps: int) -> str:
            nonlocal is_url
            if is_url is None:
                is_url = self.exists and self.state().url == url
            if not is_url:
                return ""
            if (after, steps) not in ahead:
                ahead.clear()
                nothing: list[tuple[tuple[str, int], str]] = []
                ahead.update(self._database.run(lambda connection: list(chain(connection, after, steps)), nothing))
            return ahead.pop((after, steps), "")

        def chain(connection: sqlite3.Connection, path: str, steps: int) -> Iterator[tuple[tuple[str, int], str]]:
            # Those that will be asked for next, in one go.
            for _ in range(_LANDMARKS):
                row = connection.execute(query, (path, steps - 1)).fetchone()
                if row is None:
                    return
                yield (path, steps), str(row[0])
                path = row[0]

        return landmark

    def summary(self, url: str) -> tuple[int, int, str]:
        """Files and bytes on record, and the ETag if the root is a single object. Fails never."""
        query = "SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(iif(path = '', etag, '')), '') FROM files"

        def row(connection: sqlite3.Connection) -> tuple[int, int, str]:
            files, size_bytes, etag = connection.execute(query).fetchone()
            return files, size_bytes, etag

        try:
            return self._database.run(row, (0, 0, "")) if self.exists and self.state().url == url else (0, 0, "")
        except (OSError, sqlite3.Error):
            return (0, 0, "")

    def has_records(self, url: str) -> bool:
        return next(self.records(url), None) is not None

    def write(self, records: Iterable[Record], forgotten: Iterable[str] = ()) -> None:
        """Stores records and drops others, all or nothing."""
        rows = [
            (record.path, record.size_bytes, record.modified_ns, record.inode, record.etag, record.owner)
            for record in records
        ]
        gone = [(path,) for path in forgotten]

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany(_UPSERT, rows)
                connection.executemany("DELETE FROM files WHERE path = ?", gone)

        if rows or gone:
            self._database.run(store, None)

    def mark_used(self, url: str) -> None:
        """Notes that the root mirrors ``url`` and is in use now. A root that mirrored another URL starts afresh."""

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                before = dict(connection.execute("SELECT name, value FROM root").fetchall()).get("url", url)
                if before != url:
                    connection.execute("DELETE FROM files")
                    connection.execute("DELETE FROM root")
                # A path that is not valid UTF-8 is no text for SQLite.
                local = os.fsencode(self.local) if _has_surrogates(self.local) else self.local
                values = {"local": local, "url": url, "used_at": repr(time.time())}
                connection.executemany("INSERT OR REPLACE INTO root VALUES (?, ?)", values.items())

        self._database.run(store, None)

    def note(self, name: str, value: str) -> None:
        """Remembers a fact about the root's store."""
        row = (name, value)

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("INSERT OR REPLACE INTO root VALUES (?, ?)", row)

        self._database.run(store, None)

    def noted(self, name: str) -> str:
        """What was noted under ``name``, or ""."""
        if not self.exists:
            return ""
        query = "SELECT value FROM root WHERE name = ?"
        row = self._database.run(lambda connection: connection.execute(query, (name,)).fetchone(), None)
        return str(row[0]) if row else ""

    def state(self) -> RootState:
        query = "SELECT name, value FROM root"
        rows: dict[str, Any] = dict(self._database.run(lambda connection: connection.execute(query).fetchall(), []))
        return RootState(os.fsdecode(rows.get("local", "")), rows.get("url", ""), float(rows.get("used_at", 0)))

    def forget(self) -> None:
        """Removes the memory of the root. Its lock files stay, since others may be waiting on them."""
        self._database.remove()

    @contextmanager
    def locked(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Held by one thread of one process at a time.

        While another holds it, ``on_wait`` is called now and then; what it raises ends the waiting.
        """
        make_private(self.directory)
        with locked(self._base, on_wait):
            yield

    def use(self) -> UseMark:
        """Marks the root as in use until the mark is released or its process ends."""
        make_private(self.directory)
        return UseMark(f"{self._base}.use")


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def indexes(cache_root: str) -> Iterator[Index]:
    """Every index below the cache root, in no particular order."""
    directory = os.path.join(cache_root, STATE_DIRECTORY)
    if not os.path.isdir(directory):
        return
    for name in sorted(os.listdir(directory)):
        if name.endswith(".sqlite"):
            index = Index(cache_root, "", name.removesuffix(".sqlite"))
            index.local = index.state().local
            yield index
