"""How this process writes the names of files: in UTF-8, or, in a locale of old, in something narrower."""

from __future__ import annotations

import sys

_ENCODING = sys.getfilesystemencoding()
_IS_NARROW = _ENCODING.lower().replace("_", "-") not in ("utf-8", "utf8")
NARROW = f"as its names of files are {_ENCODING} (with PYTHONUTF8=1 or LC_ALL=C.UTF-8 they are UTF-8)"


def is_file_name(path: str) -> bool:
    """Whether this process can write such a name, as far as its encoding goes."""
    if not _IS_NARROW or path.isascii():
        return True
    try:
        path.encode(_ENCODING, "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def encoding_problem(path: str) -> str:
    """Why a local path that is not valid UTF-8 as it was read cannot be a key."""
    try:
        is_utf8 = _IS_NARROW and bool(path.encode(_ENCODING, "surrogateescape").decode("utf-8"))
    except UnicodeError:
        is_utf8 = False
    return f"a name that this process cannot read, {NARROW}," if is_utf8 else "a name that is not valid UTF-8"
