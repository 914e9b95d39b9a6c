"""PURE. Decides which keys can be files below a directory."""

from __future__ import annotations

import re
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice

from pos3.local import ENCODING_HINT, STATE_DIRECTORY, is_file_name, lies_in_state

MAX_PROBLEMS = 100
IN_STATE = f"a {STATE_DIRECTORY!r} segment, the name of the directories in which pos3 keeps its own state"
# Such paths have no problem: their segments are short, in ASCII, and have no control character and no leading dot.
_ORDINARY = re.compile(r"[ !-\-0-~][ -.0-~]{0,62}(?:/[ !-\-0-~][ -.0-~]{0,62})*+/?")
# A file is downloaded to a temporary file beside its target. The name of that is not longer than this.
_LONGEST_TEMPORARY_NAME = "x" * 64


def segment_problem(path: str) -> str:
    """The reason why ``path`` cannot be the path of a file below a root, or "".

    A path without a problem, joined to a root, stays below that root, and a POSIX file system stores it unchanged.
    """
    if _ORDINARY.fullmatch(path):
        return ""
    if path.startswith("/"):
        return "an absolute path"
    if not is_file_name(path):
        return f"a name that this process cannot write, {ENCODING_HINT},"
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


class AncestorStack:
    """The names of a sorted walk that may be ancestors of the current path. The root "" is one of every path."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def find(self, path: str) -> str | None:
        """The innermost pushed name that is an ancestor of ``path``, or None."""
        if not self._names:
            return None
        self._leave(path)
        for name in reversed(self._names):
            if path != name and path.startswith(_prefix_below(name)):
                return name
        return None

    def pairs(self, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Each pair of a pushed name and one of the sorted paths that lies below it."""
        self._leave(paths[0])
        for name in self._names:
            prefix = _prefix_below(name)
            for path in islice(paths, bisect_left(paths, prefix), None):
                if not path.startswith(prefix):
                    break
                yield name, path

    def push(self, name: str) -> None:
        self._leave(name)
        self._names.append(name)

    def push_all(self, names: Sequence[str]) -> None:
        """Does the same as pushing each of the sorted names, one after the other."""
        self._leave(names[-1])
        self._names += _prefixes_of_last(names)

    def _leave(self, path: str) -> None:
        # Nothing that sorts after ``path`` can lie below a name that ``path`` does not start with.
        while self._names and not path.startswith(self._names[-1]):
            self._names.pop()


def _prefix_below(name: str) -> str:
    """The beginning of all paths that lie below ``name``."""
    return name if not name or name.endswith("/") else f"{name}/"


def _prefixes_of_last(names: Sequence[str]) -> list[str]:
    """The sorted names that are prefixes of the last one. A later name can only lie below one of these."""
    last = names[-1]
    found = []
    for length in range(len(last) + 1):
        at = bisect_left(names, last[:length])
        if names[at] == last[:length]:
            found.append(names[at])
    return found


class PathChecker:
    """Finds the paths of one sorted listing that cannot all be files of one directory.

    The caller passes every path that will exist on disk, in code-point order. The checker holds only the names that may
    be ancestors of the current path; with ``fold_names`` (a case-insensitive disk), it holds all names.
    """

    def __init__(self, *, fold_names: bool = False, max_path_bytes: int = 0):
        """A checker for one listing.

        Args:
            max_path_bytes: the maximum length of a path below the root; 0 for no limit.
        """
        self.problems: list[str] = []
        self.files = AncestorStack()
        self._fold_names = fold_names
        self._folded: dict[str, str] = {}
        self._max_path_bytes = max_path_bytes or sys.maxsize
        # A character needs at most four bytes.
        self._always_fits_length = self._max_path_bytes // 4 - len(_LONGEST_TEMPORARY_NAME)

    def check(self, path: str) -> bool:
        """Whether ``path`` can be a file. If not, the reason is added to ``problems``."""
        problem = segment_problem(path)
        if not problem and len(path) > self._always_fits_length:
            problem = self._too_long(path)
        if not problem:
            problem = self._file_as_directory(path)
        if not problem and self._fold_names:
            problem = IN_STATE if lies_in_state(path.casefold()) else self._same_name(path)
        if problem:
            self.add(f"{path!r}: {problem}")
        return not problem

    def pass_over(self, names: Sequence[str]) -> None:
        """Takes sorted names of files that exist. They are only checked against the other names of the listing."""
        for file, path in self.files.pairs(names):
            self.add(f"{path!r}: {_below_file(file)}")
        self.files.push_all(names)

    def add(self, problem: str) -> None:
        """Adds a problem that the caller has found, unless it is known."""
        if len(self.problems) < MAX_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)

    def _too_long(self, path: str) -> str:
        beside = f"{path.removesuffix('/').rpartition('/')[0]}/{_LONGEST_TEMPORARY_NAME}"
        needed = max(len(each.encode("utf-8", "surrogateescape")) for each in (path, beside))
        return "too long a path below the target directory" if needed > self._max_path_bytes else ""

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
