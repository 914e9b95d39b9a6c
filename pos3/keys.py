"""PURE. Which keys can be files below a directory, and which cannot."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

_MOST_PROBLEMS = 100


def segment_problem(path: str) -> str:
    """Why ``path`` cannot name a file below a root, or "".

    Guarantees that a path without a problem, joined to a root, stays below that root and is written as it
    stands on a POSIX file system.
    """
    if path.startswith("/"):
        return "an absolute path"
    body = path.removesuffix("/")
    for segment in body.split("/"):
        if segment == "":
            return "an empty segment ('//')" if path else ""
        if segment in (".", ".."):
            return f"a {segment!r} segment"
        if "\x00" in segment:
            return "a NUL character"
        if len(segment) > 63 and len(segment.encode("utf-8", "surrogateescape")) > 255:
            return "a name longer than 255 bytes"
    return ""


def beginnings(names: Sequence[str]) -> list[str]:
    """Those of the sorted names with which the last one begins; only below them can a later name lie."""
    last = names[-1]
    found = []
    for length in range(len(last) + 1):
        at = bisect_left(names, last[:length])
        if names[at] == last[:length]:
            found.append(names[at])
    return found


class PathChecker:
    """Finds the paths of one sorted listing that cannot all be files of one directory.

    Feed it every path that will exist on disk, in code-point order. It holds only the chain of names that the
    current path could still lie below; with ``fold_names`` (a case-insensitive disk) it holds all names.
    """

    def __init__(self, *, fold_names: bool = False):
        self.problems: list[str] = []
        self._open_files: list[str] = []
        self._fold_names = fold_names
        self._folded: dict[str, str] = {}

    def check(self, path: str) -> bool:
        """Whether ``path`` can be a file; if not, the reason is added to ``problems``."""
        problem = segment_problem(path)
        if not problem:
            problem = self._file_as_directory(path)
        if not problem and self._fold_names:
            problem = self._same_name(path)
        if problem:
            self.add(f"{path!r}: {problem}")
        return not problem

    def pass_over(self, names: Sequence[str]) -> None:
        """Sorted names that are known to be files of one directory, such as files that exist."""
        while self._open_files and not names[-1].startswith(self._open_files[-1]):
            self._open_files.pop()
        self._open_files += beginnings(names)

    def add(self, problem: str) -> None:
        """Adds a problem that was found elsewhere, once."""
        if len(self.problems) < _MOST_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)

    def _file_as_directory(self, path: str) -> str:
        # Between "a" and "a/b" only names that start with "a" can come, so the candidates form a stack.
        while self._open_files and not path.startswith(self._open_files[-1]):
            self._open_files.pop()
        for name in reversed(self._open_files):
            if path.startswith(f"{name}/"):
                return f"{name!r} is a file, so nothing can lie below it"
        if not path.endswith("/"):
            self._open_files.append(path)
        return ""

    def _same_name(self, path: str) -> str:
        folded = unicodedata.normalize("NFC", path).casefold()
        other = self._folded.setdefault(folded, path)
        return "" if other == path else f"the same name as {other!r} on this disk"
