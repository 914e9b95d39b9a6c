"""Puts files in place and removes them, unless they were changed since the plan was made."""

from __future__ import annotations

import errno
import filecmp
import os
import stat
from contextlib import suppress

from pos3.entries import SYMLINK, Entry
from pos3.errors import LocalChangedError

# File systems without hard links raise one of these errors.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}


def put_in_place(temporary: str, target: str, before: Entry | None) -> bool:
    """Renames a finished file to its target. A reader of the target sees the old file or the new one.

    It costs one more system call than a rename. A change between the check and the rename is not noticed.

    Args:
        before: what the plan saw at ``target``; None for nothing.

    Returns:
        whether the target is this file now. It is False if another process has put a file with the same content there.

    Raises:
        LocalChangedError: something else is at the target now, with other content. It is not changed.
    """
    if before is None:
        return _put_where_nothing_is(temporary, target)
    now = _state(target)
    if now is not None and not is_as_seen(now, before):
        _accept_or_refuse(temporary, target)
        return False
    _replace(temporary, target)
    return True


def _put_where_nothing_is(temporary: str, target: str) -> bool:
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.EEXIST, *_NO_LINKS}:
            raise
        if os.path.lexists(target) and not _is_directory(target):
            _accept_or_refuse(temporary, target)
            return False
        _replace(temporary, target)
    else:
        os.unlink(temporary)
    return True


def _replace(temporary: str, target: str) -> None:
    """Renames the file over the target. An empty directory is replaced; one that is not empty is an error."""
    try:
        os.replace(temporary, target)
    except IsADirectoryError:
        os.rmdir(target)
        os.replace(temporary, target)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _accept_or_refuse(temporary: str, target: str) -> None:
    """Accepts the file at the target if it is equal, because another process may have downloaded the same object."""
    is_same = False
    with suppress(OSError):
        is_same = stat.S_ISREG(os.lstat(target).st_mode) and filecmp.cmp(temporary, target, shallow=False)
    if not is_same:
        raise LocalChangedError(
            f"{target} was changed by somebody else during its download, and was left as it is; download it again",
            path=target,
        )
    os.unlink(temporary)


def remove(target: str, before: Entry) -> bool:
    """Removes a file. Returns whether it existed.

    Raises:
        LocalChangedError: it is not as the plan saw it. It is not changed.
    """
    now = _state(target)
    if now is None:
        return False
    if not is_as_seen(now, before):
        raise LocalChangedError(
            f"{target} was changed while the download was under way, and was not deleted; download again", path=target
        )
    os.unlink(target)
    return True


def _state(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_as_seen(now: os.stat_result, before: Entry) -> bool:
    """Whether a file is the same as in an earlier listing."""
    if before.unusable:
        return stat.S_ISLNK(now.st_mode) is (before.unusable == SYMLINK)
    there = Entry.of_file(before.path, now)
    seen = (before.size_bytes, before.modified_ns, before.inode)
    return seen == (there.size_bytes, there.modified_ns, there.inode) and stat.S_ISREG(now.st_mode)
