"""One long run with background pushes every second, watched from outside."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from soak import laws
from soak.child import is_marked
from soak.contents import Tree
from soak.place import Corner

from tests.support import ResetBefore, Slowdown

FRESH_SECONDS = 15
MOST_GROWTH_KIB = 30_000


@dataclass
class Watched:
    """What the process says of itself, line by line."""

    reports: list[dict[str, float]] = field(default_factory=list)
    quiet_since: float = 0.0

    def read(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            if line.startswith(b"{"):
                report = json.loads(line)
                self.quiet_since = time.monotonic() if report["quiet"] else 0.0
                self.reports.append(report)


def keep_watching(corner: Corner, minutes: float, stopped: threading.Event, look_seconds: float = 7) -> int:
    """Minutes of watching, at most so many; a stop from outside ends it well and counts what was."""
    corner.inject(Slowdown(0.02), ResetBefore(0.01))
    stop = corner.cache / "stop"
    process = corner.start("keep_working", seconds=minutes * 60, seed=corner.dice.randrange(1 << 30), stop=str(stop))
    watched = Watched()
    began = time.monotonic()
    with process, contextlib.ExitStack() as stack:
        assert process.stdout is not None
        reader = threading.Thread(target=watched.read, args=(iter(process.stdout),), daemon=True)
        reader.start()
        stack.callback(process.kill)
        gone: dict[str, float] = {}
        while process.poll() is None and time.monotonic() - began < minutes * 60 + 120:
            _look(corner, gone)
            _check_quiet(corner, watched)
            if stopped.wait(look_seconds):
                stop.touch()
                with contextlib.suppress(Exception):
                    process.wait(60)
        if process.poll() is None:
            corner.wrong(["the process does not end"])
            process.kill()
    reader.join()
    seconds = time.monotonic() - began
    if process.returncode:
        corner.wrong([f"ended with status {process.returncode}, see child.log"])
    corner.wrong(laws.of_equal("remote", corner.stored(), corner.local()))
    corner.wrong(laws.of_no_leftovers(corner.cache))
    _check_growth(corner, watched.reports)
    corner.count("pushed files", int(watched.reports[-1]["pushed"]) if watched.reports else 0)
    corner.count("requests", corner.proxy.count())
    corner.count("requests broken", sum(bool(request.faults) for request in corner.proxy.requests))
    return int(seconds / 60)


def _look(corner: Corner, gone: dict[str, float]) -> None:
    """Every object is whole, and what has kept still for a while is the same on both sides."""
    settled = {}
    for path in _files(corner.local_root):
        with contextlib.suppress(FileNotFoundError):
            settled[path] = path.stat().st_mtime
    stored = _stored_now(corner)
    now = time.time()
    corner.count("looks")
    corner.wrong([f"remote: {name} is half" for name, data in stored.items() if not is_marked(name, data)])
    for path, written_at in settled.items():
        name = path.relative_to(corner.local_root).as_posix()
        gone.pop(name, None)
        with contextlib.suppress(FileNotFoundError):
            if now - written_at > FRESH_SECONDS and path.stat().st_mtime == written_at:
                here = path.read_bytes()
                if stored.get(name) != here and path.stat().st_mtime == written_at:
                    corner.wrong([f"remote: {name} is {now - written_at:.0f} s old and was not pushed"])
    for name in stored.keys() - {path.relative_to(corner.local_root).as_posix() for path in settled}:
        since = gone.setdefault(name, now)
        if now - since > FRESH_SECONDS and not (corner.local_root / name).exists():
            corner.wrong([f"remote: {name} was deleted here {now - since:.0f} s ago and is still there"])
    for name in [name for name in gone if name not in stored]:
        del gone[name]


def _stored_now(corner: Corner) -> Tree:
    """What is in the bucket, while it changes: what is gone between its listing and its reading is left out."""
    stored = {}
    for key in corner.site.keys(f"{corner.key}/"):
        with contextlib.suppress(KeyError):
            stored[key.removeprefix(f"{corner.key}/")] = corner.site.get(key)
    return stored


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else []


def _check_quiet(corner: Corner, watched: Watched) -> None:
    """When nothing changes, nothing is asked."""
    quiet_seconds = time.monotonic() - watched.quiet_since
    if watched.quiet_since and 8 < quiet_seconds < 16:
        before = corner.proxy.count()
        time.sleep(5)
        corner.count("quiet looks")
        if (asked := corner.proxy.count() - before) > 0:
            corner.wrong([f"{asked} requests while nothing had changed"])


def _check_growth(corner: Corner, reports: list[dict[str, float]]) -> None:
    """Memory, threads and open files stay within bounds after the first minutes."""
    if len(reports) < 60:
        return
    settled, last = reports[40], reports[-1]
    if last["rss_kib"] - settled["rss_kib"] > MOST_GROWTH_KIB:
        corner.wrong([f"memory grew from {settled['rss_kib']} to {last['rss_kib']} KiB"])
    for name in ("threads", "open_files"):
        most = max(report[name] for report in reports[:40]) + 10
        if last[name] > most:
            corner.wrong([f"{name} grew from {settled[name]} to {last[name]}"])
    corner.count("memory growth KiB", int(last["rss_kib"] - settled["rss_kib"]))
