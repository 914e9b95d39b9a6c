"""The fsspec file system ``pos3://``. Other libraries read objects with it, through the current mirror.

``pos3://bucket/key`` is the object ``s3://bucket/key``, and ``pos3://profile@bucket/key`` names a profile. fsspec finds
this module by its entry point. So ``pandas.read_csv("pos3://bucket/a.csv")`` needs no import of pos3.
"""

from __future__ import annotations

import errno
from datetime import datetime
from typing import Any, BinaryIO, NoReturn

from fsspec import AbstractFileSystem

from pos3.api import current_mirror
from pos3.errors import InvalidArgumentError, RemoteNotFoundError
from pos3.jobs import Listed

_READ_ONLY = "pos3:// is for reading; pos3.upload registers a local path that is pushed to s3://{path}"


class Pos3FileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Reads objects that the current mirror downloads. It writes nothing.

    A file opens when its whole object has arrived and was verified. A mirror downloads each object once. Listings show
    the present state of the store. An instance has no state and can be pickled. It uses the mirror that is open where
    it is used.

    Raises:
        NoMirrorError: no mirror is open, or several are open and none belongs to the caller.
    """

    protocol = "pos3"

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        """Returns the entries directly in a directory, or the object itself.

        Raises:
            FileNotFoundError: nothing is there.
        """
        stripped: str = self._strip_protocol(path)
        profile, at, _ = stripped.partition("/")[0].rpartition("@")
        listed = current_mirror().ls(f"s3://{stripped}", details=True)
        if not listed and "/" in stripped:
            raise RemoteNotFoundError(
                f"pos3://{stripped}: there is no object at this URL, and none below it", url=f"s3://{stripped}"
            )
        found = [_described(profile + at, each) for each in listed]
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """Returns the name, size and type of an object or a directory, and further fields of an object.

        Raises:
            FileNotFoundError: nothing is there.
        """
        stripped: str = self._strip_protocol(path)
        for found in self.ls(stripped) if stripped else ():
            if found["name"] == stripped:
                return dict(found)
        return {"name": stripped, "size": 0, "type": "directory"}

    def modified(self, path: str) -> datetime | None:
        """Returns the time at which an object was last written, or None for a directory."""
        written: datetime | None = self.info(path).get("LastModified")
        return written

    # fsspec takes any error for "there is nothing".

    def exists(self, path: str, **_options: Any) -> bool:
        return self._type_of(path) != ""

    def isfile(self, path: str) -> bool:
        return self._type_of(path) == "file"

    def isdir(self, path: str) -> bool:
        return self._type_of(path) == "directory"

    def _type_of(self, path: str) -> str:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return ""

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> BinaryIO:
        if mode != "rb":
            raise InvalidArgumentError(f"mode={mode!r}: {_READ_ONLY.format(path=path)}", argument="mode")
        if self.info(path)["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, "it is a directory; pos3.download brings all of it", f"pos3://{path}")
        return open(current_mirror().download(f"s3://{path}"), "rb")

    # fsspec passes over some of these without a word.

    def _refuse(self, path: Any, *_arguments: Any, **_options: Any) -> NoReturn:
        raise InvalidArgumentError(_READ_ONLY.format(path=self._strip_protocol(path)), argument="path")

    mkdir = makedirs = rmdir = rm = rm_file = _rm = cp_file = copy = mv = touch = put = put_file = _refuse


def _described(profile: str, listed: Listed) -> dict[str, Any]:
    """An entry as fsspec shows it, with the names of s3fs. ``profile`` is what comes before the bucket."""
    name = profile + listed.url.removeprefix("s3://")
    if listed.modified is None and not listed.etag:
        return {"name": name, "size": 0, "type": "directory"}
    return {
        "name": name,
        "size": listed.size_bytes,
        "type": "file",
        "ETag": listed.etag,
        "LastModified": listed.modified,
        "StorageClass": listed.storage_class,
    }
