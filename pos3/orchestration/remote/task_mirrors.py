"""The mirror of one try of a task run, in a process other than its flow's.

It is the flow run's mirror as long as that can be reached, and then one of its own, which has pushed before the task
run completes: a push that fails fails the task run, with its own retries. It ends when the transaction of the try is
reset, however the try ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.transactions import BaseTransaction

import pos3
from pos3.orchestration.internals import task_run_of, transactions_here, when_over
from pos3.orchestration.remote.proxies import Arguments, MirrorGoneError, MirrorProxy
from pos3.orchestration.storing import Handled

OpenMirror = Callable[[MirrorGoneError], pos3.Mirror]

_of_transaction: dict[int, TaskMirror] = {}
_lock = threading.Lock()


class IncompleteTaskError(RuntimeError):
    """A try of a task run ended without an exception, but not as completed."""


@dataclass(frozen=True)
class Upload:
    """What was registered for upload with the outer mirror, to be registered again if that goes away."""

    arguments: Arguments
    sync_on_error: bool

    @classmethod
    def of(cls, method: str, arguments: Arguments, path: Path) -> Upload:
        """``path`` is where it is now; with other options, a mirror would look elsewhere."""
        kept = {**arguments, "local": path}
        if method == "sync":
            kept["delete"] = kept.pop("delete_remote", True)
        # Neither downloaded again nor emptied: that would undo what the task has written.
        kept = {name: value for name, value in kept.items() if name not in ("delete_local", "adopt", "fresh")}
        return cls(kept, arguments.get("sync_on_error") is True)


class TaskMirror(MirrorProxy):
    """Uses the outer mirror (the flow run's, or that of the task that called this one) and takes over when it is gone.

    A mirror of its own deletes no objects but those that it transferred itself: the end of a task is not the end of
    its flow, and other tasks may have put theirs there.
    """

    def __init__(self, outer: MirrorProxy, open_own: OpenMirror):
        self._outer = outer
        self._open_own = open_own
        self._own: pos3.Mirror | None = None
        self._uploads: list[Upload] = []
        self._lock = threading.RLock()
        self._is_pushed = False
        self._is_over = False

    def __repr__(self) -> str:
        return f"<pos3.orchestration.TaskMirror {self._own or self._outer}>"

    @property
    def is_open(self) -> bool:
        return not self._is_over

    def call(self, method: str, arguments: Arguments) -> Any:
        if self._is_over:
            raise MirrorGoneError("the task run that this mirror belongs to is over")
        if self._own is None:
            try:
                made = self._outer.call(method, arguments)
            except MirrorGoneError as gone:
                self._take_over(gone)
            else:
                if method in ("upload", "sync"):
                    self._remember(Upload.of(method, arguments, made))
                return made
        return getattr(self._own, method)(**arguments)

    def confirm(self) -> None:
        """For a task that was called by this one: its uploads are also this one's."""
        if self._is_over or self._is_pushed:
            raise MirrorGoneError("the task run that this mirror belongs to is over")
        if self._own is None and self._uploads:
            try:
                self._outer.confirm()
            except MirrorGoneError as gone:
                self._take_over(gone)

    def _remember(self, upload: Upload) -> None:
        with self._lock:
            if upload not in self._uploads:
                self._uploads.append(upload)
            if self._own is not None:
                self._own.upload(**upload.arguments)

    def _take_over(self, gone: MirrorGoneError) -> None:
        with self._lock:
            if self._own is None:
                own = self._open_own(gone)
                self._own = own
                for upload in self._uploads:
                    own.upload(**upload.arguments)

    def secure(self, handled: Handled) -> None:
        """For a task or subflow that was called by this one, and for this one itself."""
        if self._own is None:
            registered = handled.registered | {str(upload.arguments["local"]) for upload in self._uploads}
            try:
                self._outer.secure(Handled(handled.values, registered))
            except MirrorGoneError as gone:
                self._take_over(gone)
        if self._own is not None:
            self._own._push_additions({url for url, _ in self._own._pushed_places()})

    @property
    def options(self) -> pos3.MirrorOptions:
        if self._own is None:
            try:
                return self._outer.options
            except MirrorGoneError as gone:
                self._take_over(gone)
        assert self._own is not None
        return self._own.options

    def finish(self, handled: Handled | None = None) -> None:
        """Everything that was registered is pushed, or will be by the outer mirror.

        Args:
            handled: what must be stored before; None for a task that leaves no record of its result.

        Raises:
            TransferError: some of it failed.
        """
        self.confirm()
        if self._own is None and handled is not None:
            self.secure(handled)
        if self._own is not None:
            self._own.flush()
            self._own.finish(delete=False)
        self._is_pushed = True

    def close(self, error: BaseException | None) -> None:
        """Ends what :meth:`finish` has not ended: only what was registered with ``sync_on_error`` is pushed."""
        cause = error or IncompleteTaskError("the task run did not complete")
        try:
            if not self._is_pushed and any(upload.sync_on_error for upload in self._uploads):
                self.confirm()
        except Exception as failure:  # noqa: BLE001 - the error that is under way matters more
            cause.add_note(f"pos3: {failure}")
        self._is_over = True
        if self._own is not None:
            self._own.close(None if self._is_pushed else cause, push=not self._is_pushed)


def mirror_of_task_run(task_run_id: UUID, make: Callable[[MirrorProxy | None], TaskMirror]) -> TaskMirror | None:
    """The mirror of the running try of a task run; None where that try is not running.

    Args:
        make: called the first time, with the mirror of the task that called this one, if it has one.
    """
    chain = transactions_here()
    # The task's function may have begun others inside the engine's.
    place = max((at for at, each in enumerate(chain) if task_run_of(each) == str(task_run_id)), default=None)
    if place is None:
        return None
    with _lock:
        here, *outer = (_of_transaction.get(id(transaction)) for transaction in chain[place:])
        if here is None:
            here = make(next((mirror for mirror in outer if mirror is not None), None))
            _follow(chain[place], here)
        return here


def mirror_of_try(transaction: BaseTransaction) -> TaskMirror | None:
    """What :func:`mirror_of_task_run` has made for a try, whose transaction this is."""
    with _lock:
        return _of_transaction.get(id(transaction))


def _follow(transaction: BaseTransaction, mirror: TaskMirror) -> None:
    def close(error: BaseException | None) -> None:
        with _lock:
            _of_transaction.pop(id(transaction), None)
        mirror.close(error)

    _of_transaction[id(transaction)] = mirror
    when_over(transaction, close)
