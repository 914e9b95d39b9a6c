"""The real command line in a process of its own, with the environment that the test has set."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.forks import command_line

ROOT = Path(__file__).parents[2]
# On a busy machine, any server may need this long; tests/faults/test_silence.py is about the line, and reads it itself.
_SILENCE = re.compile(r"^pos3[a-z ]*: waiting for \S+: no answer for 5 s\n", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """How one run of the program ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def objects(self) -> list[Any]:
        """Stdout as one JSON value a line."""
        return [json.loads(line) for line in self.lines]


def start_program(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """`pos3 ARGUMENTS`, under way; stdout and stderr are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "pos3.cli", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def ended(program: subprocess.Popen[str], timeout: float = 60) -> Ran:
    """Waits for the program to end; kills it and fails when it does not."""
    try:
        stdout, stderr = program.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        program.kill()
        stdout, stderr = program.communicate()
        raise AssertionError(f"still running after {timeout} s; stdout {stdout!r}, stderr {stderr!r}") from None
    return Ran(program.returncode, stdout, stderr)


def run_program(*arguments: str | Path, timeout: float = 60, **environment: str) -> Ran:
    """`pos3 ARGUMENTS`, to its end; forked from a process that has imported pos3, where that makes no difference."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    if not command_line().fits(given):
        return ended(start_program(*arguments, **environment), timeout)
    return _forked(["-m", "pos3.cli", *map(str, arguments)], given, timeout)


def run_script(script: Path, timeout: float = 60) -> Ran:
    """A Python program in its own directory, forked as above."""
    with contextlib.chdir(script.parent):
        code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
        return _forked(["-c", code], {**os.environ, "PYTHONPATH": str(ROOT)}, timeout)


def _forked(command: list[str], environment: dict[str, str], timeout: float) -> Ran:
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        program = command_line().start(command, environment, stdout, stderr)
        try:
            status = program.wait(timeout)
        finally:
            program.kill()
            told = [_all_of(stream) for stream in (stdout, stderr)]
    return Ran(status, told[0], _SILENCE.sub("", told[1]))


def _all_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")


def run_code(code: str, *arguments: object) -> Ran:
    """A Python program, to its end."""
    return _finished([sys.executable, "-c", code, *map(str, arguments)])


def without_rights(*command: str) -> list[str]:
    """The command as somebody runs it for whom permissions count, even if that is root."""
    if os.geteuid() != 0:
        return list(command)
    if not shutil.which("setpriv"):
        pytest.skip("root may write and read everything, and there is no setpriv to take that right away")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}", *command]


def run_without_rights(*arguments: str | Path) -> Ran:
    """`pos3 ARGUMENTS` by somebody for whom permissions count."""
    return _finished(without_rights(sys.executable, "-m", "pos3.cli", *map(str, arguments)))


def run_script_without_rights(script: str, *arguments: object) -> Ran:
    """A Python program by somebody for whom permissions count."""
    return _finished(without_rights(sys.executable, "-c", script, *map(str, arguments)))


def _finished(command: list[str]) -> Ran:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    return Ran(done.returncode, done.stdout, done.stderr)
