"""Turns what the system tells of local files, through watchdog, into calls with the paths of written files.

On Linux the system tells when a file is closed after writing. Elsewhere it tells only that a file was changed.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.utils import BaseThread

from pos3.local import try_start

logger = logging.getLogger("pos3")

OnChange = Callable[[str, bool], None]
"""Is called with the absolute path of a file, and whether its writer has closed it or renamed it into place."""
OnGap = Callable[[str], None]
"""Is called with the reason why some changes are not told."""

_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}

if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyFullEmitter
    from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchCallback, WatchDescriptor

    # A file that is created is also closed, so its creation is of no interest.
    _EVENTS: list[type[FileSystemEvent]] = [
        FileClosedEvent,
        FileMovedEvent,
        DirCreatedEvent,
        DirMovedEvent,
        DirDeletedEvent,
    ]

    _FOUND_TWICE = "Callback with id .* already exists"

    def _ignore_what_is_found_twice() -> None:
        """A directory that was made in a new one may be found twice, which does no harm.

        Under -W error, the warning would end the thread. The filter is added once: each time one is added, Python shows
        all warnings again that it has shown before.
        """
        if not any(getattr(message, "pattern", "") == _FOUND_TWICE for _, message, *_ in warnings.filters):
            warnings.filterwarnings("ignore", _FOUND_TWICE, RuntimeWarning)

    class _Inotify(InotifyFD):
        """The watches of the system. It tells when they run out, and when events are lost."""

        def __init__(self, on_gap: OnGap):
            super().__init__()
            self._on_gap = on_gap

        def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
            _ignore_what_is_found_twice()
            try:
                return super().add_callback(path, mask, callback, id_)
            except OSError as error:
                if error.errno in _LIMITS:
                    self._on_gap(reason_of(error))
                raise

        def handle_event(self, event: InotifyEvent) -> None:
            if event.is_queue_overflow:
                self._on_gap("there were more changes at once than the system keeps (fs.inotify.max_queued_events)")
            super().handle_event(event)

    class _Emitter(InotifyFullEmitter):
        """Reads the events of one root. The original logs an error if it is stopped while events wait."""

        def on_thread_stop(self) -> None:
            if self._inotify is not None:
                self._inotify.deactivate()

    def _new_threads(on_gap: OnGap) -> tuple[BaseObserver, list[BaseThread]]:
        inotify = _Inotify(on_gap)
        return BaseObserver(_Emitter, inotify_fd=inotify), [inotify]

else:
    from watchdog.observers import Observer

    _EVENTS = [FileCreatedEvent, FileModifiedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent, DirDeletedEvent]

    def _new_threads(on_gap: OnGap) -> tuple[BaseObserver, list[BaseThread]]:
        return Observer(), []


def reason_of(error: OSError) -> str:
    """Why something cannot be watched, with the limit to raise if one is reached."""
    limit = _LIMITS.get(error.errno or 0)
    return f"the system's limit of watches is reached (raise {limit})" if limit else f"{error.strerror or error}"


class FileEvents:
    """Watches local roots until :meth:`stop`, with threads of its own.

    Raises:
        OSError: the system has no watches left.
        RuntimeError: no thread can be started.
    """

    def __init__(self, on_gap: OnGap):
        self._on_gap = on_gap
        self._observer, others = _new_threads(on_gap)
        self._threads = [self._observer, *others]
        for thread in self._threads:
            if not try_start(thread):
                self.stop()
                raise RuntimeError("no thread can be started")

    def watch(self, root: str, on_change: OnChange) -> None:
        """Calls ``on_change`` for the files of a directory at any depth, or for the one file ``root``.

        A directory that comes later is watched as well, and the files in it are told. Links are not followed.

        Raises:
            OSError: the root cannot be watched.
        """
        is_directory = os.path.isdir(root)
        handler = _Handler(root, on_change, self._on_gap)
        watched = root if is_directory else os.path.dirname(root)
        self._observer.schedule(handler, watched, recursive=is_directory, event_filter=_EVENTS)

    def stop(self) -> None:
        """Ends all threads. No call comes afterwards."""
        for thread in self._threads:
            if thread.is_alive():
                thread.stop()
                thread.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, root: str, on_change: OnChange, on_gap: OnGap):
        self._root = root
        self._on_change = on_change
        self._on_gap = on_gap

    def dispatch(self, event: FileSystemEvent) -> None:
        # An exception would end the thread that tells of all watched roots.
        try:
            self._handle(event)
        except Exception:
            logger.exception("a change of a local file could not be handled")

    def _handle(self, event: FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if isinstance(event, FileMovedEvent):
            if target:
                self._on_change(target, True)
        elif isinstance(event, DirDeletedEvent):
            if source == self._root:
                self._on_gap(f"{source} was removed")
        elif isinstance(event, DirCreatedEvent | DirMovedEvent):
            # What was written before the directory was watched has no event of its own.
            path = target if isinstance(event, DirMovedEvent) else source
            if path and not event.is_synthetic:
                self._tell_files_in(path)
        else:
            self._on_change(source, isinstance(event, FileClosedEvent))

    def _tell_files_in(self, directory: str) -> None:
        for parent, _, names in os.walk(directory):
            for name in names:
                self._on_change(os.path.join(parent, name), False)
