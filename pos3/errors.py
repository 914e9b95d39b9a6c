"""Every error that pos3 raises on purpose.

Each class extends :class:`Pos3Error` and the built-in exception that a caller would expect, so both
``except pos3.Pos3Error`` and ``except FileNotFoundError`` work. Messages say what failed, where, and what
to do about it. No message carries a secret, or a control character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pos3.redaction import escaped, redacted


class Pos3Error(Exception):
    """Base of all errors that pos3 raises on purpose.

    Its texts show no secret that this process has used. Control characters are escaped, so that a key or a server's
    message stays within its line.
    """

    _has_lines: ClassVar[bool] = False

    def __init__(self, *args: object):
        super().__init__(*(redacted(arg, keeps_lines=self._has_lines) if isinstance(arg, str) else arg for arg in args))


class NoMirrorError(Pos3Error, RuntimeError):
    """A pos3 function was called outside ``with pos3.mirror():``, or it is unclear which mirror is meant."""


class InvalidArgumentError(Pos3Error, ValueError):
    """An argument has a value that cannot work. Nothing was changed.

    ``argument`` is the name of the argument as the caller used it, or "" if the error is not about a single argument.
    """

    def __init__(self, *args: object, argument: str = ""):
        super().__init__(*args)
        self.argument = argument


class InvalidURLError(InvalidArgumentError):
    """A URL names no bucket, has the wrong scheme, or cannot be a path. Nothing was changed.

    ``url`` is the given text without passwords, or "" if none was given.
    """

    def __init__(self, *args: object, argument: str = "", url: str = ""):
        super().__init__(*args, argument=argument)
        self.url = redacted(url)


class ProfileError(InvalidArgumentError):
    """A profile is unknown, incomplete or contradicts another. Nothing was changed."""


class ConflictError(InvalidArgumentError):
    """Two registrations, of the same mirror or of different ones, would write the same place. Nothing was changed."""


class ClaimError(Pos3Error, OSError):
    """The list of the local paths that this user's mirrors write cannot be read or written. Nothing was changed."""


class UnsafeKeysError(Pos3Error, ValueError):
    """Some keys cannot be files below the target directory, or some files cannot be keys.

    In this case, a download transfers nothing. A push has pushed all other files and deleted nothing.

    ``problems`` lists at most a hundred of the keys or files, each with its reason. ``outcome`` says what was
    transferred nevertheless, and ``advice`` what the user can do.
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
    """The plan would delete or overwrite more than was allowed. Nothing was changed."""

    _has_lines = True


class FingerprintMismatchError(Pos3Error, ValueError):
    """The objects at a URL are not those that a fingerprint stands for.

    ``url`` is where they are, ``expected`` the fingerprint that was asked for, and ``actual`` that of the objects now,
    or None if there are none or it is not known. ``new``, ``gone`` and ``changed`` hold at most ten paths each. All are
    empty if this cache has no record of what the objects were.
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

    ``url`` is the object, prefix or bucket of the request, without secrets; it is "" if that is not known.
    """

    def __init__(self, *args: object, url: str = ""):
        super().__init__(*args)
        self.url = redacted(url)


class RemoteNotFoundError(StoreError, FileNotFoundError):
    """At the URL there is neither an object nor a prefix with objects."""


class IncompleteSetError(RemoteNotFoundError):
    """A set of objects has no marker, so it is not complete, or its objects are not those that its marker names."""


class VersionsDeletedError(StoreError, FileNotFoundError):
    """Versions of objects that a download as of an earlier time needs were deleted for good. Nothing was changed.

    ``paths`` holds at most a hundred of the objects, relative to ``url``.
    """

    def __init__(self, *args: object, url: str = "", paths: Sequence[str] = ()):
        super().__init__(*args, url=url)
        self.paths = tuple(paths)


class BucketNotFoundError(RemoteNotFoundError):
    """The bucket does not exist at this endpoint."""


class AccessDeniedError(StoreError, PermissionError):
    """The credentials do not allow the request."""


class CredentialsError(StoreError, PermissionError):
    """There are no credentials, or the store does not accept them (unknown, expired, clock skew)."""


class EndpointError(StoreError, ConnectionError):
    """The endpoint cannot be reached, or does not speak the protocol."""


class OfflineError(EndpointError):
    """A mirror works offline, and something needs the store: the cache does not hold it completely, or keeps it.

    Nothing was lost: what was to be uploaded is kept, and is pushed by a mirror that can reach the store.
    """


class ObjectChangedError(StoreError):
    """An object was replaced while it was being read."""


class IntegrityError(StoreError):
    """A body arrived completely, but its content does not match the checksum of the store."""


class TransferError(Pos3Error):
    """One or more files of a transfer failed; all others were transferred.

    ``operation`` is "Download", "Upload" or "Delete". ``failures`` holds one exception for each file. ``advice`` is a
    sentence that says how to transfer the rest; it is empty if the transfer is tried again anyway.
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
        """The number of failures in words, such as "2 downloads failed"."""
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

    Everything else was pushed, and nothing was deleted. It is one of the ``failures`` of a :class:`TransferError`.
    ``path`` is what could not be pushed.
    """


class LocalChangedError(_LocalError):
    """Somebody else changed the local file ``path`` during a download. The download did not replace it."""


class NoSpaceError(_LocalError):
    """The disk has not enough free space for the download to ``path``. Nothing was transferred."""


class PushTimeoutError(Pos3Error, TimeoutError):
    """A push did not end within its timeout."""


class TransferCancelledError(Pos3Error):
    """A transfer was stopped by an interrupt, or because its mirror ended."""


class Terminated(SystemExit):
    """SIGTERM arrived inside a mirror. It unwinds like any exception, and ends the process with status 143."""


def message_of(error: BaseException) -> str:
    """The message of an error with control characters escaped. An error of pos3 may have several lines."""
    return str(error) if isinstance(error, Pos3Error) else escaped(str(error))
