"""Work in another thread, and a calling thread that is interrupted meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from pos3.transfer import workers
from tests.support.interrupts import interrupted_at_line


def test_who_is_interrupted_at_any_line_does_not_wait_for_a_thread_that_has_ended() -> None:
    taken: list[int] = []
    number, hit = 0, ["the first"]
    while hit:
        number += 1
        cancelled = threading.Event()
        with interrupted_at_line(number, workers.__file__) as hit, suppress(KeyboardInterrupt):
            began = time.monotonic()
            workers.run_apart(lambda hand_over: hand_over(1), taken.append, cancelled)
        assert time.monotonic() - began < 1, hit
    assert number > 20
    assert taken
