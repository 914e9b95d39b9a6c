"""One run of one command: wall time, processor time and memory of the whole process tree."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_SAMPLE_SECONDS = 0.05
_LAUNCHER = Path(__file__).resolve().parent / "launcher.py"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class RunError(RuntimeError):
    """A command failed, took too long, or did not do what it should have done."""


@dataclass(frozen=True)
class Command:
    """A command line, with what its environment has beside that of all commands."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """One process from its start to its end, with all processes that it started and waited for.

    ``peak_bytes`` is the largest resident memory, summed over the processes of the tree at the same time, but at
    least that of its largest process. ``printed`` is the end of what it printed, ``lines`` counts all of it.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str
    lines: int

    def json(self) -> dict[str, Any]:
        """The figures that the program itself has printed, in a line of their own."""
        found = [line for line in self.printed.splitlines() if line.startswith("{")]
        if not found:
            raise RunError(f"no figures were printed: {self.printed[-500:]}")
        figures: dict[str, Any] = json.loads(found[-1])
        return figures


def measured(command: Command, timeout_seconds: float) -> Measured:
    """Runs a command to its end.

    Raises:
        RunError: It ended with another status than 0, or not in time; with the end of what it printed.
    """
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile("r") as figures:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", _LAUNCHER, figures.name, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(command.environment),
            start_new_session=True,
        )
        with _Watch(child.pid, timeout_seconds) as watch:
            try:
                child.wait()
            except BaseException:
                _end(child.pid)
                raise
        output.seek(0)
        lines = sum(block.count(b"\n") for block in iter(lambda: output.read(1 << 20), b""))
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - 20_000))
        printed = output.read().decode(errors="replace")
        used = json.loads(figures.read() or "{}")
    if watch.expired:
        raise RunError(f"not done after {timeout_seconds:.0f} s")
    if child.returncode:
        raise RunError(f"status {child.returncode}: {printed[-1000:].strip()}")
    used["peak_bytes"] = max(used["peak_bytes"], watch.peak_bytes)
    return Measured(**used, printed=printed, lines=lines)


class _Watch:
    """Samples the memory of a process tree, and ends the tree when its time is over."""

    def __init__(self, pid: int, timeout_seconds: float):
        self.peak_bytes = 0
        self.expired = False
        self._pid = pid
        self._deadline = time.monotonic() + timeout_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            # The launcher itself is left out.
            _, *started = _tree(self._pid)
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident_bytes, started)))
            if time.monotonic() > self._deadline and not self.expired:
                self.expired = True
                _end(self._pid)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()


def _end(pid: int) -> None:
    """Ends a command with all that it has started; it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                    yield from _tree(int(child))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
