"""Finds the temporary files that killed downloads of single objects have left in directories that are never scanned.

The temporary file of a single object lies in the directory of its target, which may have a million files. So before it
is created, pos3 makes a note: a symbolic link to it, ``<cache_root>/.pos3/unfinished/<id of its root><its name>``. If a
note cannot be made or followed, that is not an error, because the download does not need it.

Part files of huge downloads are noted wherever they lie, since ``cache prune`` removes them as well.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from pos3.local import is_temporary, is_trusted, make_private, part_at, remove_abandoned
from pos3.state.locks import UseLock
from pos3.state.part_file import remove_part
from pos3.state.root_index import RootIndex

logger = logging.getLogger("pos3")

_DIRECTORY = "unfinished"


class Leftovers:
    """The notes about temporary files of one local root. The caller holds the root's lock."""

    def __init__(self, root: RootIndex):
        self._state_directory = root.directory
        self._directory = os.path.join(root.directory, _DIRECTORY)
        self._id = root.id

    def note(self, temporary: str) -> None:
        """Makes a note with the absolute path of a file that will be created. It costs one system call."""
        with suppress(OSError):
            try:
                os.symlink(temporary, self._note_of(temporary))
            except FileNotFoundError:
                make_private(self._state_directory)
                make_private(self._directory)
                os.symlink(temporary, self._note_of(temporary))

    def forget(self, temporary: str) -> None:
        """Removes the note of a file that is gone."""
        with suppress(OSError):
            os.unlink(self._note_of(temporary))

    def _note_of(self, temporary: str) -> str:
        return os.path.join(self._directory, self._id + os.path.basename(temporary))

    def part_files(self) -> list[str]:
        """The paths of the part files of this root that are noted. They need not exist."""
        found: list[str] = []
        for note, root, name in _notes(self._directory):
            if root == self._id and part_at(name):
                with suppress(OSError):
                    found.append(os.readlink(note.path))
        return [path for path in found if part_at(path) == path]

    def remove_abandoned(self, kept: Collection[str] = ()) -> None:
        """Removes the temporary files of this root that dead processes have left, and their notes.

        Args:
            kept: the paths of part files that stay.
        """
        _remove_noted_files(self._directory, lambda root, note: root == self._id and os.readlink(note) not in kept)


def remove_all_abandoned(state_directory: str, *, part_files: bool = True) -> None:
    """Does the same as :meth:`Leftovers.remove_abandoned` for all roots that no open mirror of any process uses.

    Args:
        part_files: also those with which the next download could go on.
    """

    def is_unused(root: str, note: str) -> bool:
        if not part_files and part_at(os.readlink(note)):
            return False
        use_lock = UseLock(os.path.join(state_directory, f"{root}.use"))
        try:
            return use_lock.try_exclusive()
        finally:
            use_lock.release()

    _remove_noted_files(os.path.join(state_directory, _DIRECTORY), is_unused)


def _notes(directory: str) -> Iterator[tuple[os.DirEntry[str], str, str]]:
    """Each note, with the id of its root and the name of the temporary file."""
    if not os.path.isdir(directory) or not is_trusted(*os.path.split(directory)):
        return
    with suppress(OSError), os.scandir(directory) as notes:
        for note in notes:
            root, dot, name = note.name.partition(".")
            if is_temporary(dot + name):
                yield note, root, dot + name


def _remove_noted_files(directory: str, is_selected: Callable[[str, str], bool]) -> None:
    for note, root, name in _notes(directory):
        with suppress(OSError):
            if is_selected(root, note.path):
                _remove_noted_file(note, name)


def _remove_noted_file(note: os.DirEntry[str], name: str) -> None:
    """Removes the file of a note, if it is a regular file of this user with the temporary name ``name``."""
    path = os.readlink(note.path)
    noted = note.stat(follow_symlinks=False)
    if os.path.basename(path) != name or noted.st_uid != os.geteuid():
        return
    if part_at(name):
        if path == part_at(path) and remove_part(path):
            os.unlink(note.path)
        return
    try:
        left = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        remove_abandoned(note.path, name)
        return
    if stat.S_ISREG(left.st_mode) and left.st_uid == noted.st_uid and remove_abandoned(path):
        logger.info("removed %s, which a killed download had left", path)
        os.unlink(note.path)
