"""Changes of a local tree. They never go through a symbolic link, and can be undone."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pos3.entries import Entry
from pos3.errors import LocalChangedError
from pos3.local import STATE_DIRECTORY, is_temporary, temporary_name
from pos3.plan import Plan
from pos3.redaction import escaped
from pos3.transfer.placing import is_as_seen
from pos3.transfer.terms import Pair


def make_with_parents(directory: str) -> None:
    """Like ``os.makedirs``, for any number of levels."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for each in reversed(missing):
        try:
            os.mkdir(each)
        except FileExistsError:
            if not os.path.isdir(each):
                raise


class Directories:
    """Makes directories below a root, each once, and never through a symbolic link."""

    def __init__(self, root: str):
        self._root = root
        self._made: set[str] = set()
        self._levels: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def make(self, directory: str) -> None:
        if directory in self._made:
            self.check(directory)
            return
        missing = []
        while directory not in self._made and directory != self._root:
            missing.append(directory)
            directory = os.path.dirname(directory)
        if directory in self._made:
            self.check(directory)
        else:
            make_with_parents(directory)
            self._made.add(directory)
        for directory in reversed(missing):
            with self._lock, suppress(FileExistsError):
                os.mkdir(directory)
            self._check_one(directory)
            self._made.add(directory)

    def check(self, directory: str) -> None:
        """Returns if the directory is still a directory.

        So nothing is changed through a link that has replaced it meanwhile.

        Raises:
            NotADirectoryError: the directory, or one above it below the root, is now a link or a file.
        """
        levels = self._levels.get(directory)
        if levels is None:
            levels = self._levels[directory] = tuple(self._levels_of(directory))
        for level in levels:
            self._check_one(level)

    def _levels_of(self, directory: str) -> Iterator[str]:
        while len(directory) > len(self._root):
            yield directory
            directory = os.path.dirname(directory)

    @staticmethod
    def _check_one(directory: str) -> None:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            raise NotADirectoryError(
                f"{escaped(directory)} is a file or a symbolic link; pos3 changes nothing through it. Remove it, or "
                "leave what lies below it out with exclude=[...]"
            )


@contextmanager
def aside(plan: Plan, pair: Pair, directories: Directories) -> Iterator[Callable[[], None]]:
    """Moves obstacles aside. They are removed if the yielded function was called; otherwise they are moved back."""
    moved: list[tuple[str, str]] = []
    finished = False

    def finish() -> None:
        nonlocal finished
        finished = True

    try:
        for path in plan.obstacles:
            original = pair.local_path(path)
            directories.check(os.path.dirname(original))
            check_only_deletes(path, original, plan)
            parked = os.path.join(os.path.dirname(original), temporary_name())
            os.rename(original, parked)
            moved.append((original, parked))
        yield finish
    finally:
        for original, parked in moved:
            if finished or os.path.lexists(original):
                if os.path.isdir(parked) and not os.path.islink(parked):
                    shutil.rmtree(parked)
                else:
                    os.unlink(parked)
            else:
                os.rename(parked, original)


def check_only_deletes(path: str, original: str, plan: Plan) -> None:
    """Returns if everything in the directory is planned to be deleted. For example, excluded files are not."""
    planned = {action.path: action.source for action in plan.deletes}
    if not os.path.isdir(original) or os.path.islink(original):
        _check_as_seen(original, planned.get(path))
        return
    for directory, directories, names in os.walk(original):
        inner = os.path.relpath(directory, original)
        for name in [*names, *(name for name in directories if name == STATE_DIRECTORY)]:
            found = "/".join(part for part in (path, "" if inner == "." else inner, name) if part)
            if found not in planned and not is_temporary(name):
                raise IsADirectoryError(
                    f"{escaped(original)} is a directory where a file belongs, and {found!r} in it takes no part in "
                    "the transfer, so the directory was not replaced. Move it away, or exclude it"
                )
            _check_as_seen(os.path.join(directory, name), planned.get(found))


def _check_as_seen(path: str, before: Entry | None) -> None:
    """Returns if the file is as the plan saw it.

    Raises:
        LocalChangedError: the file was changed since the plan was made.
    """
    if before is not None and not is_as_seen(os.lstat(path), before):
        raise LocalChangedError(
            f"{escaped(path)} was changed while the download was under way, and nothing was put in its place",
            path=path,
        )
