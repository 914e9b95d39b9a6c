"""Local trees as listings, in the order in which S3 lists keys."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pos3.entries import BROKEN_LINK, LINK_TO_STATE, LOST_FOUND, SYMLINK, UNREADABLE, Entry
from pos3.local.paths import is_within
from pos3.local.state_directory import STATE_DIRECTORY, state_directory_around
from pos3.local.temporary import is_temporary, temporary_name

_USUAL_PATH_BYTES = 4096
_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_GONE = "gone while it was listed"
_LOST_FOUND = "lost+found/"


@dataclass(frozen=True)
class Scan:
    """How to walk a local tree.

    ``takes_part`` and ``prunes`` are predicates of a relative path; with ``follow_symlinks`` off, a link is listed as
    unusable and never walked through. ``on_own`` gets what is pos3's own: temporary files and state directories.
    """

    follow_symlinks: bool
    takes_part: Callable[[str], bool]
    prunes: Callable[[str], bool]
    on_own: Callable[[os.DirEntry[str]], None] = lambda entry: None


def local_entries(root: str, scan: Scan) -> Iterator[Entry]:
    """Every file and empty directory below ``root``, in code-point order of their relative paths.

    A root that is a file is listed with path ""; one that does not exist gives nothing. What exists but cannot be
    transferred (broken link, FIFO, socket, device, unreadable directory, a link that leads back to a directory above
    it or into a state directory, the lost+found of a mount point) is listed with the reason in ``unusable``; a
    directory's path ends in "/".

    Raises:
        OSError: the machine is in trouble, and not the file: what could not be listed must not look left out.
    """
    try:
        status = os.stat(root)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(root, scan)
    elif stat.S_ISREG(status.st_mode):
        yield Entry.of_file("", status)
    else:
        yield Entry("", unusable=_kind(status.st_mode))


def _walk(root: str, scan: Scan) -> Iterator[Entry]:
    # Directories that are begun, outermost first: paths still to come, what they are, and links that led there. A stack
    # of its own, since the interpreter's is not as deep as a tree can be.
    begun: list[tuple[Iterator[str], dict[str, os.DirEntry[str]], tuple[str, ...]]] = []
    takes_part, prunes = scan.takes_part, scan.prunes
    inside: str | None = ""
    passed: tuple[str, ...] = ()
    while inside is not None or begun:
        if inside is not None:
            try:
                children = _children(root, inside, scan)
            except OSError as error:
                yield Entry(inside, unusable=_reason(error))
            else:
                if children:
                    begun.append((iter(sorted(children)), children, passed))
                elif inside and takes_part(inside):
                    yield Entry(inside)
            inside = None
            continue
        paths, children, passed = begun[-1]
        for path in paths:
            child = children[path]
            if path[-1] != "/":
                if takes_part(path):
                    yield _file(path, child, scan.follow_symlinks)
            elif not prunes(path):
                if unusable := _not_entered(root, path, child, passed):
                    yield Entry(path, unusable=unusable)
                    continue
                inside, passed = path, _with(child, passed) if child.is_symlink() else passed
                break
        else:
            begun.pop()


def _not_entered(root: str, path: str, child: os.DirEntry[str], passed: tuple[str, ...]) -> str:
    """Why a directory is not walked through, or ""."""
    if path == _LOST_FOUND and os.path.ismount(root):
        return LOST_FOUND
    if child.is_symlink() and _leads_back(child, passed):
        return "a symbolic link to a directory above it"
    return LINK_TO_STATE if child.is_symlink() and state_directory_around(child.path) else ""


def _with(link: os.DirEntry[str], passed: tuple[str, ...]) -> tuple[str, ...]:
    return (*passed, os.path.realpath(os.path.dirname(link.path)))


def _leads_back(link: os.DirEntry[str], passed: tuple[str, ...]) -> bool:
    """Whether a link leads to a directory above it; ``passed`` are the real ones that hold the links on the way."""
    target = os.path.realpath(link.path)
    return any(is_within(directory, target) for directory in _with(link, passed))


def _children(root: str, prefix: str, scan: Scan) -> dict[str, os.DirEntry[str]]:
    """What lies in a directory, by paths; that of a directory ends in "/", so that it sorts where its content does."""
    children: dict[str, os.DirEntry[str]] = {}
    with os.scandir(f"{root}/{prefix}" if prefix else root) as found:
        for child in found:
            name = child.name
            if name.startswith(STATE_DIRECTORY) and (is_temporary(name) or _is_state(child)):
                scan.on_own(child)
                continue
            is_directory = _is_directory(child, scan.follow_symlinks)
            children[f"{prefix}{name}/" if is_directory else prefix + name] = child
    return children


def _is_state(child: os.DirEntry[str]) -> bool:
    return child.name == STATE_DIRECTORY and _is_directory(child, follow_symlinks=True)


def path_room_bytes(root: str) -> int:
    """How long a relative path below ``root`` can be, with the temporary file that is made beside it."""
    try:
        longest = os.pathconf(existing_parent(root), "PC_PATH_MAX")
    except (OSError, ValueError):
        longest = _USUAL_PATH_BYTES
    # The end of the path's text, and the slash below the root. Not even a name fits below the longest roots.
    return max(1, longest - len(os.fsencode(root)) - 2)


def _is_directory(child: os.DirEntry[str], follow_symlinks: bool) -> bool:
    try:
        return child.is_dir(follow_symlinks=follow_symlinks)
    except OSError:
        return False


def _file(path: str, child: os.DirEntry[str], follow_symlinks: bool) -> Entry:
    try:
        if child.is_symlink():
            if not follow_symlinks:
                return _link(path, child)
            if state_directory_around(child.path):
                return Entry(path, unusable=LINK_TO_STATE)
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
