"""When a store is asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pos3.errors import IntegrityError, ObjectChangedError
from pos3.store.s3_errors import TransientError

T = TypeVar("T")

ATTEMPTS = 6


def is_transient(error: BaseException) -> bool:
    return isinstance(error, (TransientError, IntegrityError, ObjectChangedError))


def retrying(call: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
    """The result of ``call``, which is repeated with growing pauses while it fails for reasons that may pass.

    Raises:
        Exception: the last error, when it does not pass or the attempts are used up.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    return Retrying(
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )(call)
