"""What pos3 remembers, taken along to another address of the same server."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_FILES = "path, size_bytes, modified_ns, inode, etag, owner, checksum"


def remember_at(endpoint: str, known: str, top: Path) -> None:
    """Lets every cache below ``top`` remember for ``endpoint`` what it remembers for the endpoint ``known``."""
    for path in top.rglob("*.sqlite"):
        # A test may have spoiled it.
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection, connection:
            rows = connection.execute("SELECT id, url, used_at FROM places WHERE endpoint = ?", (known,)).fetchall()
            for old, url, used_at in rows:
                place = (url, endpoint, used_at)
                new = connection.execute(
                    "INSERT INTO places (url, endpoint, used_at) VALUES (?, ?, ?)", place
                ).lastrowid
                files = f"INSERT INTO files (place, {_FILES}) SELECT ?, {_FILES} FROM files WHERE place = ?"
                connection.execute(files, (new, old))
                notes = "INSERT INTO notes SELECT ?, name, value FROM notes WHERE place = ?"
                connection.execute(notes, (new, old))
