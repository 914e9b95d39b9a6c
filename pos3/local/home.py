"""Resolves "~", also for users without a home directory."""

from __future__ import annotations

import os

from pos3.errors import InvalidArgumentError

# The default cache of a user without a home directory. Nothing can be created there.
NO_HOME = "/dev/null/no-home"


def expanded(path: str | os.PathLike[str], argument: str = "") -> str:
    """The path with a leading "~" resolved. The result never begins with "~".

    Raises:
        InvalidArgumentError: no home directory is known. The message names ``argument``.
    """
    text = os.fspath(path)
    found = os.path.expanduser(text)
    if not found.startswith("~"):
        return found
    named = f"{argument}={text!r}" if argument else repr(text)
    user = text[1:].partition("/")[0]
    if user:
        raise InvalidArgumentError(
            f"{named}: there is no user {user!r}; a path of such a name begins with './'", argument=argument
        )
    raise InvalidArgumentError(
        f"{named}: no home directory is known, as HOME is not set and the user has no entry in the password database; "
        "set HOME, or name another place",
        argument=argument,
    )
