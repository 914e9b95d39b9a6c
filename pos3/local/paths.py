"""Which paths lie within which, by their texts.

Absolute paths are compared as they stand, so callers resolve links first where links matter. Keys of objects are no
paths, since they may have empty parts: :meth:`pos3.url.Location.overlaps` compares those.
"""

from __future__ import annotations

_ROOT = "/"


def is_within(path: str, directory: str) -> bool:
    """Whether an absolute path is ``directory`` or lies below it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def is_below(path: str, directory: str) -> bool:
    """Whether an absolute path lies below ``directory``."""
    return path != directory and is_within(path, directory)


def are_nested(first: str, second: str) -> bool:
    """Whether one of two absolute paths is the other, or lies below it."""
    return is_within(first, second) or is_within(second, first)


def is_within_relative(path: str, directory: str) -> bool:
    """As :func:`is_within`, of paths that are relative to the same directory, which is itself ""."""
    return not directory or is_within(path, directory)


def relative(path: str, directory: str) -> str:
    """The part of ``path`` below ``directory``, which it lies within; "" for the directory itself."""
    return path[len(directory.rstrip("/")) + 1 :]


def lies_in_cache(path: str, cache_root: str) -> bool:
    """Whether an absolute path is the root of a cache or lies below it, so that pos3 may do with it as it likes.

    Where a cache is the whole file system, nothing does: what lies there is not pos3's.
    """
    return cache_root != _ROOT and is_within(path, cache_root)
