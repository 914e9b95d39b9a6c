"""The mirror of one try of a task run, in another process than that of its flow.

While the flow run's mirror can be reached, it uses that. Then it opens a mirror of its own, which pushes before the
task run completes, so a failed push fails the task run, and its retries apply. It ends when the transaction of the try
is reset, at any kind of end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.transactions import BaseTransaction

import pos3
from pos3.orchestration.internals import on_end, task_run_of, transactions_here
from pos3.orchestration.remote.proxies import Arguments, MirrorGoneError, MirrorProxy
from pos3.orchestration.storing import Metadata, TaskData

OpenMirror = Callable[[MirrorGoneError], pos3.Mirror]
_IS_OVER = "this mirror belongs to a task run that has ended; call pos3 before the task returns"

_of_transaction: dict[int, TaskMirror] = {}
_lock = threading.Lock()


class IncompleteTaskError(RuntimeError):
    """A try of a task run ended without an exception, but it is not completed."""


@dataclass(frozen=True)
class Upload:
    """A registration for upload with the outer mirror. If that mirror goes away, it is registered again."""

    arguments: Arguments
    sync_on_error: bool

    @classmethod
    def of(cls, method: str, arguments: Arguments, path: Path) -> Upload:
        """The registration of a call. Its result, ``path``, is kept, because other options may give another path."""
        kept = {**arguments, "local": path}
        if method == "sync":
            kept["delete"] = kept.pop("delete_remote", True)
        # It must not download again or empty the path, because that would undo what the task has written.
        kept = {name: value for name, value in kept.items() if name not in ("delete_local", "adopt", "fresh")}
        return cls(kept, arguments.get("sync_on_error") is True)


class TaskMirror(MirrorProxy):
    """Uses the outer mirror (the flow run's, or that of the calling task), and takes over when that is gone.

    Its own mirror deletes only objects that it transferred itself, because other tasks of the flow may have uploaded
    the others.
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
            raise MirrorGoneError(_IS_OVER)
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
        """Confirms the uploads of this task, and of a task that it has called."""
        if self._is_over or self._is_pushed:
            raise MirrorGoneError(_IS_OVER)
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

    def ensure_stored(self, task_data: TaskData) -> Metadata:
        """Stores the uploads that this task uses, or a task or subflow that it has called."""
        if self._own is None:
            registered = task_data.registered | {str(upload.arguments["local"]) for upload in self._uploads}
            try:
                return self._outer.ensure_stored(replace(task_data, registered=registered))
            except MirrorGoneError as gone:
                self._take_over(gone)
        if self._own is not None:
            self._own._push_additions({url for url, _ in self._own._pushed_places()})
        return {}

    @property
    def options(self) -> pos3.MirrorOptions:
        if self._own is None:
            try:
                return self._outer.options
            except MirrorGoneError as gone:
                self._take_over(gone)
        assert self._own is not None
        return self._own.options

    def finish(self, task_data: TaskData | None = None) -> Metadata:
        """Returns when everything registered is pushed, or when the outer mirror has confirmed that it will push it.

        The result is the metadata of the assets that the task materializes, where it is known.

        Args:
            task_data: the data whose uploads must be stored now; None for a task without a record and without assets.

        Raises:
            TransferError: some files failed.
        """
        metadata: Metadata = {}
        self.confirm()
        if self._own is None and task_data is not None:
            metadata = self.ensure_stored(task_data)
        if self._own is not None:
            self._own.flush()
            self._own.finish(delete=False)
        self._is_pushed = True
        return metadata

    def close(self, error: BaseException | None) -> None:
        """Closes the mirror. If :meth:`finish` has not succeeded, only ``sync_on_error`` registrations are pushed."""
        cause = error or IncompleteTaskError("the task run did not complete")
        try:
            if not self._is_pushed and any(upload.sync_on_error for upload in self._uploads):
                self.confirm()
        except Exception as failure:  # noqa: BLE001 - the error of the task matters more
            cause.add_note(f"pos3: {failure}")
        self._is_over = True
        if self._own is not None:
            self._own.close(None if self._is_pushed else cause, push=not self._is_pushed)


def mirror_of_task_run(task_run_id: UUID, make: Callable[[MirrorProxy | None], TaskMirror]) -> TaskMirror | None:
    """The mirror of the running try of a task run; None if that try is not running in this context.

    Args:
        make: makes the mirror at the first call. It gets the mirror of the calling task, or None.
    """
    chain = transactions_here()
    # The function of the task may have begun other transactions inside that of the engine.
    place = max((at for at, each in enumerate(chain) if task_run_of(each) == str(task_run_id)), default=None)
    if place is None:
        return None
    with _lock:
        here, *outer = (_of_transaction.get(id(transaction)) for transaction in chain[place:])
        if here is None:
            here = make(next((mirror for mirror in outer if mirror is not None), None))
            _attach(chain[place], here)
        return here


def mirror_of_try(transaction: BaseTransaction) -> TaskMirror | None:
    """The mirror that :func:`mirror_of_task_run` has made for the try with this transaction, or None."""
    with _lock:
        return _of_transaction.get(id(transaction))


def _attach(transaction: BaseTransaction, mirror: TaskMirror) -> None:
    def close(error: BaseException | None) -> None:
        with _lock:
            _of_transaction.pop(id(transaction), None)
        mirror.close(error)

    _of_transaction[id(transaction)] = mirror
    on_end(transaction, close)
