"""When a store is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from pos3.errors import IntegrityError, ObjectChangedError
from pos3.store.s3_errors import BusyError, UnreachableError

T = TypeVar("T")

ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.2


def is_transient(error: BaseException) -> bool:
    return isinstance(error, (BusyError, UnreachableError, IntegrityError, ObjectChangedError))


def retrying(call: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
    """The result of ``call``, which is repeated with growing pauses while it fails for reasons that may pass.

    Raises:
        Exception: the last error, when it does not pass or the attempts are used up.
    """
    try:
        return call()
    except Exception as error:
        if not is_transient(error) or attempts <= 1:
            raise
    # The machinery of retries costs more than a small transfer, so it is built only when it is needed.
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    time.sleep(random.uniform(0, _FIRST_PAUSE_SECONDS))
    return Retrying(
        stop=stop_after_attempt(attempts - 1),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )(call)
