"""Reads and writes local files as transfers need it."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence

BLOCK_BYTES = 1024 * 1024
# The kernel takes at most this number of blocks in one call.
_MAX_BLOCKS = min(os.sysconf("SC_IOV_MAX"), 1024)
_NEW_FILE = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


def create_file(path: str) -> int:
    """A descriptor of the new file ``path``. If ``path`` exists, even as a symbolic link, it raises FileExistsError."""
    return os.open(path, _NEW_FILE, 0o666)


def reopen_file(path: str) -> int:
    """A descriptor of the file ``path``, which exists and is to be written further. A link is not followed."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))


def open_file(path: str) -> io.FileIO:
    """Opens a regular file for reading. If the path has become a FIFO since it was listed, the call does not block.

    Raises:
        OSError: it is not a regular file, or it cannot be opened.
    """
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file any more", path)
    return file


def write_all(descriptor: int, block: bytes) -> None:
    """Writes the whole block. A single ``os.write`` may write only a part."""
    written = os.write(descriptor, block)
    while written < len(block):
        written += os.write(descriptor, memoryview(block)[written:])


def write_blocks_at(descriptor: int, blocks: Sequence[bytes], offset: int) -> int:
    """Writes all blocks one after the other, beginning at ``offset``, and returns the number of bytes written."""
    begin = offset
    for first in range(0, len(blocks), _MAX_BLOCKS):
        some = blocks[first : first + _MAX_BLOCKS]
        wanted = sum(map(len, some))
        written = os.pwritev(descriptor, some, offset)
        if written < wanted:
            rest = memoryview(b"".join(some))
            while written < wanted:
                written += os.pwrite(descriptor, rest[written:], offset + written)
        offset += wanted
    return offset - begin


def read_at(descriptor: int, size_bytes: int, offset: int) -> bytes:
    """The content of a file from ``offset`` on, at most ``size_bytes``."""
    found = os.pread(descriptor, size_bytes, offset)
    if len(found) == size_bytes or not found:
        return found
    return found + read_at(descriptor, size_bytes - len(found), offset + len(found))


def blocks(path: str, limit_bytes: int | None = None) -> Iterator[bytes]:
    """The content of a file in blocks of 1 MiB, at most ``limit_bytes`` in total."""
    remaining_bytes = limit_bytes
    with open_file(path) as file:
        while remaining_bytes is None or remaining_bytes > 0:
            block = file.read(BLOCK_BYTES if remaining_bytes is None else min(BLOCK_BYTES, remaining_bytes))
            if not block:
                return
            if remaining_bytes is not None:
                remaining_bytes -= len(block)
            yield block
