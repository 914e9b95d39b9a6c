"""Errors of the local disk, in terms of the files that the user knows, and with what can be done."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pos3.errors import NotPushedError

_ELSEWHERE = "choose another place with local=..."
_WRITING = {
    errno.EACCES: f"allow to write there, or {_ELSEWHERE}",
    errno.EPERM: f"allow to write there, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: f"make room, or {_ELSEWHERE}",
    errno.EDQUOT: f"make room, or {_ELSEWHERE}",
    errno.EFBIG: f"raise the limit, or {_ELSEWHERE}",
    errno.ENAMETOOLONG: "leave it out with exclude=[...]",
    errno.EMFILE: "allow more open files, as with ulimit -n",
    errno.ENFILE: "allow more open files, as with ulimit -n",
}
_READING = {
    errno.EACCES: "allow to read it, or leave it out with exclude=[...]",
    errno.EPERM: "allow to read it, or leave it out with exclude=[...]",
    errno.EMFILE: _WRITING[errno.EMFILE],
    errno.ENFILE: _WRITING[errno.ENFILE],
}


@contextmanager
def explaining_write_errors(target: str, temporary: str) -> Iterator[None]:
    """Raises what the system refuses inside as an error of ``target``, which is written under another name at first."""
    try:
        yield
    except OSError as error:
        # Errors of a store have no number, and failed writes no name.
        if not error.errno:
            raise
        path = target if error.filename in (None, temporary) else error.filename
        raise _advised(error, _WRITING, path) from error


@contextmanager
def explaining_read_errors(source: str) -> Iterator[None]:
    """Raises what the system refuses inside as an error of the file ``source``.

    Raises:
        NotPushedError: the file may not be read, which says nothing about the next one.
    """
    try:
        yield
    except OSError as error:
        if not error.errno:
            raise
        if error.errno in (errno.EACCES, errno.EPERM):
            told = f"{error.strerror} ({_READING[error.errno]})"
            raise NotPushedError(error.errno, told, error.filename or source) from error
        raise _advised(error, _READING, error.filename or source) from error


def _advised(error: OSError, advice: dict[int, str], path: str) -> OSError:
    """The same kind of error, by its number."""
    told = advice.get(error.errno or 0)
    return OSError(error.errno, f"{error.strerror} ({told})" if told else error.strerror, path)
