"""How often a request is sent and how long a connection may take, where settings of AWS say so as for boto3."""

from __future__ import annotations

import os
from typing import Any

from pos3.errors import ProfileError

# As botocore's, the first one included.
_ATTEMPTS = {"legacy": 5, "standard": 3, "adaptive": 3}


def attempts_of(session: Any) -> int | None:
    """How often a request is sent at the most; None where no setting says so.

    They are ``AWS_MAX_ATTEMPTS``, ``AWS_RETRY_MODE`` and ``AWS_DEFAULTS_MODE``, or the like in the configuration file.

    Raises:
        ProfileError: a setting has a value that it cannot have.
    """
    try:
        attempts = session.get_config_variable("max_attempts")
    except ValueError:
        attempts = 0
    if attempts is not None and attempts < 1:
        raise ProfileError("AWS_MAX_ATTEMPTS or max_attempts: expected a whole number above 0")
    mode = _set(session, "AWS_RETRY_MODE", "retry_mode")
    if mode and mode not in _ATTEMPTS:
        raise ProfileError(f"AWS_RETRY_MODE or retry_mode is {mode!r}: expected one of {', '.join(_ATTEMPTS)}")
    if attempts is None and has_defaults_mode(session):
        mode = mode or "standard"
    return attempts if attempts is not None or not mode else _ATTEMPTS[mode]


def has_defaults_mode(session: Any) -> bool:
    """Whether botocore's own defaults were asked for, among which are times for connecting."""
    return _set(session, "AWS_DEFAULTS_MODE", "defaults_mode").lower() not in ("", "legacy")


def _set(session: Any, variable: str, name: str) -> str:
    """A setting that somebody has made; "" for a default."""
    return str(os.environ.get(variable) or session.get_scoped_config().get(name) or "")
