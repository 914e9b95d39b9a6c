"""Local trees as listings, in the order in which S3 lists keys."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pos3.entry import BROKEN_LINK, LOST_FOUND, UNREADABLE, Entry
from pos3.plan import SYMLINK
from pos3.temporary import is_temporary, temporary_name

_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_GONE = "gone while it was listed"
_LOST_FOUND = "lost+found/"


@dataclass(frozen=True)
class Scan:
    """How to walk a local tree.

    ``takes_part`` and ``prunes`` are predicates of a relative path; with ``follow_symlinks`` off, a link is listed as
    unusable and never walked through. ``on_temporary`` gets the absolute path of each temporary file.
    """

    follow_symlinks: bool
    takes_part: Callable[[str], bool]
    prunes: Callable[[str], bool]
    on_temporary: Callable[[os.DirEntry[str]], None] = lambda entry: None


def local_entries(root: str, scan: Scan) -> Iterator[Entry]:
    """Every file and empty directory below ``root``, in code-point order of their relative paths.

    A root that is a file is listed with path ""; one that does not exist gives nothing. What exists but cannot be
    transferred (broken link, FIFO, socket, device, unreadable directory, a link that leads back to a directory above
    it, the lost+found of a mount point) is listed with the reason in ``unusable``; a directory's path ends in "/".

    Raises:
        OSError: the machine is in trouble, and not the file: what could not be listed must not look left out.
    """
    try:
        status = os.stat(root)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(root, "", scan, ())
    elif stat.S_ISREG(status.st_mode):
        yield Entry.of_file("", status)
    else:
        yield Entry("", unusable=_kind(status.st_mode))


def _walk(root: str, prefix: str, scan: Scan, passed: tuple[str, ...]) -> Iterator[Entry]:
    # The path of a directory ends in "/", so that it sorts where what lies below it does.
    children: dict[str, os.DirEntry[str]] = {}
    is_empty = True
    try:
        with os.scandir(f"{root}/{prefix}" if prefix else root) as found:
            for child in found:
                name = child.name
                if name.startswith(".pos3-") and is_temporary(name):
                    scan.on_temporary(child)
                    continue
                is_empty = False
                is_directory = _is_directory(child, scan.follow_symlinks)
                children[f"{prefix}{name}/" if is_directory else prefix + name] = child
    except OSError as error:
        yield Entry(prefix, unusable=_reason(error))
        return
    if is_empty:
        if prefix and scan.takes_part(prefix):
            yield Entry(prefix)
        return
    takes_part, prunes = scan.takes_part, scan.prunes
    for path in sorted(children):
        child = children[path]
        if path[-1] != "/":
            if takes_part(path):
                yield _file(path, child, scan.follow_symlinks)
        elif not prunes(path):
            if path == _LOST_FOUND and os.path.ismount(root):
                yield Entry(path, unusable=LOST_FOUND)
            elif child.is_symlink():
                yield from _walk_link(root, path, child, scan, passed)
            else:
                yield from _walk(root, path, scan, passed)


def _walk_link(root: str, path: str, child: os.DirEntry[str], scan: Scan, passed: tuple[str, ...]) -> Iterator[Entry]:
    here, target = os.path.realpath(os.path.dirname(child.path)), os.path.realpath(child.path)
    if any(f"{directory}/".startswith(f"{target}/") for directory in (*passed, here)):
        yield Entry(path, unusable="a symbolic link to a directory above it")
    else:
        yield from _walk(root, path, scan, (*passed, here))


def _is_directory(child: os.DirEntry[str], follow_symlinks: bool) -> bool:
    try:
        return child.is_dir(follow_symlinks=follow_symlinks)
    except OSError:
        return False


def _file(path: str, child: os.DirEntry[str], follow_symlinks: bool) -> Entry:
    try:
        if child.is_symlink() and not follow_symlinks:
            return _link(path, child)
        status = child.stat()
    except OSError as error:
        return Entry(path, unusable=_reason_of_link(error) if child.is_symlink() else _reason(error))
    if not stat.S_ISREG(status.st_mode):
        return Entry(path, unusable=_kind(status.st_mode))
    return Entry.of_file(path, status)


def _reason(error: OSError) -> str:
    """Why something takes no part. What is no matter of its own, such as a lack of descriptors, is raised."""
    if error.errno not in _OF_THE_FILE:
        raise error
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _GONE
    return f"{UNREADABLE} ({error.strerror})"


def _reason_of_link(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BROKEN_LINK
    return "a symbolic link to itself" if error.errno == errno.ELOOP else _reason(error)


def _link(path: str, child: os.DirEntry[str]) -> Entry:
    """A link, with the state of the file it leads to: an upload may have followed it and left a record."""
    try:
        status = child.stat()
    except OSError:
        return Entry(path, unusable=SYMLINK)
    return Entry.of_file(path, status, SYMLINK)


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "neither a file nor a directory"


def ignores_case(directory: str) -> bool:
    """Whether the file system that holds ``directory`` takes names that differ in case for the same."""
    name = temporary_name()
    path = os.path.join(directory, name)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        return False
    try:
        return os.path.exists(os.path.join(directory, name.upper()))
    finally:
        os.unlink(path)


def existing_parent(path: str) -> str:
    """``path``, or the innermost directory around it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
