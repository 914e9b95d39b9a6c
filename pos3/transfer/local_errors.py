"""Errors of the local disk. They name the user's files, not temporary ones, and say what to do."""

from __future__ import annotations

import errno

from pos3.errors import NotPushedError

_ELSEWHERE = "choose another place with local=..."
_WRITING = {
    errno.EACCES: f"give this user write permission, or {_ELSEWHERE}",
    errno.EPERM: f"give this user write permission, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: f"make room, or {_ELSEWHERE}",
    errno.EDQUOT: f"make room, or {_ELSEWHERE}",
    errno.EFBIG: f"raise the limit, or {_ELSEWHERE}",
    errno.ENAMETOOLONG: "leave it out with exclude=[...]",
    errno.EMFILE: "allow more open files, as with ulimit -n",
    errno.ENFILE: "allow more open files, as with ulimit -n",
}
_READING = {
    errno.EACCES: "give this user read permission, or leave it out with exclude=[...]",
    errno.EPERM: "give this user read permission, or leave it out with exclude=[...]",
    errno.EMFILE: _WRITING[errno.EMFILE],
    errno.ENFILE: _WRITING[errno.ENFILE],
}


class explaining_write_errors:  # noqa: N801 - it is used as a function
    """Raises errors of the system in the block as errors of ``target``, which is first written under a temporary name.

    It is a class and not a generator, because it is entered for each file, and a class is faster.
    """

    __slots__ = ("_target", "_temporary")

    def __init__(self, target: str, temporary: str):
        self._target = target
        self._temporary = temporary

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        # Errors of a store have no errno. Failed writes have no file name.
        if isinstance(error, OSError) and error.errno:
            path = self._target if error.filename in (None, self._temporary) else error.filename
            raise _advised(error, _WRITING, path) from error


class explaining_read_errors:  # noqa: N801 - as above
    """Raises errors of the system in the block as errors of the file ``source``.

    Raises:
        NotPushedError: there is no permission to read the file. Other files may still be read.
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
    """The same kind of error, with advice for its number."""
    told = advice.get(error.errno or 0)
    return OSError(error.errno, f"{error.strerror} ({told})" if told else error.strerror, path)
