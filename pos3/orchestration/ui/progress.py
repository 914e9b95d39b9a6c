"""Shows running transfers of a flow run: lines in the run's log, and an artifact for long transfers."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import threading
import time

import pos3
from pos3.orchestration.ui.artifacts import RunArtifacts
from pos3.orchestration.ui.log_lines import Log, log_safely
from pos3.orchestration.ui.markdown import code

_SHOWN_AFTER_SECONDS = 5.0
_UPDATED_EVERY_SECONDS = 3.0
_LAST_UPDATE_SECONDS = 1.0


def run_log_progress(log: Log) -> pos3.OpenProgress:
    """Writes a line to the run's log every ten seconds, and one at the end of a long transfer."""
    return functools.partial(pos3.LogProgress, log=functools.partial(log_safely, log, logging.INFO))


class CombinedProgress:
    """Shows one transfer by several progress displays."""

    def __init__(self, openers: list[pos3.OpenProgress], title: str, files: int, size_bytes: int):
        self._opened = [opener(title, files, size_bytes) for opener in openers]

    def moved(self, size_bytes: int) -> None:
        for progress in self._opened:
            progress.moved(size_bytes)

    def finished_file(self) -> None:
        for progress in self._opened:
            progress.finished_file()

    def close(self) -> None:
        for progress in self._opened:
            progress.close()


class ArtifactProgress:
    """A progress artifact for a transfer of more than a few seconds. A later transfer of the run may reuse it.

    A separate thread calls the API, so a transfer neither waits for it nor fails with it. Only the last update is
    waited for, at most a second.
    """

    def __init__(self, artifacts: RunArtifacts, title: str, files: int, size_bytes: int):
        self._artifacts = artifacts
        self._title = title
        self._files = files
        self._size_bytes = size_bytes
        self._done_files = 0
        self._done_bytes = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_shown = False
        # The context has the task run of the artifact and the address of the API.
        inherited = contextvars.copy_context()
        self._thread = threading.Thread(
            target=inherited.run, args=(self._update_until_end,), name="pos3-artifact", daemon=True
        )
        # When the interpreter exits, no thread can be started, and nothing is shown.
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def moved(self, size_bytes: int) -> None:
        with self._lock:
            self._done_bytes += size_bytes

    def finished_file(self) -> None:
        with self._lock:
            self._done_files += 1

    def close(self) -> None:
        self._ended.set()
        if self._is_shown:
            self._thread.join(_LAST_UPDATE_SECONDS)

    def _update_until_end(self) -> None:
        if self._ended.wait(_SHOWN_AFTER_SECONDS):
            return
        key = self._artifacts.progress_key(self._title)
        if key is None:
            return
        self._is_shown = True
        self._show(key)
        while not self._ended.wait(_UPDATED_EVERY_SECONDS):
            self._show(key)
        self._show(key)
        self._artifacts.end_progress(self._title)

    def _show(self, key: str) -> None:
        with contextlib.suppress(Exception):
            self._artifacts.put("progress", key, self._description, self._percent)

    @property
    def _percent(self) -> float:
        done, total = (self._done_bytes, self._size_bytes) if self._size_bytes else (self._done_files, self._files)
        return min(100.0, max(0.0, round(100 * done / total, 1))) if total else 100.0

    @property
    def _description(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return (
            f"{code(self._title)}: {self._done_files} of {self._files} files, {pos3.format_bytes(self._done_bytes)} of "
            f"{pos3.format_bytes(self._size_bytes)}, {pos3.format_bytes(self._done_bytes / seconds)}/s"
        )
