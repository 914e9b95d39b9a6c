"""Tests whether a path lies within another one, by their texts only.

Links are not resolved, so callers resolve them first where they matter. These functions are not for keys of objects,
which may have empty segments; :meth:`pos3.url.Location.overlaps` compares those.
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
    """Whether two absolute paths are equal, or one lies below the other."""
    return is_within(first, second) or is_within(second, first)


def is_within_relative(path: str, directory: str) -> bool:
    """As :func:`is_within`, for paths relative to the same directory. The directory itself is ""."""
    return not directory or is_within(path, directory)


def relative(path: str, directory: str) -> str:
    """``path`` relative to ``directory``, which must contain it; "" for the directory itself."""
    return path[len(directory.rstrip("/")) + 1 :]


def lies_in_cache(path: str, cache_root: str) -> bool:
    """Whether an absolute path is a cache root or lies below it, so that its files belong to pos3.

    If the cache root is "/", the result is always False, because other files lie there as well.
    """
    return cache_root != _ROOT and is_within(path, cache_root)
