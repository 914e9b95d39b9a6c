"""Type checkers know what pos3 takes and returns: a user's script is checked in their strict modes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pos3
from tests.support.pyright import checked_by_pyright

SCRIPT = Path(__file__).with_name("typed_script.py")
SOURCE = Path(pos3.__file__).parents[1]


def test_the_package_says_that_it_has_types() -> None:
    assert Path(pos3.__file__).with_name("py.typed").exists()


def test_mypy_in_its_strict_mode_knows_the_types(tmp_path: Path) -> None:
    options = ["--strict", "--config-file", "", "--cache-dir", str(tmp_path), "--follow-imports", "silent"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(SCRIPT)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(SOURCE)},
    )
    assert checked.stdout.startswith("Success: "), checked.stdout


def test_pyright_in_its_strict_mode_knows_the_types(tmp_path: Path) -> None:
    found = checked_by_pyright(
        SCRIPT,
        tmp_path,
        typeCheckingMode="strict",
        enableTypeIgnoreComments=False,
        reportUnnecessaryTypeIgnoreComment="error",
    )
    assert found["summary"]["filesAnalyzed"] == 1
    assert [(item["range"]["start"]["line"] + 1, item["message"]) for item in found["generalDiagnostics"]] == []
