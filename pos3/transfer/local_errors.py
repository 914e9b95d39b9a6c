"""Errors of the local disk, in terms of the files that the user knows, and with what can be done."""

from __future__ import annotations

import errno

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


class explaining_write_errors:  # noqa: N801 - it is used as a function
    """Raises what the system refuses inside as an error of ``target``, which is written under another name at first.

    It is no generator, because it is entered for each file.
    """

    __slots__ = ("_target", "_temporary")

    def __init__(self, target: str, temporary: str):
        self._target = target
        self._temporary = temporary

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        # Errors of a store have no number, and failed writes no name.
        if isinstance(error, OSError) and error.errno:
            path = self._target if error.filename in (None, self._temporary) else error.filename
            raise _advised(error, _WRITING, path) from error


class explaining_read_errors:  # noqa: N801 - as above
    """Raises what the system refuses inside as an error of the file ``source``.

    Raises:
        NotPushedError: the file may not be read, which says nothing about the next one.
    """

    __slots__ = ("_source",)

    def __init__(self, source: str):
        self._source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError) and error.errno:
            path = error.filename or self._source
            if error.errno in (errno.EACCES, errno.EPERM):
                told = f"{error.strerror} ({_READING[error.errno]})"
                raise NotPushedError(error.errno, told, path) from error
            raise _advised(error, _READING, path) from error


def _advised(error: OSError, advice: dict[int, str], path: str) -> OSError:
    """The same kind of error, by its number."""
    told = advice.get(error.errno or 0)
    return OSError(error.errno, f"{error.strerror} ({told})" if told else error.strerror, path)
