"""The home directory, which not every user has."""

from __future__ import annotations

import os

from pos3.errors import InvalidArgumentError

# Where the default cache is if there is no home directory: nobody can make anything there.
NO_HOME = "/dev/null/no-home"


def expanded(path: str | os.PathLike[str], argument: str = "") -> str:
    """The path with a "~" at its beginning resolved. It never begins with "~" afterwards.

    Raises:
        InvalidArgumentError: no home directory is known; ``argument`` names what was given.
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
