"""Files and directories that are this user's alone. What others could have written there is neither read nor followed.

Another local user may put a link, a FIFO or a file of his own where pos3 looks for what it has written itself. So what
is opened is a regular file of this user with one name, which nobody else can write; :func:`is_trusted` says the same of
the directory that holds it. Root counts as this user for settings, since administrators install those.
"""

from __future__ import annotations

import errno
import grp
import logging
import os
import pwd
import stat
from pathlib import Path

logger = logging.getLogger("pos3")

_ROOT = 0
_LINK = "it is a symbolic link"
_OPEN = "other users may write to it"
_told: set[tuple[str, str]] = set()


class ForeignFileError(PermissionError):
    """It is not this user's alone; ``strerror`` says why."""

    def __init__(self, path: str, reason: str):
        super().__init__(errno.EPERM, reason, path)


def make_private(directory: str) -> None:
    """Makes a directory that other users cannot look into, unless it exists; those above it are ordinary ones."""
    os.makedirs(directory, mode=0o700, exist_ok=True)


def open_lock(path: str, *, make: bool = True) -> int:
    """A descriptor of a file that only stands for a lock, so that it does not matter who has made it.

    Raises:
        OSError: it is no regular file, or cannot be opened.
    """
    descriptor = _opened(path, os.O_RDWR | os.O_CREAT if make else os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ForeignFileError(path, "it is no regular file; remove it")
    return descriptor


def open_own(path: str, flags: int) -> int:
    """A descriptor of a file that is this user's alone.

    Raises:
        ForeignFileError: it is not.
        OSError: it cannot be opened.
    """
    descriptor = _opened(path, flags)
    if problem := _problem(os.fstat(descriptor)):
        os.close(descriptor)
        raise ForeignFileError(path, problem)
    return descriptor


def _opened(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ForeignFileError(path, _LINK) from None
        raise


def _problem(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return _LINK if stat.S_ISLNK(status.st_mode) else "it is no regular file"
    if status.st_nlink > 1:
        return "it has another name elsewhere"
    return _not_alone(status)


def _not_alone(status: os.stat_result, *also_ours: int) -> str:
    if status.st_uid not in (os.geteuid(), *also_ours):
        return f"it belongs to another user ({status.st_uid})"
    by_group = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    if by_group or status.st_mode & stat.S_IWOTH:
        return f"{_OPEN} (mode {stat.S_IMODE(status.st_mode):03o})"
    return ""


def _is_own_group(group_id: int) -> bool:
    """Whether it is a group of this user alone: the one that many systems make for each user, or one without a name.

    Containers run with groups of the latter kind, and volumes of Kubernetes are made writable for them (fsGroup).
    """
    try:
        group = grp.getgrgid(group_id)
    except KeyError:
        return group_id == os.getegid() or group_id in os.getgroups()
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return (group.gr_name, group_id) == (user.pw_name, user.pw_gid) and set(group.gr_mem) <= {user.pw_name}


def is_trusted(directory: str, *names: str) -> bool:
    """Whether a directory, and files and directories of these names in it, are this user's alone, where they exist.

    If not, a warning says so once, and what can be done.
    """
    path = directory
    try:
        problem = directory_problem(directory)
        for name in names:
            if problem:
                break
            path = os.path.join(directory, name)
            problem = _problem_of_entry(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        problem = f"{error.strerror}"
    if problem:
        advice = f"run: chmod -R go-w {directory}" if _OPEN in problem else "remove it, or use another cache"
        tell_once(path, f"{problem}, so what is in it is not used; {advice}")
    return not problem


def directory_problem(directory: str) -> str:
    """Why a directory is not this user's alone, or "".

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    status = os.lstat(directory)
    if stat.S_ISLNK(status.st_mode):
        return _LINK
    return _not_alone(status) if stat.S_ISDIR(status.st_mode) else "it is no directory"


def _problem_of_entry(path: str) -> str:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ""
    return _not_alone(status) if stat.S_ISDIR(status.st_mode) else _problem(status)


def tell_once(path: str, told: str) -> None:
    """Warns of a path, and of each problem once."""
    if (path, told) not in _told:
        _told.add((path, told))
        logger.warning("%s: %s", path, told)


def read_settings(path: Path) -> str:
    """The text of a file of this user or of root, whatever links lead to it: settings are often mounted or linked.

    Raises:
        ForeignFileError: somebody else may have written it.
        OSError, UnicodeDecodeError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ForeignFileError(str(path), "it is no regular file")
        if problem := _not_alone(status, _ROOT):
            raise ForeignFileError(str(path), f"{problem}; run: chmod go-w {path}" if _OPEN in problem else problem)
        return file.read()
