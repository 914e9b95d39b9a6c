"""The real command line in a process of its own, with the environment that the test has set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


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
    """`pos3 ARGUMENTS`, to its end."""
    return ended(start_program(*arguments, **environment), timeout)
