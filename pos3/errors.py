"""The errors that pos3 raises on purpose.

Each class extends :class:`Pos3Error` and the built-in exception that a caller would expect. So
``except pos3.Pos3Error`` and ``except FileNotFoundError`` both work. A message says what failed, where, and what to do
about it. No message contains a secret or a control character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pos3.redaction import escaped, redacted


class Pos3Error(Exception):
    """Base of all errors that pos3 raises on purpose.

    Messages show no secret that this process has used. Control characters are escaped, so a key or a message of a
    server stays within its line.
    """

    _has_lines: ClassVar[bool] = False

    def __init__(self, *args: object):
        super().__init__(*(redacted(arg, keeps_lines=self._has_lines) if isinstance(arg, str) else arg for arg in args))


class NoMirrorError(Pos3Error, RuntimeError):
    """A pos3 function was called while no mirror is open, or it is not clear which open mirror is meant."""


class InvalidArgumentError(Pos3Error, ValueError):
    """The value of an argument cannot work. Nothing was changed.

    ``argument`` is the name of the argument, or "" if the error is not about a single argument.
    """

    def __init__(self, *args: object, argument: str = ""):
        super().__init__(*args)
        self.argument = argument


class InvalidURLError(InvalidArgumentError):
    """A URL has no bucket or a wrong scheme, or it cannot be a path. Nothing was changed.

    ``url`` is the URL without passwords, or "" if no URL was given.
    """

    def __init__(self, *args: object, argument: str = "", url: str = ""):
        super().__init__(*args, argument=argument)
        self.url = redacted(url)


class ProfileError(InvalidArgumentError):
    """A profile is unknown, is incomplete or contradicts another one. Nothing was changed."""


class ConflictError(InvalidArgumentError):
    """Two registrations would write to the same place. Nothing was changed.

    The registrations may belong to one mirror or to different mirrors.
    """


class ClaimError(Pos3Error, OSError):
    """The list of local paths that the mirrors of this user write cannot be read or written. Nothing was changed."""


class UnsafeKeysError(Pos3Error, ValueError):
    """Some keys cannot be files below the local directory, or some files cannot be keys.

    A download with such keys transfers nothing. A push with such files has pushed all other files and deleted nothing.

    ``problems`` lists at most a hundred of the keys or files, each with its reason. ``outcome`` says what was
    transferred nevertheless, and ``advice`` says what to do.
    """

    _has_lines = True

    def __init__(
        self,
        where: str,
        problems: Sequence[str],
        outcome: str = "nothing was transferred",
        advice: str = "Rename them, or leave them out with exclude=[...].",
    ):
        self.where = where
        self.problems = tuple(map(redacted, problems))
        self.outcome = outcome
        self.advice = advice
        first = "\n  ".join(self.problems[:20])
        more = f"\n  and {len(self.problems) - 20} more" if len(self.problems) > 20 else ""
        super().__init__(
            f"{where}: {len(self.problems)} path(s) cannot be mirrored, {outcome}:\n  {first}{more}\n{advice}"
        )

    def __reduce__(self) -> tuple[type[UnsafeKeysError], tuple[str, tuple[str, ...], str, str], dict[str, Any]]:
        return type(self), (self.where, self.problems, self.outcome, self.advice), self.__dict__


class PlanRefusedError(Pos3Error, ValueError):
    """A transfer would delete or replace more than is allowed, or a two-way sync has found conflicts.

    The last push of an upload has uploaded its files, and deleted nothing. In all other cases, nothing was changed.
    """

    _has_lines = True


class FingerprintMismatchError(Pos3Error, ValueError):
    """The objects at a URL have changed since a fingerprint was made.

    Nothing was changed, unless the objects were replaced during the download.

    ``url`` is the URL, and ``expected`` is the given fingerprint. ``actual`` is the fingerprint of the objects now. It
    is None if there are no objects, or if it is not known. ``new``, ``gone`` and ``changed`` list at most ten paths
    each. All three are empty if this cache has no record of the earlier objects.
    """

    _has_lines = True

    def __init__(
        self,
        *args: object,
        url: str = "",
        expected: str = "",
        actual: str | None = None,
        new: Sequence[str] = (),
        gone: Sequence[str] = (),
        changed: Sequence[str] = (),
    ):
        super().__init__(*args)
        self.url = redacted(url)
        self.expected, self.actual = expected, actual
        self.new, self.gone, self.changed = tuple(new), tuple(gone), tuple(changed)


class StoreError(Pos3Error, OSError):
    """A request to a store failed.

    ``url`` is the object, prefix or bucket of the request, without secrets. It is "" if it is not known.
    """

    def __init__(self, *args: object, url: str = ""):
        super().__init__(*args)
        self.url = redacted(url)


class RemoteNotFoundError(StoreError, FileNotFoundError):
    """Nothing is at the URL: neither an object, nor a prefix with objects below it."""


class IncompleteSetError(RemoteNotFoundError):
    """A set of objects is not complete: its marker is missing, or its objects are not those that the marker lists."""


class VersionsDeletedError(StoreError, FileNotFoundError):
    """A download with ``as_of`` needs versions of objects that were deleted for good. Nothing was changed.

    ``paths`` lists at most a hundred of the objects, relative to ``url``.
    """

    def __init__(self, *args: object, url: str = "", paths: Sequence[str] = ()):
        super().__init__(*args, url=url)
        self.paths = tuple(paths)


class BucketNotFoundError(RemoteNotFoundError):
    """The bucket does not exist at this endpoint."""


class AccessDeniedError(StoreError, PermissionError):
    """The credentials do not allow the request."""


class CredentialsError(StoreError, PermissionError):
    """There are no credentials, or the store does not accept them: unknown, expired, or the clock is wrong."""


class EndpointError(StoreError, ConnectionError):
    """The endpoint cannot be reached, or it does not speak the expected protocol."""


class OfflineError(EndpointError):
    """A mirror works offline, and the call needs the store.

    Either the cache does not hold the data completely, or an upload waits for the store. Nothing is lost. Uploads are
    kept, and the next mirror that can reach the store pushes them.
    """


class ObjectChangedError(StoreError):
    """An object was replaced while it was being read."""


class IntegrityError(StoreError):
    """An object arrived completely, but its content does not match the checksum of the store."""


class TransferError(Pos3Error):
    """One or more files of a transfer failed. All others were transferred.

    ``operation`` is "Download", "Upload" or "Delete". ``failures`` has one exception for each failed file. ``advice``
    says in one sentence how to transfer the rest. It is empty if pos3 tries the transfer again by itself.
    """

    _has_lines = True

    def __init__(self, operation: str, failures: Sequence[BaseException], advice: str = ""):
        self.operation = operation
        self.failures = list(failures)
        self.advice = advice
        lines = [message_of(failure) for failure in self.failures[:5]]
        more = f"; and {len(self.failures) - 5} more" if len(self.failures) > 5 else ""
        super().__init__(f"{self.summary}: {'; '.join(lines)}{more}{f'. {advice}' if advice else ''}")

    @property
    def summary(self) -> str:
        """The number of failures as text, such as "2 downloads failed"."""
        return f"{len(self.failures)} {self.operation.lower()}{'' if len(self.failures) == 1 else 's'} failed"

    def __reduce__(self) -> tuple[type[TransferError], tuple[str, list[BaseException], str], dict[str, Any]]:
        return type(self), (self.operation, self.failures, self.advice), self.__dict__


class _LocalError(Pos3Error, OSError):
    """An error about a local path, ``path``, which is "" if it is not known."""

    def __init__(self, *args: object, path: str = ""):
        super().__init__(*args)
        self.path = path or (self.filename if isinstance(self.filename, str) else "")


class NotPushedError(_LocalError):
    """A local file or directory could not be pushed, for example because it cannot be read.

    All other files were pushed, and nothing was deleted. The error is one of the ``failures`` of a
    :class:`TransferError`. ``path`` is the file or directory.
    """


class LocalChangedError(_LocalError):
    """Another program changed the local file ``path`` during a download. The download did not replace the file."""


class NoSpaceError(_LocalError):
    """The disk has not enough free space for the download to ``path``. Nothing was transferred."""


class PushTimeoutError(Pos3Error, TimeoutError):
    """A push did not end within its timeout. The message says whether it goes on."""


class TransferCancelledError(Pos3Error):
    """A transfer was stopped by an interrupt, or because its mirror ended."""


class Terminated(SystemExit):
    """SIGTERM arrived inside a mirror. It unwinds like any exception, and ends the process with status 143."""


def message_of(error: BaseException) -> str:
    """The message of an error with control characters escaped. An error of pos3 may have several lines."""
    return str(error) if isinstance(error, Pos3Error) else escaped(str(error))
