"""PURE. Which keys can be files below a directory, and which cannot."""

from __future__ import annotations

import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice

from pos3.local import NARROW, STATE_DIRECTORY, is_file_name, lies_in_state

MOST_PROBLEMS = 100
IN_STATE = f"a {STATE_DIRECTORY!r} segment, the name of the directories in which pos3 keeps its own state"
# The name of the temporary file in which a file arrives, beside its place.
_NAME_BESIDE = "x" * 64


def segment_problem(path: str) -> str:
    """Why ``path`` cannot name a file below a root, or "".

    Guarantees that a path without a problem, joined to a root, stays below that root and is written as it
    stands on a POSIX file system.
    """
    if path.startswith("/"):
        return "an absolute path"
    if not is_file_name(path):
        return f"a name that this process cannot write, {NARROW},"
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
    return IN_STATE if lies_in_state(path) else ""


class Above:
    """The names of a sorted walk that the current path may lie below. All paths lie below the root, ""."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def find(self, path: str) -> str | None:
        """The innermost pushed name that ``path`` lies below, or None."""
        self._leave(path)
        for name in reversed(self._names):
            if path != name and path.startswith(_inside(name)):
                return name
        return None

    def pairs(self, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Each pushed name with each of the sorted paths that lies below it."""
        self._leave(paths[0])
        for name in self._names:
            inside = _inside(name)
            for path in islice(paths, bisect_left(paths, inside), None):
                if not path.startswith(inside):
                    break
                yield name, path

    def push(self, name: str) -> None:
        self._leave(name)
        self._names.append(name)

    def push_all(self, names: Sequence[str]) -> None:
        """The same as pushing each of the sorted names, one after the other."""
        self._leave(names[-1])
        self._names += _beginnings(names)

    def _leave(self, path: str) -> None:
        # Nothing that sorts after ``path`` can lie below a name that ``path`` does not start with.
        while self._names and not path.startswith(self._names[-1]):
            self._names.pop()


def _inside(name: str) -> str:
    """How every path begins that lies below ``name``."""
    return name if not name or name.endswith("/") else f"{name}/"


def _beginnings(names: Sequence[str]) -> list[str]:
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

    def __init__(self, *, fold_names: bool = False, room_bytes: int = 0):
        """
        Args:
            room_bytes: what a path may need below the root; 0 for no limit.
        """
        self.problems: list[str] = []
        self.files = Above()
        self._fold_names = fold_names
        self._folded: dict[str, str] = {}
        self._room_bytes = room_bytes or sys.maxsize
        # No letter needs more bytes.
        self._surely_fits = self._room_bytes // 4 - len(_NAME_BESIDE)

    def check(self, path: str) -> bool:
        """Whether ``path`` can be a file; if not, the reason is added to ``problems``."""
        problem = segment_problem(path)
        if not problem and len(path) > self._surely_fits:
            problem = self._too_long(path)
        if not problem:
            problem = self._file_as_directory(path)
        if not problem and self._fold_names:
            problem = IN_STATE if lies_in_state(path.casefold()) else self._same_name(path)
        if problem:
            self.add(f"{path!r}: {problem}")
        return not problem

    def pass_over(self, names: Sequence[str]) -> None:
        """Sorted names that can be files of one directory as far as they alone are concerned: files that exist."""
        for file, path in self.files.pairs(names):
            self.add(f"{path!r}: {_below_file(file)}")
        self.files.push_all(names)

    def add(self, problem: str) -> None:
        """Adds a problem that was found elsewhere, once."""
        if len(self.problems) < MOST_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)

    def _too_long(self, path: str) -> str:
        beside = f"{path.removesuffix('/').rpartition('/')[0]}/{_NAME_BESIDE}"
        needed = max(len(each.encode("utf-8", "surrogateescape")) for each in (path, beside))
        return "too long a path below the target directory" if needed > self._room_bytes else ""

    def _file_as_directory(self, path: str) -> str:
        file = self.files.find(path)
        if file is not None:
            return _below_file(file)
        if not path.endswith("/"):
            self.files.push(path)
        return ""

    def _same_name(self, path: str) -> str:
        folded = unicodedata.normalize("NFC", path).casefold()
        other = self._folded.setdefault(folded, path)
        return "" if other == path else f"the same name as {other!r} on this disk"


def _below_file(file: str) -> str:
    return f"{file!r} is a file, so nothing can lie below it"
