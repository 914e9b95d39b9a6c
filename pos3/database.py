"""The SQLite file of an index: opened for each call, begun anew when broken, done without when it cannot be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar
from urllib.parse import quote

from pos3.locks import has_locks, wait_for_directory
from pos3.secret import make_private

logger = logging.getLogger("pos3")
T = TypeVar("T")

_SCHEMA_VERSION = 1
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size_bytes INT, modified_ns INT, inode INT, etag TEXT, owner TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS root (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
PRAGMA user_version = {_SCHEMA_VERSION};
"""
_BUSY_SECONDS = 60.0


class Database:
    """Two tables in a file: ``files`` has a row for each synced file, ``root`` names and values.

    Safe to use from several threads and processes at once. Connections live only as long as a call, so that nothing is
    shared across a fork.
    """

    def __init__(self, path: str):
        self.path = path
        self._directory = os.path.dirname(path)
        # Whether somebody has said already that it cannot be used.
        self.is_told = False

    @property
    def exists(self) -> bool:
        return os.path.exists(self.path)

    def run(self, call: Callable[[sqlite3.Connection], T], unremembered: T) -> T:
        """The result of ``call`` on a connection, and ``unremembered`` while the file cannot be used.

        A broken file is set aside, and ``call`` gets empty tables.
        """
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
            if not self.is_told:
                logger.warning("cannot use the index %s (%s): files will be compared again", self.path, error)
            self.is_told = True
            return unremembered

    def _connect(self) -> sqlite3.Connection:
        make_private(self._directory)
        connection = self._opened() if has_locks(self._directory) else self._opened_without_locks()
        try:
            with suppress(sqlite3.OperationalError):
                # Not every file system can share memory between processes; the default journal works there.
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_SCHEMA)
            elif version != _SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"schema version {version}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY_SECONDS)

    def _opened_without_locks(self) -> sqlite3.Connection:
        """A connection that is alone by a directory beside the index; one that a dead process left is removed."""
        wait_for_directory(f"{self.path}.lock")
        uri = f"file:{quote(os.fsencode(self.path))}?vfs=unix-dotfile"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)
        # An index that was made where there are locks needs memory that is shared, or nobody to share it with.
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
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self.path + suffix)
