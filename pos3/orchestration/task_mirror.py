"""The mirror of one try of a task run, in a process other than its flow's.

It is the flow run's mirror as long as that can be reached, and then one of its own, which has pushed before the task
run completes: a push that fails fails the task run, with its own retries.

The only thing of the engine's that a running task can reach is its transaction. The engine stages it when the function
has returned, before it sets the state and where an exception still counts as the task's; and it resets it when the try
is over, however it ended.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.transactions import BaseTransaction, get_transaction

import pos3
from pos3.orchestration.brokered import Arguments, MirrorGoneError, MirrorProxy

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

    def finish(self) -> None:
        """Everything that was registered is pushed, or will be by the outer mirror.

        Raises:
            TransferError: some of it failed.
        """
        self.confirm()
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


def task_mirror(task_run_id: UUID, make: Callable[[MirrorProxy | None], TaskMirror]) -> TaskMirror | None:
    """The mirror of the running try of a task run; None where that try is not running.

    Args:
        make: called the first time, with the mirror of the task that called this one, if it has one.
    """
    chain = _transactions()
    # The task's function may have begun others inside the engine's.
    place = max((at for at, each in enumerate(chain) if _logs_for(each, task_run_id)), default=None)
    if place is None:
        return None
    with _lock:
        here, *outer = (_of_transaction.get(id(transaction)) for transaction in chain[place:])
        if here is None:
            here = make(next((mirror for mirror in outer if mirror is not None), None))
            _follow(chain[place], here)
        return here


def _transactions() -> list[BaseTransaction]:
    """Those that are under way here, the innermost first."""
    chain: list[BaseTransaction] = []
    transaction = get_transaction()
    # Without a token it is over: this is a thread that has outlived its task.
    while transaction is not None and transaction._token is not None:
        chain.append(transaction)
        transaction = transaction.get_parent()
    return chain


def _logs_for(transaction: BaseTransaction, task_run_id: UUID) -> bool:
    return (getattr(transaction.logger, "extra", None) or {}).get("task_run_id") == str(task_run_id)


def _follow(transaction: BaseTransaction, mirror: TaskMirror) -> None:
    # Both kinds have it, and one of them awaits what it returns.
    stage, reset = transaction.stage, cast(Any, transaction).reset

    def finish_and_stage(*args: Any, **kwargs: Any) -> None:
        if _is_to_complete(sys._getframe(1).f_locals):
            mirror.finish()
        stage(*args, **kwargs)

    def close_and_reset() -> Any:
        with _lock:
            _of_transaction.pop(id(transaction), None)
        try:
            mirror.close(sys.exception())
        finally:
            awaited = reset()
        return awaited

    _of_transaction[id(transaction)] = mirror
    # Models of pydantic accept only their fields otherwise.
    object.__setattr__(transaction, "stage", finish_and_stage)
    object.__setattr__(transaction, "reset", close_and_reset)


def _is_to_complete(engine_locals: dict[str, Any]) -> bool:
    """A function may return a state that is not completed. Only the engine's own frame knows, when it stages."""
    state = engine_locals.get("terminal_state")
    return not isinstance(state, State) or state.is_completed()
