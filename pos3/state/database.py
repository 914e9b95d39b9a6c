"""The SQLite file of an index. It is opened for each call, and replaced by an empty one if it is broken."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar
from urllib.parse import quote

from pos3.entries import UNKNOWN_OWNER
from pos3.local import is_trusted, make_private
from pos3.state.locks import has_locks, wait_for_directory

logger = logging.getLogger("pos3")
T = TypeVar("T")

_SCHEMA_VERSION = 2
ROOT_ID = 0
"""The number that notes about the root itself have instead of the number of a place."""
_SCHEMA = (
    "CREATE TABLE places (id INTEGER PRIMARY KEY, url TEXT NOT NULL, endpoint TEXT, used_at REAL NOT NULL)",
    "CREATE UNIQUE INDEX place ON places (url, endpoint)",
    """CREATE TABLE files (
        place INT, path TEXT, size_bytes INT, modified_ns INT, inode INT, etag TEXT, owner TEXT,
        checksum TEXT NOT NULL DEFAULT '', PRIMARY KEY (place, path)
    ) WITHOUT ROWID""",
    "CREATE TABLE notes (place INT, name TEXT, value TEXT, PRIMARY KEY (place, name)) WITHOUT ROWID",
)
# An index of version 1 has one URL without an endpoint. Its rows lose their owner, because that mirror may have used
# another endpoint.
_MIGRATION_1 = (
    "ALTER TABLE files RENAME TO files_1",
    *_SCHEMA,
    """INSERT INTO places SELECT 1, url.value, NULL, coalesce(cast(used_at.value AS REAL), 0)
        FROM root AS url LEFT JOIN root AS used_at ON used_at.name = 'used_at'
        WHERE url.name = 'url' AND url.value != ''""",
    f"""INSERT INTO files (place, path, size_bytes, modified_ns, inode, etag, owner)
        SELECT places.id, path, size_bytes, modified_ns, inode, etag, '{UNKNOWN_OWNER}' FROM files_1, places""",
    f"INSERT INTO notes SELECT {ROOT_ID}, name, value FROM root WHERE name IN ('local', 'filled')",
    "INSERT INTO notes SELECT places.id, name, value FROM root, places WHERE name = 'holds_markers'",
    "DROP TABLE files_1",
    "DROP TABLE root",
)
_BUSY_SECONDS = 60.0
_SUFFIXES = ("", "-wal", "-shm", "-journal")


class Database:
    """The database of one local root. Several threads and processes may use it at the same time.

    The table ``places`` has a row for each URL at an endpoint that the root mirrors, ``files`` has a row for each
    synced file of a place, and ``notes`` has names and values of a place or of the root. A connection is open only
    during a call, so no connection is shared with a forked child.
    """

    def __init__(self, path: str):
        self.path = path
        self._directory, name = os.path.split(path)
        self._names = [name + suffix for suffix in _SUFFIXES]
        # Whether a warning has been logged that it cannot be used.
        self.has_warned = False

    @property
    def exists(self) -> bool:
        return os.path.exists(self.path)

    @property
    def is_trusted(self) -> bool:
        """Whether no other user can have written the file."""
        return is_trusted(self._directory, *self._names)

    def run(self, call: Callable[[sqlite3.Connection], T], default: T) -> T:
        """The result of ``call`` on a connection, or ``default`` if the file cannot be used.

        A broken file is moved away, and ``call`` gets empty tables.
        """
        if not self.is_trusted:
            return default
        try:
            try:
                with closing(self._connect()) as connection:
                    return call(connection)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                with closing(self._connect()) as connection:
                    return call(connection)
        except (sqlite3.OperationalError, OSError) as error:
            if not self.has_warned:
                logger.warning("cannot use the index %s (%s): files will be compared again", self.path, error)
            self.has_warned = True
            return default

    def _connect(self) -> sqlite3.Connection:
        make_private(self._directory)
        connection = self._open() if has_locks(self._directory) else self._open_without_locks()
        try:
            with suppress(sqlite3.OperationalError):
                # This fails on file systems without shared memory between processes. The default journal works there.
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if _version(connection) != _SCHEMA_VERSION:
                _migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY_SECONDS)

    def _open_without_locks(self) -> sqlite3.Connection:
        """A connection that uses a directory beside the index as its lock, for file systems without locks."""
        wait_for_directory(f"{self.path}.lock")
        uri = f"file:{quote(os.fsencode(self.path))}?vfs=unix-dotfile"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)
        # An index in WAL mode, made where locks work, needs shared memory unless the connection is exclusive.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    def _set_aside(self, error: Exception) -> None:
        broken = f"{self.path}.broken-{int(time.time())}"
        logger.warning("the index %s is broken (%s); moved to %s, files are compared again", self.path, error, broken)
        os.replace(self.path, broken)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self.path + suffix)

    def remove(self) -> None:
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                os.unlink(self.path + suffix)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    """Creates the tables or migrates those of an older version, in one transaction. Other processes wait for it."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have done it in the meantime.
        version = _version(connection)
        if version not in (0, 1, _SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"schema version {version}")
        if version == 1 and _tables(connection) != {"files", "root"}:
            raise sqlite3.DatabaseError("tables are missing")
        for statement in {0: _SCHEMA, 1: _MIGRATION_1, _SCHEMA_VERSION: ()}[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
