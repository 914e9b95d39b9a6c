"""Final pushes side by side: those that have nothing to do with each other run at once, in several threads."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable

from pos3.jobs import Job
from pos3.local import try_start

logger = logging.getLogger("pos3")

_TELL_EVERY_SECONDS = 5.0
# Enough for workers to be left behind, and for what they had begun to be taken back.
STOP_SECONDS = 6.0


def side_by_side(jobs: list[Job], push: Callable[[Job], None], most: int, stop: Callable[[], None]) -> list[Exception]:
    """Pushes each job; one that fails does not keep the others from theirs. Returns the failures, in order.

    Jobs whose local paths or places nest keep their order. While it lasts, the log says every few seconds how many
    are done.

    Args:
        most: how many run at once.
        stop: makes the pushes that run end soon. It is called when this call is interrupted.
    """
    work = _Work(_chains(jobs), push)
    threads = [
        threading.Thread(
            target=contextvars.copy_context().run, args=(work.run_in_thread,), name="pos3-end", daemon=True
        )
        for _ in range(min(most, len(work.waiting)) - 1)
    ]
    started = [thread for thread in threads if try_start(thread)]
    try:
        # This thread works as well: it may be the only one that can run, and an interrupt reaches its push at once.
        work.run()
        for thread in started:
            work.wait_for(thread)
        work.raise_what_ended_a_thread()
    except BaseException:
        work.give_up()
        stop()
        stop_at = time.monotonic() + STOP_SECONDS
        for thread in started:
            thread.join(max(0.0, stop_at - time.monotonic()))
        raise
    return [work.failures[job] for job in jobs if job in work.failures]


def _chains(jobs: list[Job]) -> list[list[Job]]:
    """The jobs in groups that have nothing to do with each other, each in the order of registration."""
    group = list(range(len(jobs)))

    def root(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for paths in (_local_paths(jobs), _places(jobs)):
        # What lies below a path comes right after it, or after something else that does.
        around: list[tuple[str, int]] = []
        for path, number in sorted(paths):
            while around and not path.startswith(around[-1][0]):
                around.pop()
            if around:
                group[root(number)] = root(around[-1][1])
            around.append((path, number))
    chains: dict[int, list[Job]] = {}
    for number, job in enumerate(jobs):
        chains.setdefault(root(number), []).append(job)
    return list(chains.values())


def _local_paths(jobs: list[Job]) -> list[tuple[str, int]]:
    return [(f"{job.registration.local}/", number) for number, job in enumerate(jobs)]


def _places(jobs: list[Job]) -> list[tuple[str, int]]:
    """Whatever the profiles are: two of them may lead to one bucket."""
    return [(f"{job.registration.location}/", number) for number, job in enumerate(jobs)]


class _Work:
    """What is still to be pushed, and what came of the rest."""

    def __init__(self, chains: list[list[Job]], push: Callable[[Job], None]):
        self.waiting = chains[::-1]
        self.failures: dict[Job, Exception] = {}
        self._push = push
        self._count = sum(map(len, chains))
        self._done = 0
        self._is_given_up = False
        self._ended_by: BaseException | None = None
        self._lock = threading.Lock()
        self._tell_at = time.monotonic() + _TELL_EVERY_SECONDS

    def run(self) -> None:
        """Pushes one chain after the other, until there is none left."""
        while True:
            with self._lock:
                if not self.waiting:
                    return
                chain = self.waiting.pop()
            for job in chain:
                if self._is_given_up:
                    return
                try:
                    self._push(job)
                except Exception as failure:  # noqa: BLE001 - returned to the caller
                    self.failures[job] = failure
                self._note_done()

    def run_in_thread(self) -> None:
        """The same; what is no failure of a push, such as an exit, is kept for the caller's thread."""
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - raised by raise_what_ended_a_thread
            self._ended_by = error

    def raise_what_ended_a_thread(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by

    def _note_done(self) -> None:
        with self._lock:
            self._done += 1
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            is_time = time.monotonic() >= self._tell_at and self._done < self._count
            if is_time:
                self._tell_at = time.monotonic() + _TELL_EVERY_SECONDS
        if is_time:
            logger.info("final pushes: %d of %d registrations are done", self._done, self._count)

    def wait_for(self, thread: threading.Thread) -> None:
        while thread.is_alive():
            thread.join(_TELL_EVERY_SECONDS)
            self._tell()

    def give_up(self) -> None:
        """Lets no further push begin."""
        self._is_given_up = True
