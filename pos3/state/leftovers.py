"""Notes of temporary files in directories that are never scanned, so that what a killed download left can be found.

The temporary file of a single object lies in whatever directory its target is in, which may hold a million files. So it
is noted before it is made: by a symbolic link to it, ``<cache_root>/.pos3/unfinished/<id of its root><its name>``. A
note that cannot be put, or not be followed, is no error: the download does not need it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from pos3.local import is_temporary, is_trusted, make_private, remove_abandoned
from pos3.state.locks import UseMark
from pos3.state.root_index import RootIndex

logger = logging.getLogger("pos3")

_DIRECTORY = "unfinished"


class Leftovers:
    """The notes of one local root. Whoever calls holds the root's lock."""

    def __init__(self, root: RootIndex):
        self._state_directory = root.directory
        self._directory = os.path.join(root.directory, _DIRECTORY)
        self._id = root.id

    def note(self, temporary: str) -> None:
        """Notes the absolute path of a file that is about to be made. Costs one system call."""
        with suppress(OSError):
            try:
                os.symlink(temporary, self._note_of(temporary))
            except FileNotFoundError:
                make_private(self._state_directory)
                make_private(self._directory)
                os.symlink(temporary, self._note_of(temporary))

    def forget(self, temporary: str) -> None:
        """Drops the note of a file that is gone."""
        with suppress(OSError):
            os.unlink(self._note_of(temporary))

    def _note_of(self, temporary: str) -> str:
        return os.path.join(self._directory, self._id + os.path.basename(temporary))

    def remove_abandoned(self) -> None:
        """Removes the files of this root that dead processes have noted and left, and the notes."""
        _follow_all(self._directory, lambda root: root == self._id)


def remove_all_abandoned(state_directory: str) -> None:
    """The same for all roots that no open mirror of any process uses."""

    def is_unused(root: str) -> bool:
        mark = UseMark(os.path.join(state_directory, f"{root}.use"))
        try:
            return mark.is_alone()
        finally:
            mark.release()

    _follow_all(os.path.join(state_directory, _DIRECTORY), is_unused)


def _follow_all(directory: str, concerns: Callable[[str], bool]) -> None:
    if not os.path.isdir(directory) or not is_trusted(*os.path.split(directory)):
        return
    with suppress(OSError), os.scandir(directory) as notes:
        for note in notes:
            root, dot, name = note.name.partition(".")
            with suppress(OSError):
                if is_temporary(dot + name) and concerns(root):
                    _follow(note, dot + name)


def _follow(note: os.DirEntry[str], name: str) -> None:
    """Whatever a note says, only a regular file of this user goes, and only if it has the temporary name ``name``."""
    path = os.readlink(note.path)
    noted = note.stat(follow_symlinks=False)
    if os.path.basename(path) != name or noted.st_uid != os.geteuid():
        return
    try:
        left = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        remove_abandoned(note.path, name)
        return
    if stat.S_ISREG(left.st_mode) and left.st_uid == noted.st_uid and remove_abandoned(path):
        logger.info("removed %s, which a killed download had left", path)
        os.unlink(note.path)
