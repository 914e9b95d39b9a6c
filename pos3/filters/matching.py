"""PURE. Which paths take part: include and exclude globs that mean the same on both sides.

A pattern without a leading slash matches at any depth, as ``pathlib.PurePath.match`` does: ``*.tmp`` hides every
such file, ``logs/*`` whatever lies in any directory named logs. A leading slash ties it to the root. What
matches a directory hides all that lies below it. "./" says nothing and is taken off. ``*`` and ``?`` stay within a
segment, ``**`` spans segments, and ``[abc]``, ``[!abc]`` are character classes. Matching is case-sensitive.
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
    """With ``below``, what lies in a directory that matches is matched as well."""
    start = "^" if pattern.startswith("/") else "(?:^|/)"
    end = "/" if pattern.endswith("/") else r"(?:/|\Z)" if below else r"\Z"
    segments = pattern.strip("/").split("/")
    while len(segments) > 1 and segments[0] == "**":
        # Whatever stands before a slash, or nothing: that is where a pattern without a leading slash begins.
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
    """The expression of one segment, by the rules of :mod:`fnmatch`; "*" and "?" match no slash, "**" any text."""
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
            raise _no_pattern(name, pattern)
    try:
        return re.compile("|".join(_expression(pattern, below=below) for pattern in patterns), re.DOTALL)
    except re.error as error:
        raise InvalidArgumentError(f"{name}={list(patterns)!r}: not a valid glob: {error}", argument=name) from None


def _no_pattern(name: str, pattern: object) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name}={pattern!r} is not a glob pattern such as '*.tmp' or 'logs/'", argument=name)


def as_patterns(patterns: Any, name: str) -> tuple[str, ...]:
    """The patterns as a tuple: None is none, and a lone string is one pattern, not its letters.

    "./" is taken off: a pattern is relative to the root in any case.

    Raises:
        InvalidArgumentError: one of them is no pattern, or can match nothing.
    """
    if patterns is None:
        return ()
    if isinstance(patterns, str):
        return (_normal(patterns, name),)
    if not isinstance(patterns, (list, tuple, set, frozenset)):
        raise InvalidArgumentError(f"{name}={patterns!r}: expected glob patterns as a list of strings", argument=name)
    return tuple(_normal(pattern, name) for pattern in patterns)


def _normal(pattern: Any, name: str) -> str:
    if not isinstance(pattern, str) or not pattern.strip("/"):
        raise _no_pattern(name, pattern)
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
    """
    Args:
        roots: absolute paths of the directory that the patterns are for.

    Raises:
        InvalidArgumentError: a pattern is an absolute path of this machine: that of the root, of something in it or of
            a directory above. A leading slash means the root, so it would match nothing.
    """
    for pattern in patterns:
        literal = "/".join(itertools.takewhile(lambda segment: not set("*?[") & set(segment), pattern.split("/")))
        path = literal.rstrip("/")
        for root in roots:
            # A single name is more likely one in the root: "/tmp" or "/home".
            if path.count("/") > 1 and root != "/" and are_nested(path, root):
                raise InvalidArgumentError(
                    f"{name}={pattern!r} matches nothing: it is an absolute path of this machine, and patterns are "
                    f"relative to {root}; '/x' is the 'x' directly in it",
                    argument=name,
                )


def nothing(_path: str) -> bool:
    """The predicate that no path fulfils."""
    return False


def everything(_path: str) -> bool:
    """The predicate that every path fulfils."""
    return True


def matcher(patterns: Sequence[str], name: str = "pattern") -> Callable[[str], bool]:
    """A predicate that is true for paths matched by any of the patterns.

    Raises:
        InvalidArgumentError: a pattern is empty or not a valid glob.
    """
    return _matcher(patterns, name, below=True)


def _matcher(patterns: Sequence[str], name: str, *, below: bool) -> Callable[[str], bool]:
    if not patterns:
        return nothing
    search = _compile(patterns, name, below=below).search
    hard = [Glob(pattern, below=below).matches for pattern in patterns if not is_simple(pattern)]
    if not hard:
        return lambda path: search(path) is not None
    simple = _matcher([pattern for pattern in patterns if is_simple(pattern)], name, below=below)
    return lambda path: simple(path) or any(matches(path) for matches in hard)


def entry_matcher(patterns: Sequence[str], name: str = "pattern") -> Callable[[str], bool]:
    """As :func:`matcher`, but a pattern names a file itself and not what lies in a directory of that name.

    It never names the root.

    Raises:
        InvalidArgumentError: a pattern is empty or not a valid glob.
    """
    if not patterns:
        return nothing
    names = _matcher(patterns, name, below=False)
    return lambda path: bool(path) and names(path)


@dataclass(frozen=True)
class Filter:
    """What of a tree takes part in a transfer. Excluding wins over including.

    A single file or object as the root (path "") always takes part.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def predicate(self) -> Callable[[str], bool]:
        """A fast function of a path: whether it takes part."""
        hidden = matcher(self.exclude, "exclude")
        if hidden is nothing and not self.include:
            return everything
        if not self.include:
            return lambda path: not path or not hidden(path)
        wanted = matcher(self.include, "include")
        return lambda path: not path or (wanted(path) and not hidden(path))

    def prunes(self) -> Callable[[str], bool]:
        """A function of a directory's path (ending in "/"): whether nothing below it can take part."""
        return matcher(self.exclude, "exclude")
