"""Shows the progress of transfers: a bar on a terminal or in a notebook, lines in a log, or nothing.

Only a notebook gets output on stdout, because it shows stderr in the colour of errors.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO

from pos3.reports import format_bytes

logger = logging.getLogger("pos3")
_LOG_EVERY_SECONDS = 10.0
_QUIET_BELOW_SECONDS = 2.0
_SHORTEST_URL = 8
_USUAL_COLUMNS = 80
# Each layout with the columns that it needs, without the title and the number of files. The first one that fits is
# used.
_LAYOUTS = (
    (53, "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"),
    (45, "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{remaining}, {rate_fmt}{postfix}]"),
)
_SHORTEST_LAYOUT = "{desc} {percentage:3.0f}% {n_fmt}/{total_fmt} {rate_fmt}"


class Progress(Protocol):
    """The progress of one transfer. Several threads may call its methods at the same time."""

    def moved(self, size_bytes: int) -> None:
        """So many bytes were transferred. The number is negative if a part of a file must be transferred again."""
        ...

    def finished_file(self) -> None:
        """One more file is complete."""
        ...

    def close(self) -> None:
        """The transfer has ended."""
        ...


class OpenProgress(Protocol):
    """A function that opens the progress of one transfer: by its title, its number of files and its number of bytes."""

    def __call__(self, title: str, files: int, size_bytes: int, /) -> Progress: ...


class SilentProgress:
    """Shows nothing."""

    def moved(self, size_bytes: int) -> None:
        pass

    def finished_file(self) -> None:
        pass

    def close(self) -> None:
        pass


def silent(title: str, files: int, size_bytes: int) -> Progress:
    """Opens a progress display that shows nothing."""
    return SilentProgress()


class BarProgress:
    """A bar with bytes, rate, time left, and files done.

    Args:
        bar: a bar of tqdm that counts bytes.
        files: the number of all files.
    """

    def __init__(self, bar: Any, files: int):
        self._bar = bar
        self._files = files
        self._done = 0
        self._lock = threading.Lock()

    def moved(self, size_bytes: int) -> None:
        with self._lock:
            # A file may have grown since it was listed.
            self._bar.total = max(self._bar.total, self._bar.n + size_bytes)
            self._bar.update(size_bytes)

    def finished_file(self) -> None:
        with self._lock:
            self._done += 1
            self._bar.set_postfix_str(f"{self._done}/{self._files} files", refresh=False)

    def close(self) -> None:
        self._bar.close()


def open_terminal_bar(title: str, files: int, size_bytes: int) -> Progress:
    """Opens a bar on stderr, in one line: bytes and rate.

    If there is room, it also shows the remaining time and the files.

    A long title is shortened, so the figures are always visible. The bar disappears at the end.
    """
    shown_title, layout = _fitting(title, files, _terminal_columns())
    bar = _terminal_bar_class()(
        desc=shown_title,
        bar_format=layout,
        dynamic_ncols=True,
        file=sys.stderr,
        leave=False,
        **_byte_figures(size_bytes),
    )
    return BarProgress(bar, files)


def open_notebook_bar(title: str, files: int, size_bytes: int) -> Progress:
    """Opens a bar below the running cell. It stays there, because notebooks are read again later.

    It is a widget if ipywidgets is installed, and otherwise a line of text. At the exit of the kernel, nothing is
    shown.
    """
    if not threading.main_thread().is_alive():
        # The kernel no longer sends output of cells, and writing may fail.
        return SilentProgress()
    bar = _notebook_bar_class()(desc=title, file=sys.stdout, leave=True, **_byte_figures(size_bytes))
    return BarProgress(bar, files)


def _byte_figures(size_bytes: int) -> dict[str, Any]:
    return {
        "total": size_bytes,
        "unit": "B",
        "unit_scale": True,
        "unit_divisor": 1024,
        # Otherwise a bar that was fast does not show that it has become slow.
        "miniters": 1,
    }


@functools.cache
def _terminal_bar_class() -> Any:
    from tqdm import tqdm

    return _without_monitor(tqdm)


@functools.cache
def _notebook_bar_class() -> Any:
    with warnings.catch_warnings():
        # tqdm warns if ipywidgets is missing, but a line of text is enough here.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    return _without_monitor(tqdm)


def _without_monitor(tqdm: Any) -> Any:
    class Bar(tqdm):  # type: ignore[misc]
        # The monitor of tqdm is a thread, which cannot start at the exit of the interpreter. With fixed miniters, it is
        # not needed.
        monitor_interval = 0

    return Bar


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def _fitting(title: str, files: int, columns: int) -> tuple[str, str]:
    """The title and the layout of tqdm that fit into this number of columns."""
    verb = title.partition(" ")[0]
    shortest = min(len(title), len(verb) + len(" ...") + _SHORTEST_URL)
    for figures_columns, layout in _LAYOUTS:
        room = columns - figures_columns - 2 * len(str(files))
        if room >= shortest:
            return _shortened(title, room), layout
    return verb, _SHORTEST_LAYOUT


def _shortened(title: str, columns: int) -> str:
    """The title, without the beginning of its URL if it is longer than this number of columns."""
    if len(title) <= columns:
        return title
    verb, _, url = title.partition(" ")
    return f"{verb} ...{url[-max(columns - len(verb) - 4, _SHORTEST_URL) :]}"


class LogProgress:
    """Progress as log lines: one every ten seconds, and one at the end if the transfer took 2 s or more."""

    def __init__(
        self,
        title: str,
        files: int,
        size_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[..., object] = logger.info,
    ):
        self._title = title
        self._files = files
        self._size_bytes = size_bytes
        self._clock = clock
        self._write = log
        self._done_files = 0
        self._done_bytes = 0
        self._began = self._last = clock()
        self._lock = threading.Lock()

    def moved(self, size_bytes: int) -> None:
        with self._lock:
            self._done_bytes += size_bytes
            self._size_bytes = max(self._size_bytes, self._done_bytes)
            self._log_if_due()

    def finished_file(self) -> None:
        with self._lock:
            self._done_files += 1
            self._log_if_due()

    def _log_if_due(self) -> None:
        now = self._clock()
        if now - self._last >= _LOG_EVERY_SECONDS:
            self._last = now
            self._log()

    def _log(self) -> None:
        elapsed = max(self._clock() - self._began, 1e-9)
        self._write(
            "%s: %d/%d files, %s of %s, %s/s",
            self._title,
            self._done_files,
            self._files,
            format_bytes(self._done_bytes),
            format_bytes(self._size_bytes),
            format_bytes(self._done_bytes / elapsed),
        )

    def close(self) -> None:
        with self._lock:
            if self._clock() - self._began >= _QUIET_BELOW_SECONDS:
                self._log()


Tell = Callable[[str], None]
"""Says one line about a whole mirror."""


def unsaid(line: str) -> None:
    """Logs nothing."""


def _tell_terminal(line: str) -> None:
    _write(sys.stderr, line)


def _tell_notebook(line: str) -> None:
    _write(sys.stdout, line)


def _write(stream: TextIO, line: str) -> None:
    # A terminal that was closed must not make the transfer fail.
    with suppress(OSError, ValueError):
        stream.write(f"pos3: {line}\n")


def _tell_log(line: str) -> None:
    logger.info("mirror closed: %s", line)


def choose_tell(show: bool) -> Tell:
    """A function that shows lines in the same place as the bars, or else in the log."""
    if show and _is_notebook():
        return _tell_notebook
    return _tell_terminal if show and _is_terminal() else _tell_log


@contextmanager
def above_bars() -> Iterator[None]:
    """Lines that the block writes to stderr appear above the bars. The bars are drawn again afterwards."""
    if not _terminal_bar_class.cache_info().currsize:
        yield
        return
    with _terminal_bar_class().external_write_mode(file=sys.stderr):
        yield


def choose_progress(show: bool) -> OpenProgress:
    """Bars in a notebook, and if stderr is a terminal that can redraw a line; log lines elsewhere.

    If ``show`` is false, nothing is shown.
    """
    if not show:
        return silent
    if _is_notebook():
        return open_notebook_bar
    return open_terminal_bar if _is_terminal() else LogProgress


def _is_terminal() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _is_notebook() -> bool:
    """Whether this is the kernel of a notebook. Only a program that has imported IPython can be one."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    return "IPKernelApp" in getattr(shell, "config", ())
