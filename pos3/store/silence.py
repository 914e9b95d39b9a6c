"""Logs that an endpoint does not answer, long before the request fails."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pos3.local import try_start

logger = logging.getLogger("pos3.store")

NOTICE_SECONDS = 5.0


def mention_silence(endpoint: str) -> None:
    """Logs one line about an endpoint that has not answered for :data:`NOTICE_SECONDS`."""
    logger.warning("waiting for %s: no answer for %.0f s", endpoint, NOTICE_SECONDS)


@contextmanager
def mentioning_silence(endpoint: str) -> Iterator[None]:
    """Logs that line if the block takes longer than this.

    In the block, another library sends requests to the endpoint.
    """
    ended = threading.Event()

    def watch() -> None:
        if not ended.wait(NOTICE_SECONDS):
            mention_silence(endpoint)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(watch,), name="pos3-silence", daemon=True)
    try_start(thread)
    try:
        yield
    finally:
        ended.set()
