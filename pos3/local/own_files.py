"""Opens only files and directories that no other user can write.

Another local user may put a link, a FIFO or a file at a path where pos3 expects one of its own files. So pos3 opens
only regular files that belong to this user, have one name, and cannot be written by others. :func:`is_trusted` checks
the directory. Settings may also belong to root, because administrators install them.
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
_WRITABLE_BY_OTHERS = "other users may write to it"
_warned: set[tuple[str, str]] = set()


class ForeignFileError(PermissionError):
    """Another user may have written the file. ``strerror`` has the reason."""

    def __init__(self, path: str, reason: str):
        super().__init__(errno.EPERM, reason, path)


def make_private(directory: str) -> None:
    """Creates a directory that other users cannot read, unless it exists. Its parents get ordinary permissions."""
    os.makedirs(directory, mode=0o700, exist_ok=True)


def open_lock(path: str, *, make: bool = True) -> int:
    """A descriptor of a lock file. Its owner does not matter, because its content is not used.

    Raises:
        OSError: it is not a regular file, or it cannot be opened.
    """
    descriptor = _opened(path, os.O_RDWR | os.O_CREAT if make else os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ForeignFileError(path, "it is no regular file; remove it")
    return descriptor


def open_own(path: str, flags: int) -> int:
    """A descriptor of a file that belongs to this user and cannot be written by others.

    Raises:
        ForeignFileError: another user may have written the file.
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
    return _foreign_write_problem(status)


def _foreign_write_problem(status: os.stat_result, *other_owners: int) -> str:
    if status.st_uid not in (os.geteuid(), *other_owners):
        return f"it belongs to another user ({status.st_uid})"
    by_group = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    if by_group or status.st_mode & stat.S_IWOTH:
        return f"{_WRITABLE_BY_OTHERS} (mode {stat.S_IMODE(status.st_mode):03o})"
    return ""


def _is_own_group(group_id: int) -> bool:
    """Whether the user is the only member of the group.

    Many systems create such a group for each user. A group without a name counts, too: containers run with such groups,
    and Kubernetes makes volumes writable for them (fsGroup).
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
    """Whether no other user can write to the directory and to the files and directories with these names in it.

    Those that do not exist count as trusted. If the result is False, a warning says why, once, with advice.
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
        advice = (
            f"run: chmod -R go-w {directory}" if _WRITABLE_BY_OTHERS in problem else "remove it, or use another cache"
        )
        warn_once(path, f"{problem}, so what is in it is not used; {advice}")
    return not problem


def directory_problem(directory: str) -> str:
    """The reason why other users may write to a directory, or "".

    Raises:
        OSError: it does not exist, or its status cannot be read.
    """
    status = os.lstat(directory)
    if stat.S_ISLNK(status.st_mode):
        return _LINK
    return _foreign_write_problem(status) if stat.S_ISDIR(status.st_mode) else "it is no directory"


def _problem_of_entry(path: str) -> str:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ""
    return _foreign_write_problem(status) if stat.S_ISDIR(status.st_mode) else _problem(status)


def warn_once(path: str, message: str) -> None:
    """Logs a warning about a path, once for each message."""
    if (path, message) not in _warned:
        _warned.add((path, message))
        logger.warning("%s: %s", path, message)


def read_settings(path: Path) -> str:
    """The text of a settings file that belongs to this user or to root. Symbolic links are followed.

    Raises:
        ForeignFileError: another user may have written it.
        OSError, UnicodeDecodeError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ForeignFileError(str(path), "it is no regular file")
        if problem := _foreign_write_problem(status, _ROOT):
            raise ForeignFileError(
                str(path), f"{problem}; run: chmod go-w {path}" if _WRITABLE_BY_OTHERS in problem else problem
            )
        return file.read()
