"""The records of the files that were synced between a local root and one of the places that it mirrors."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pos3.entries import EVERY_PATH, PathRange, Record
from pos3.local import is_within_relative
from pos3.state.database import ROOT_ID
from pos3.state.root_index import Place, RootIndex

_PAGE_RECORDS = 10_000
_LANDMARKS = 16
# If a directory is uploaded to a new URL each day, the records of old URLs are deleted.
_MAX_PLACES = 16
_COLUMNS = "path, size_bytes, modified_ns, inode, etag, owner, checksum"
# Rows of an older index have no endpoint. They count for the first endpoint that is used with their URL.
_PLACE = "SELECT id FROM places WHERE url = ? AND (endpoint IS ? OR endpoint IS NULL) ORDER BY endpoint IS NULL LIMIT 1"
_Row = tuple[str, int, int, int, str, str, str]


def page_query(comparison: Literal[">", ">="]) -> str:
    """The query for the next records after a path, or from it on. Its parameters are URL, endpoint and path."""
    return (
        f"SELECT {_COLUMNS} FROM files "
        f"WHERE place = ({_PLACE}) AND path {comparison} ? ORDER BY path LIMIT {_PAGE_RECORDS}"
    )


def is_text(path: str) -> bool:
    """Whether SQLite can store the path as text."""
    return not any("\ud800" <= character <= "\udfff" for character in path)


class Index:
    """The records of one local root for one place. Several threads and processes may use it at the same time.

    The records for other places are in the same database of ``root``, but separate.
    """

    def __init__(self, root: RootIndex, place: Place):
        self.root = root
        self.place = place
        self._database = root.database
        self._key = (place.url, place.endpoint)

    @property
    def is_known(self) -> bool:
        """Whether the root has ever mirrored the place."""
        if not self.root.exists:
            return False
        return self._database.run(lambda connection: connection.execute(_PLACE, self._key).fetchone(), None) is not None

    def records(self, below: str = "", within: PathRange = EVERY_PATH) -> Iterator[Record]:
        """Every record at or below a path and in a range, in code-point order.

        The records are read in pages, so a long iteration blocks no writer.
        """
        if not self.root.exists:
            return
        last = max(below, within.after)
        first = True
        while True:
            rows = self._page(">=" if first else ">", last)
            if not below:
                yield from within.cut(map(Record._make, rows))
            for row in rows if below else ():
                if row[0] > f"{below}/\U0010ffff":
                    return
                if is_within_relative(row[0], below) and row[0] in within:
                    yield Record(*row)
            if len(rows) < _PAGE_RECORDS or (within.until and rows[-1][0] > within.until):
                return
            last, first = rows[-1][0], False

    def records_of(self, paths: Iterable[str]) -> list[Record]:
        """The records of these paths, in their order. A path without a record is left out."""
        if not self.root.exists:
            return []
        query = f"SELECT {_COLUMNS} FROM files WHERE place = ({_PLACE}) AND path = ?"

        def rows(connection: sqlite3.Connection) -> list[_Row]:
            return [row for path in paths if is_text(path) for row in connection.execute(query, (*self._key, path))]

        nothing: list[_Row] = []
        return [Record(*row) for row in self._database.run(rows, nothing)]

    def _page(self, comparison: Literal[">", ">="], path: str) -> list[_Row]:
        def rows(connection: sqlite3.Connection) -> list[_Row]:
            return connection.execute(page_query(comparison), (*self._key, path)).fetchall()

        return self._database.run(rows, [])

    def landmarks(self) -> Callable[[str, int], str]:
        """A function of a path and a number of records, for splitting a listing into ranges.

        It returns the recorded path that comes this number of records after the given path, or "" if there are fewer.
        The result may be outdated.
        """
        query = f"SELECT path FROM files WHERE place = ({_PLACE}) AND path > ? ORDER BY path LIMIT 1 OFFSET ?"
        is_known: bool | None = None
        ahead: dict[tuple[str, int], str] = {}

        def landmark(after: str, steps: int) -> str:
            nonlocal is_known
            if is_known is None:
                is_known = self.is_known
            if not is_known:
                return ""
            if (after, steps) not in ahead:
                ahead.clear()
                nothing: list[tuple[tuple[str, int], str]] = []
                ahead.update(self._database.run(lambda connection: list(chain(connection, after, steps)), nothing))
            return ahead.pop((after, steps), "")

        def chain(connection: sqlite3.Connection, path: str, steps: int) -> Iterator[tuple[tuple[str, int], str]]:
            # The landmarks that will be requested next are read in one call.
            for _ in range(_LANDMARKS):
                row = connection.execute(query, (*self._key, path, steps - 1)).fetchone()
                if row is None:
                    return
                yield (path, steps), str(row[0])
                path = row[0]

        return landmark

    def summary(self) -> tuple[int, int, str]:
        """The number of files, their bytes, and the ETag if the root is a single object. It never raises."""
        query = (
            "SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(iif(path = '', etag, '')), '') FROM files "
            f"WHERE place = ({_PLACE})"
        )

        def row(connection: sqlite3.Connection) -> tuple[int, int, str]:
            files, size_bytes, etag = connection.execute(query, self._key).fetchone()
            return files, size_bytes, etag

        try:
            return self._database.run(row, (0, 0, "")) if self.root.exists else (0, 0, "")
        except (OSError, sqlite3.Error):
            return (0, 0, "")

    def has_records(self) -> bool:
        return next(self.records(), None) is not None

    def write(self, records: Iterable[Record], forgotten: Iterable[str] = ()) -> None:
        """Stores records and deletes those of the ``forgotten`` paths, in one transaction."""
        rows = list(records)
        gone = list(forgotten)
        upsert = f"INSERT OR REPLACE INTO files (place, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                place = self._place_id(connection)
                connection.executemany(upsert, ((place, *row) for row in rows))
                connection.executemany("DELETE FROM files WHERE place = ? AND path = ?", ((place, p) for p in gone))

        if rows or gone:
            self._database.run(store, None)

    def take_over(self, part: Index, below: str) -> None:
        """Stores the records of the index of a path ``below`` this root, which mirrors the same part of the place."""
        prefix = f"{below}/"
        self.write(record._replace(path=f"{prefix}{record.path}".rstrip("/")) for record in part.records())

    def mark_used(self) -> None:
        """Stores that the root mirrors the place, and the time of this use."""

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                place = self._place_id(connection)
                connection.execute("UPDATE places SET used_at = ? WHERE id = ?", (time.time(), place))
                # SQLite cannot store a path that is not valid UTF-8 as text.
                local = self.root.local
                note = (ROOT_ID, "local", local if is_text(local) else os.fsencode(local))
                connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", note)

        self._database.run(store, None)

    def _place_id(self, connection: sqlite3.Connection) -> int:
        """The number of the place, which is inserted if needed, in the transaction of the caller."""
        row = connection.execute(_PLACE, self._key).fetchone()
        if row is not None:
            known = "UPDATE places SET endpoint = ? WHERE id = ? AND endpoint IS NULL"
            connection.execute(known, (self.place.endpoint, row[0]))
            return int(row[0])
        values = (*self._key, time.time())
        # The query above does not keep others from inserting the place at the same moment.
        connection.execute("INSERT OR IGNORE INTO places (url, endpoint, used_at) VALUES (?, ?, ?)", values)
        (new,) = connection.execute(_PLACE, self._key).fetchone()
        too_many = f"SELECT id FROM places ORDER BY used_at DESC LIMIT -1 OFFSET {_MAX_PLACES}"
        for old in connection.execute(too_many).fetchall():
            connection.execute("DELETE FROM files WHERE place = ?", old)
            connection.execute("DELETE FROM notes WHERE place = ?", old)
            connection.execute("DELETE FROM places WHERE id = ?", old)
        return int(new)

    def set_note(self, name: str, value: str) -> None:
        """Stores a value about the place under ``name``."""

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                row = (self._place_id(connection), name, value)
                connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", row)

        self._database.run(store, None)

    def update_note(self, name: str, update: Callable[[str], str]) -> None:
        """Replaces the value under ``name``, or "", by what ``update`` makes of it. Other writers wait meanwhile."""
        query = "SELECT value FROM notes WHERE place = ? AND name = ?"

        def store(connection: sqlite3.Connection) -> None:
            with connection:
                # This begins the transaction as a writer's.
                place = self._place_id(connection)
                row = connection.execute(query, (place, name)).fetchone()
                value = update(str(row[0]) if row else "")
                connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (place, name, value))

        self._database.run(store, None)

    def forget_notes(self) -> None:
        """Removes all values about the place."""

        def remove(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute(f"DELETE FROM notes WHERE place = ({_PLACE})", self._key)

        self._database.run(remove, None)

    def get_note(self, name: str) -> str:
        """The value that :meth:`set_note` stored under ``name``, or ""."""
        if not self.root.exists:
            return ""
        query = f"SELECT value FROM notes WHERE place = ({_PLACE}) AND name = ?"
        row = self._database.run(lambda connection: connection.execute(query, (*self._key, name)).fetchone(), None)
        return str(row[0]) if row else ""
