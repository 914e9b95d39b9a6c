"""What is pushed before the record of a persisted result is committed.

A task whose result is persisted may never be run again: the next run, or the next start of this one, finds its record
and takes the result. So what the task has written must be stored before the record is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable
from typing import Any

import pos3
from pos3.orchestration.storing.registration_log import Elsewhere, Ledger, Unknown
from pos3.orchestration.storing.shared_pushes import Turns
from pos3.orchestration.storing.task_data import Handled, Place


class Commits:
    """The pushes of one mirror that results wait for. They delete nothing.

    Those that wait for one place share the next push of it: at most one runs and one waits.
    """

    def __init__(self, mirror: pos3.Mirror, ledger: Ledger):
        self._mirror = mirror
        self._ledger = ledger
        self._lock = threading.Lock()
        self._turns: dict[str, Turns] = {}
        self._submitted: list[Collection[Any]] = []

    def expect(self, futures: Collection[Any]) -> None:
        """Results may soon be waiting for a push, as many as there are futures at that time."""
        with self._lock:
            self._submitted.append(futures)

    def places(self) -> tuple[Place, ...]:
        return self._mirror._pushed_places()

    def secure_run(self, holder: Hashable, handled: Handled) -> None:
        """Returns when what a task run or subflow run of this process has to do with is stored.

        Raises:
            TransferError: some of it failed.
            NoMirrorError: the mirror is closed.
        """
        own = self._ledger.of(holder)
        doubtful = self._ledger.of(Unknown.PLACE, *Elsewhere)
        chosen = Handled(handled.values, handled.registered | own).among(self.places())
        self.secure(chosen | doubtful)

    def secure_elsewhere(self, urls: Collection[str]) -> None:
        """The same for a task run of another process, which knows what it has to do with."""
        self.secure({*urls, *self._ledger.of(Elsewhere.NESTED_TASK)})

    def secure(self, urls: Collection[str]) -> None:
        """Returns when what lies at registered places is stored.

        Raises:
            As for :meth:`secure_run`.
        """
        turns = [self._turns_of(url) for url in sorted(urls)]
        joined = [each.join() for each in turns]
        led = [turn for turn in joined if turn.is_mine]
        try:
            for turn in led:
                turn.carry_out()
        finally:
            for turn in led:
                turn.abandon()
        failures: list[Exception] = []
        for turn in joined:
            try:
                turn.wait()
            except Exception as failure:  # noqa: BLE001 - the other places are waited for first
                failures.append(failure)
        if failures:
            raise failures[0]

    def _turns_of(self, url: str) -> Turns:
        with self._lock:
            turns = self._turns.get(url)
            if turns is None:
                turns = self._turns[url] = Turns(self._push_of(url), self._count_of_submitted)
            return turns

    def _push_of(self, url: str) -> Callable[[], object]:
        return lambda: self._mirror._push_additions({url})

    def _count_of_submitted(self) -> int:
        with self._lock:
            return sum(map(len, self._submitted))
