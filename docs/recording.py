"""Makes docs/images/terminal.svg: a recording of a real shell that runs pos3 against an S3 server of its own.

    python docs/recording.py

It takes about half a minute. Look at the picture in a browser before you commit it.
"""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from html import escape
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "terminal.svg"
BUCKET = "lab"
COMMANDS = (
    "data=$(pos3 download s3://lab/grasping --limit-download 12MB)",
    "ls $data | head -2",
    "data=$(pos3 download s3://lab/grasping)   # again: nothing has changed",
    "pos3 download s3://lab/graspng --local $data --delete   # mistyped",
    "ls $data | wc -l   # nothing was deleted",
)
COLUMNS, LINES = 92, 24
PATIENCE_SECONDS = 60
LONGEST_PAUSE_SECONDS = 1.5
FRAME_SECONDS = 0.15
_CHARACTER, _LINE, _MARGIN, _BAR = 8.2, 19, 14, 26


@dataclass(frozen=True)
class Frame:
    """What the terminal showed from a time on, in seconds since the beginning of the recording."""

    begins: float
    rows: tuple[str, ...]


class Recording:
    """A shell in a terminal, and the frames of what it has shown so far."""

    def __init__(self, terminal: int):
        self.frames: list[Frame] = []
        self._terminal = terminal
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._seconds = 0.0
        self._last = time.monotonic()

    def type(self, command: str) -> None:
        """Types a command, and records until the next prompt."""
        self.wait_for_prompt()
        self._pause(LONGEST_PAUSE_SECONDS)
        os.write(self._terminal, command.encode() + b"\n")
        self.wait_for_prompt(after=command)

    def wait_for_prompt(self, after: str = "") -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if select.select([self._terminal], [], [], FRAME_SECONDS)[0]:
                time.sleep(FRAME_SECONDS / 2)
                self._stream.feed(os.read(self._terminal, 65536))
                self._keep()
            shown = [row.rstrip() for row in self._screen.display if row.strip()]
            if shown and shown[-1] == "$" and (not after or len(shown) > 1):
                return
        raise SystemExit(f"no prompt after {after!r}")

    def _keep(self) -> None:
        now = time.monotonic()
        self._pause(min(now - self._last, LONGEST_PAUSE_SECONDS))
        self._last = now
        rows = tuple(row.rstrip() for row in self._screen.display)
        if not self.frames or self.frames[-1].rows != rows:
            self.frames.append(Frame(self._seconds, rows))

    def _pause(self, seconds: float) -> None:
        self._seconds += seconds


@contextmanager
def shell(home: Path) -> Iterator[int]:
    """The terminal of a shell whose home is empty."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(home), "PATH": path, "PS1": "$ ", "TERM": "xterm", "INPUTRC": os.devnull}
    command = ["bash", "--norc", "--noprofile", "-i"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        yield ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def svg(frames: list[Frame]) -> str:
    """A picture that shows the frames one after the other, and then stays with the last one."""
    height = max(number + 1 for number, row in enumerate(frames[-1].rows) if row)
    lines = [line for number in range(height) for line in _line(number, frames)]
    width, tall = round(COLUMNS * _CHARACTER) + 2 * _MARGIN, height * _LINE + _BAR + 2 * _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tall}" width="{width}" height="{tall}">',
            "<title>A terminal in which pos3 downloads a directory</title>",
            "<style>text { font: 13.6px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #e6edf3;",
            "white-space: pre } .typed { fill: #79c0ff }</style>",
            f'<rect width="{width}" height="{tall}" rx="8" fill="#161b22"/>',
            *(f'<circle cx="{20 + 18 * number}" cy="18" r="5.5" fill="#484f58"/>' for number in range(3)),
            *lines,
            "</svg>\n",
        ]
    )


def _line(number: int, frames: list[Frame]) -> Iterator[str]:
    """One line of the terminal: an element for each text that it has shown."""
    shown = [(frame.begins, frame.rows[number]) for frame in frames]
    changes = [one for one, before in zip(shown, [(0.0, ""), *shown], strict=False) if one[1] != before[1]]
    ends = [begins for begins, _ in changes[1:]]
    for (begins, text), end in zip(changes, [*ends, None], strict=True):
        if not text:
            continue
        style = ' class="typed"' if text.startswith("$ ") else ""
        y = _BAR + _MARGIN + number * _LINE + _LINE - 5
        element = f'<text x="{_MARGIN}" y="{y}"{style} xml:space="preserve"'
        # Where nothing is animated, the last frame is shown.
        if end is None:
            moment = f'><set attributeName="visibility" to="hidden" begin="0s" end="{begins:.2f}s"/>'
        else:
            times = f'begin="{begins:.2f}s" end="{end:.2f}s"'
            moment = f' visibility="hidden"><set attributeName="visibility" to="visible" {times}/>'
        yield f"{element}{moment}{escape(text)}</text>"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.support import RcloneServer

    with tempfile.TemporaryDirectory(prefix="pos3-recording-") as home, RcloneServer() as server:
        os.environ |= server.environment()
        server.create_bucket(BUCKET)
        server.put_all(BUCKET, {f"grasping/episode-{number:02}.bin": os.urandom(1_500_000) for number in range(24)})
        with shell(Path(home)) as terminal:
            recording = Recording(terminal)
            for command in COMMANDS:
                recording.type(command)
    PICTURE.write_text(svg(recording.frames), encoding="utf-8")


if __name__ == "__main__":
    main()
