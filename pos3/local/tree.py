"""Lists local trees in the order in which S3 lists keys."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pos3.entries import BROKEN_LINK, LINK_TO_STATE, LOST_FOUND, SYMLINK, UNREADABLE, Entry
from pos3.local.paths import is_within
from pos3.local.state_directory import STATE_DIRECTORY, state_directory_around
from pos3.local.temporary import is_temporary, temporary_name

_DEFAULT_PATH_BYTES = 4096
_FILE_ERRORS = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_GONE = "gone while it was listed"
_LOST_FOUND = "lost+found/"
_MAX_PROBED = 100


@dataclass(frozen=True)
class Scan:
    """How to walk a local tree.

    ``takes_part`` and ``prunes`` are predicates of a relative path. If ``follow_symlinks`` is false, a link is listed
    as unusable and not followed. ``on_internal_file`` is called with temporary files and state directories of pos3.
    """

    follow_symlinks: bool
    takes_part: Callable[[str], bool]
    prunes: Callable[[str], bool]
    on_internal_file: Callable[[os.DirEntry[str]], None] = lambda entry: None


def local_entries(root: str, scan: Scan) -> Iterator[Entry]:
    """Every file and empty directory below ``root``, in code-point order of their relative paths.

    A root that is a file is listed with path "". A root that does not exist gives no entries. What exists but cannot be
    transferred is listed with the reason in ``unusable``: a broken link, a FIFO, a socket, a device, an unreadable
    directory, a link to a directory above it or into a state directory, the lost+found of a mount point. The path of a
    directory ends in "/".

    Raises:
        OSError: an error of the machine, not of the file, such as a lack of descriptors. An entry that could not be
            listed must not look as if it did not exist.
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


def file_entry(root: str, path: str, *, follow_symlinks: bool) -> Entry | None:
    """The entry of one file below ``root``, as :func:`local_entries` lists it. None if no usable file is there."""
    full_path = os.path.join(root, path) if path else root
    try:
        if os.path.islink(full_path) and (not follow_symlinks or state_directory_around(full_path)):
            return None
        status = os.stat(full_path)
    except OSError:
        return None
    return Entry.of_file(path, status) if stat.S_ISREG(status.st_mode) else None


def _walk(root: str, scan: Scan) -> Iterator[Entry]:
    # The open directories, outermost first: remaining paths, their directory entries, and the links on the way to each.
    # A tree can be deeper than the interpreter's stack, so this is not a recursion.
    stack: list[tuple[Iterator[str], dict[str, os.DirEntry[str]], tuple[str, ...]]] = []
    takes_part, prunes = scan.takes_part, scan.prunes
    entering: str | None = ""
    links: tuple[str, ...] = ()
    while entering is not None or stack:
        if entering is not None:
            try:
                children = _children(root, entering, scan)
            except OSError as error:
                yield Entry(entering, unusable=_reason(error))
            else:
                if children:
                    stack.append((iter(sorted(children)), children, links))
                elif entering and takes_part(entering):
                    yield Entry(entering)
            entering = None
            continue
        paths, children, links = stack[-1]
        for path in paths:
            child = children[path]
            if path[-1] != "/":
                if takes_part(path):
                    yield _file(path, child, scan.follow_symlinks)
            elif not prunes(path):
                if unusable := _reason_not_to_enter(root, path, child, links):
                    yield Entry(path, unusable=unusable)
                    continue
                entering, links = path, _with_link(child, links) if child.is_symlink() else links
                break
        else:
            stack.pop()


def _reason_not_to_enter(root: str, path: str, child: os.DirEntry[str], links: tuple[str, ...]) -> str:
    """The reason why a directory is not entered, or ""."""
    if path == _LOST_FOUND and os.path.ismount(root):
        return LOST_FOUND
    if child.is_symlink() and _leads_back(child, links):
        return "a symbolic link to a directory above it"
    return LINK_TO_STATE if child.is_symlink() and state_directory_around(child.path) else ""


def _with_link(link: os.DirEntry[str], links: tuple[str, ...]) -> tuple[str, ...]:
    return (*links, os.path.realpath(os.path.dirname(link.path)))


def _leads_back(link: os.DirEntry[str], links: tuple[str, ...]) -> bool:
    """Whether a link leads to a directory above it. ``links`` are the real directories of the links on the way."""
    target = os.path.realpath(link.path)
    return any(is_within(directory, target) for directory in _with_link(link, links))


def _children(root: str, prefix: str, scan: Scan) -> dict[str, os.DirEntry[str]]:
    """The entries of a directory by their paths. A directory's path ends in "/", so it sorts like its content."""
    children: dict[str, os.DirEntry[str]] = {}
    with os.scandir(f"{root}/{prefix}" if prefix else root) as found:
        for child in found:
            name = child.name
            if name.startswith(STATE_DIRECTORY) and (is_temporary(name) or _is_state(child)):
                scan.on_internal_file(child)
                continue
            is_directory = _is_directory(child, scan.follow_symlinks)
            children[f"{prefix}{name}/" if is_directory else prefix + name] = child
    return children


def _is_state(child: os.DirEntry[str]) -> bool:
    return child.name == STATE_DIRECTORY and _is_directory(child, follow_symlinks=True)


def max_path_bytes_below(root: str) -> int:
    """The maximum length of a relative path below ``root``, in bytes."""
    try:
        longest = os.pathconf(existing_parent(root), "PC_PATH_MAX")
    except (OSError, ValueError):
        longest = _DEFAULT_PATH_BYTES
    # Two bytes are needed for the zero byte at the end and for the slash after the root. The root may need all others.
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
    """The reason why an entry is unusable. An error that is not about the entry, such as ENFILE, is raised."""
    if error.errno not in _FILE_ERRORS:
        raise error
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _GONE
    return f"{UNREADABLE} ({error.strerror})"


def _reason_of_link(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BROKEN_LINK
    return "a symbolic link to itself" if error.errno == errno.ELOOP else _reason(error)


def _link(path: str, child: os.DirEntry[str]) -> Entry:
    """The entry of a link with the status of its target, since an upload may have followed and recorded the link."""
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
    """Whether the file system of ``directory`` treats names that differ only in case as the same name.

    An entry of the directory shows it. Only where none does, a file is created for a moment, because others would see
    it.
    """
    try:
        with os.scandir(directory) as children:
            for child in itertools.islice(children, _MAX_PROBED):
                if child.name.isascii() and child.name.swapcase() != child.name and _has_one_name(child):
                    return _is_same_entry(child, child.name.swapcase())
    except OSError:
        return False
    return _ignores_case_of_new_file(directory)


def _has_one_name(child: os.DirEntry[str]) -> bool:
    """Whether the entry exists, and no hard link of it can have its name in the other case."""
    try:
        return child.is_dir(follow_symlinks=False) or child.stat(follow_symlinks=False).st_nlink == 1
    except OSError:
        return False


def _is_same_entry(child: os.DirEntry[str], name: str) -> bool:
    try:
        other = os.lstat(os.path.join(os.path.dirname(child.path), name))
        return os.path.samestat(child.stat(follow_symlinks=False), other)
    except OSError:
        return False


def _ignores_case_of_new_file(directory: str) -> bool:
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
    """``path`` if it is a directory, or else its innermost parent that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
