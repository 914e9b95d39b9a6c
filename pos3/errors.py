"""Every error that pos3 raises on purpose.

Each class extends :class:`Pos3Error` and the built-in exception that a caller would expect, so both
``except pos3.Pos3Error`` and ``except FileNotFoundError`` work. Messages say what failed, where, and what
to do about it. No message carries a secret, or a control character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pos3.redaction import escaped, shown


class Pos3Error(Exception):
    """Base of all errors that pos3 raises on purpose.

    Its texts show neither the secrets that this process has used, nor control characters: those come escaped, so that
    a key or a server's message stays within its line.
    """

    _has_lines: ClassVar[bool] = False

    def __init__(self, *args: object):
        super().__init__(*(shown(arg, keeps_lines=self._has_lines) if isinstance(arg, str) else arg for arg in args))


class NoMirrorError(Pos3Error, RuntimeError):
    """A pos3 function was called outside ``with pos3.mirror():``, or it is unclear which mirror is meant."""


class InvalidArgumentError(Pos3Error, ValueError):
    """An argument has a value that cannot work. Nothing was changed.

    ``argument`` is the name of the argument, as the caller has used it, or "" where no single one is meant.
    """

    def __init__(self, *args: object, argument: str = ""):
        super().__init__(*args)
        self.argument = argument


class InvalidURLError(InvalidArgumentError):
    """A URL names no bucket, has the wrong scheme, or cannot be a path. Nothing was changed.

    ``url`` is what was given, as it may be shown: without passwords. It is "" where nothing was.
    """

    def __init__(self, *args: object, argument: str = "", url: str = ""):
        super().__init__(*args, argument=argument)
        self.url = shown(url)


class ProfileError(InvalidArgumentError):
    """A profile is unknown, incomplete or contradicts another. Nothing was changed."""


class ConflictError(InvalidArgumentError):
    """Two registrations, of one mirror or of several, would write the same place. Nothing was changed."""


class ClaimError(Pos3Error, OSError):
    """The list of local paths that mirrors of this user write cannot be used. Nothing was changed."""


class UnsafeKeysError(Pos3Error, ValueError):
    """Some keys cannot be files below the target directory, or some files cannot be keys.

    A download transfers nothing then. A push has pushed all other files, and deleted nothing.

    ``problems`` lists each key or file with its reason, at most a hundred of them; ``outcome`` says what was done all
    the same, and ``advice`` what can be done.
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
        self.problems = tuple(map(shown, problems))
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


class StoreError(Pos3Error, OSError):
    """A store could not do what was asked of it.

    ``url`` is what it was asked for, as it may be shown: an object, a prefix or a bucket; "" where it is not known.
    """

    def __init__(self, *args: object, url: str = ""):
        super().__init__(*args)
        self.url = shown(url)


class RemoteNotFoundError(StoreError, FileNotFoundError):
    """No object and no prefix with objects is at the URL."""


class IncompleteSetError(RemoteNotFoundError):
    """A set of objects has no marker that says that it is complete, or is not what its marker says."""


class BucketNotFoundError(RemoteNotFoundError):
    """The bucket does not exist at this endpoint."""


class AccessDeniedError(StoreError, PermissionError):
    """The credentials do not allow the request."""


class CredentialsError(StoreError, PermissionError):
    """There are no credentials, or the store does not accept them (unknown, expired, clock skew)."""


class EndpointError(StoreError, ConnectionError):
    """The endpoint cannot be reached or does not speak the protocol."""


class ObjectChangedError(StoreError):
    """An object was replaced while it was being read."""


class IntegrityError(StoreError):
    """A body arrived whole in length or form, but it is not what the store says it is."""


class TransferError(Pos3Error):
    """One or more files of a transfer failed; the others were carried out.

    ``operation`` is "Download", "Upload" or "Delete"; ``failures`` holds one exception a file. ``advice`` is a sentence
    that says how to do what is left; it is empty where the transfer will be tried again anyway.
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
        """How many failed, in words: "2 downloads failed"."""
        return f"{len(self.failures)} {self.operation.lower()}{'' if len(self.failures) == 1 else 's'} failed"

    def __reduce__(self) -> tuple[type[TransferError], tuple[str, list[BaseException], str], dict[str, Any]]:
        return type(self), (self.operation, self.failures, self.advice), self.__dict__


class _LocalError(Pos3Error, OSError):
    """``path`` is the local path that it is about, or "" where that is not known."""

    def __init__(self, *args: object, path: str = ""):
        super().__init__(*args)
        self.path = path or (self.filename if isinstance(self.filename, str) else "")


class NotPushedError(_LocalError):
    """Something local could not be pushed, such as a directory that may not be read. All else was; nothing was deleted.

    It is one of the ``failures`` of a :class:`TransferError`. ``path`` is what could not be pushed.
    """


class LocalChangedError(_LocalError):
    """A local file, ``path``, was changed by somebody else during a download. It was left as it is."""


class NoSpaceError(_LocalError):
    """The disk has no room for what is to be downloaded to ``path``. Nothing was transferred."""


class PushTimeoutError(Pos3Error, TimeoutError):
    """A push did not end within the time it was given."""


class TransferCancelledError(Pos3Error):
    """A transfer was stopped from outside, by an interrupt or at the mirror's exit."""


class Terminated(SystemExit):
    """SIGTERM arrived inside a mirror. Unwinds like any exception and ends the process with status 143."""


def message_of(error: BaseException) -> str:
    """What an error says, as it may be shown. The lines of one of pos3's own are its own."""
    return str(error) if isinstance(error, Pos3Error) else escaped(str(error))
