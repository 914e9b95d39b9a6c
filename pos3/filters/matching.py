"""PURE. Decides by include and exclude globs which paths take part. Globs have the same meaning on both sides.

A pattern without a leading slash matches at any depth, as with ``pathlib.PurePath.match``: ``*.tmp`` matches all such
files, and ``logs/*`` matches everything in directories named logs. A pattern with a leading slash matches only from the
root on. A pattern that matches a directory also matches everything below it. A leading "./" is ignored. ``*`` and ``?``
match within a segment, ``**`` matches across segments, and ``[abc]`` and ``[!abc]`` are character classes. Matching is
case-sensitive.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pos3.errors import InvalidArgumentError
from pos3.filters.globs import Glob, character_class, is_simple, tokens
from pos3.local import are_nested


def _expression(pattern: str, *, below: bool = True) -> str:
    """The regular expression of a glob. With ``below``, it also matches everything below a matching directory."""
    start = "^" if pattern.startswith("/") else "(?:^|/)"
    end = "/" if pattern.endswith("/") else r"(?:/|\Z)" if below else r"\Z"
    segments = pattern.strip("/").split("/")
    while len(segments) > 1 and segments[0] == "**":
        # A leading "**/" has the same meaning as no leading slash.
        start = "(?:^|/)"
        del segments[0]
    translated = ""
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        if segment == "**":
            translated += ".*" if is_last else "(?:.*/)?"
        else:
            translated += _segment(segment) + ("" if is_last else "/")
    return f"{start}{translated}{end}"


def _segment(segment: str) -> str:
    """The regular expression of a segment, as in :mod:`fnmatch`. "*" and "?" match no slash, "**" matches any text."""
    translated = ""
    for token in tokens(segment):
        if token == "**":
            translated += ".*"
        elif token == "*":
            translated += "[^/]*"
        elif token == "?":
            translated += "[^/]"
        elif len(token) > 1:
            translated += character_class(token)
        else:
            translated += re.escape(token)
    return translated


def _compile(patterns: Sequence[str], name: str, *, below: bool = True) -> re.Pattern[str]:
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip("/"):
            raise _invalid_pattern(name, pattern)
    try:
        return re.compile("|".join(_expression(pattern, below=below) for pattern in patterns), re.DOTALL)
    except re.error as error:
        raise InvalidArgumentError(f"{name}={list(patterns)!r}: not a valid glob: {error}", argument=name) from None


def _invalid_pattern(name: str, pattern: object) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name}={pattern!r} is not a glob pattern such as '*.tmp' or 'logs/'", argument=name)


def as_patterns(patterns: Any, name: str) -> tuple[str, ...]:
    """The patterns as a tuple. None gives no patterns, and a single string is one pattern.

    A leading "./" is removed, because patterns are always relative to the root.

    Raises:
        InvalidArgumentError: one of them is not a pattern, or can match nothing.
    """
    if patterns is None:
        return ()
    if isinstance(patterns, str):
        return (_normalized(patterns, name),)
    if not isinstance(patterns, (list, tuple, set, frozenset)):
        raise InvalidArgumentError(f"{name}={patterns!r}: expected glob patterns as a list of strings", argument=name)
    return tuple(_normalized(pattern, name) for pattern in patterns)


def _normalized(pattern: Any, name: str) -> str:
    if not isinstance(pattern, str) or not pattern.strip("/"):
        raise _invalid_pattern(name, pattern)
    segments = [segment for segment in pattern.removeprefix("/").removesuffix("/").split("/") if segment != "."]
    problem = ""
    if "://" in pattern:
        problem = "patterns are relative to the URL, such as '*.log' or '/logs'"
    elif ".." in segments and len(segments) > 1:
        problem = "patterns do not lead out of the directory. '..' alone matches keys with such a part"
    elif "" in segments:
        problem = "there is an empty name between two slashes. '**/' matches keys with such a part"
    elif segments == []:
        problem = "it is the directory itself; '*' matches all that lies in it"
    elif segments[0] == "~" and not pattern.startswith("/"):
        problem = "patterns are relative to the directory that is transferred. '[~]' matches such a name"
    if problem:
        raise InvalidArgumentError(f"{name}={pattern!r} matches nothing: {problem}", argument=name)
    return "/" * pattern.startswith("/") + "/".join(segments) + "/" * pattern.endswith("/")


def check_relative(patterns: Sequence[str], name: str, roots: Iterable[str]) -> None:
    """Returns if no pattern is an absolute path of this machine.

    Args:
        roots: absolute paths of the directory to which the patterns apply.

    Raises:
        InvalidArgumentError: a pattern is the absolute path of the root, of something in it, or of a directory above.
            It would match nothing, because the leading slash of a pattern means the root.
    """
    for pattern in patterns:
        literal = "/".join(itertools.takewhile(lambda segment: not set("*?[") & set(segment), pattern.split("/")))
        path = literal.rstrip("/")
        for root in roots:
            # A single name, such as "/tmp" or "/home", is more likely meant as a name in the root.
            if path.count("/") > 1 and root != "/" and are_nested(path, root):
                raise InvalidArgumentError(
                    f"{name}={pattern!r} matches nothing: it is an absolute path of this machine, and patterns are "
                    f"relative to {root}; '/x' is the 'x' directly in it",
                    argument=name,
                )


def nothing(_path: str) -> bool:
    """False for every path."""
    return False


def everything(_path: str) -> bool:
    """True for every path."""
    return True


def matcher(patterns: Sequence[str], name: str = "pattern") -> Callable[[str], bool]:
    """A predicate that is true for the paths that at least one pattern matches.

    Raises:
        InvalidArgumentError: a pattern is empty or not a valid glob.
    """
    return _matcher(patterns, name, below=True)


def _matcher(patterns: Sequence[str], name: str, *, below: bool) -> Callable[[str], bool]:
    if not patterns:
        return nothing
    search = _compile(patterns, name, below=below).search
    complex_globs = [Glob(pattern, below=below).matches for pattern in patterns if not is_simple(pattern)]
    if not complex_globs:
        return lambda path: search(path) is not None
    simple = _matcher([pattern for pattern in patterns if is_simple(pattern)], name, below=below)
    return lambda path: simple(path) or any(matches(path) for matches in complex_globs)


def entry_matcher(patterns: Sequence[str], name: str = "pattern") -> Callable[[str], bool]:
    """As :func:`matcher`, but a pattern matches only the file itself, and not the files in a matching directory.

    It never matches the root.

    Raises:
        InvalidArgumentError: a pattern is empty or not a valid glob.
    """
    if not patterns:
        return nothing
    names = _matcher(patterns, name, below=False)
    return lambda path: bool(path) and names(path)


@dataclass(frozen=True)
class Filter:
    """The include and exclude patterns of a transfer. Exclude wins over include.

    If the root is a single file or object (path ""), it always takes part.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def predicate(self) -> Callable[[str], bool]:
        """A fast predicate of a path: whether it takes part."""
        excluded = matcher(self.exclude, "exclude")
        if excluded is nothing and not self.include:
            return everything
        if not self.include:
            return lambda path: not path or not excluded(path)
        included = matcher(self.include, "include")
        return lambda path: not path or (included(path) and not excluded(path))

    def prunes(self) -> Callable[[str], bool]:
        """A predicate of a directory's path (with "/" at its end): whether nothing below it can take part."""
        return matcher(self.exclude, "exclude")
