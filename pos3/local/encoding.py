"""The encoding in which this process writes file names: UTF-8, or another one in an old locale."""

from __future__ import annotations

import sys

_ENCODING = sys.getfilesystemencoding()
_IS_NARROW = _ENCODING.lower().replace("_", "-") not in ("utf-8", "utf8")
ENCODING_HINT = f"as its names of files are {_ENCODING} (with PYTHONUTF8=1 or LC_ALL=C.UTF-8 they are UTF-8)"


def is_file_name(path: str) -> bool:
    """Whether the file name encoding of this process can encode the path."""
    if not _IS_NARROW or path.isascii():
        return True
    try:
        path.encode(_ENCODING, "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def encoding_problem(path: str) -> str:
    """The reason why a local path cannot be a key. The path is one that cannot be encoded in UTF-8."""
    try:
        is_utf8 = _IS_NARROW and bool(path.encode(_ENCODING, "surrogateescape").decode("utf-8"))
    except UnicodeError:
        is_utf8 = False
    return f"a name that this process cannot read, {ENCODING_HINT}," if is_utf8 else "a name that is not valid UTF-8"
