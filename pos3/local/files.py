"""Reading and writing local files the way transfers need it."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence

BLOCK_BYTES = 1024 * 1024
# As many as the kernel takes at once.
_MOST_BLOCKS = min(os.sysconf("SC_IOV_MAX"), 1024)
_NEW_FILE = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


def create_file(path: str) -> int:
    """A descriptor of the new file ``path``, which must not exist yet, not even as a symbolic link."""
    return os.open(path, _NEW_FILE, 0o666)


def open_file(path: str) -> io.FileIO:
    """A file to read from. What has become a FIFO since it was listed does not hold up whoever opens it.

    Raises:
        OSError: it is no regular file, or cannot be opened.
    """
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file any more", path)
    return file


def write_all(descriptor: int, block: bytes) -> None:
    """Writes the whole block; a single ``os.write`` may stop short."""
    written = os.write(descriptor, block)
    while written < len(block):
        written += os.write(descriptor, memoryview(block)[written:])


def write_blocks_at(descriptor: int, blocks: Sequence[bytes], offset: int) -> int:
    """Writes all blocks, one after the other from ``offset`` on, and returns how many bytes that are."""
    begin = offset
    for first in range(0, len(blocks), _MOST_BLOCKS):
        some = blocks[first : first + _MOST_BLOCKS]
        wanted = sum(map(len, some))
        written = os.pwritev(descriptor, some, offset)
        if written < wanted:
            rest = memoryview(b"".join(some))
            while written < wanted:
                written += os.pwrite(descriptor, rest[written:], offset + written)
        offset += wanted
    return offset - begin


def read_at(descriptor: int, size_bytes: int, offset: int) -> bytes:
    """What a file holds from ``offset`` on, at most ``size_bytes`` of it."""
    found = os.pread(descriptor, size_bytes, offset)
    if len(found) == size_bytes or not found:
        return found
    return found + read_at(descriptor, size_bytes - len(found), offset + len(found))


def blocks(path: str, limit_bytes: int | None = None) -> Iterator[bytes]:
    """The content of a file, at most ``limit_bytes`` of it, in blocks of 1 MiB."""
    left = limit_bytes
    with open_file(path) as file:
        while left is None or left > 0:
            block = file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
            if not block:
                return
            if left is not None:
                left -= len(block)
            yield block
