"""The page about what can go wrong is true to the tests."""

from __future__ import annotations

import ast
import functools
import re

from tests.support.program import ROOT

PAGE = ROOT / "docs" / "faults.md"


@functools.cache
def functions_of(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_line_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [row for row in rows if row[0] != "what goes wrong"]
    assert len(rows) > 50
    named = {row[0]: re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2]) for row in rows}
    assert [line for line, tests in named.items() if not tests] == []
    missing = [f"{file}::{test}" for tests in named.values() for file, test in tests if test not in functions_of(file)]
    assert missing == []


def test_every_test_of_faults_has_its_line() -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = [path for path in (ROOT / "tests" / "faults").glob("test_*.py") if path.name != "test_matrix.py"]
    here = [path.relative_to(ROOT).as_posix() for path in files]
    tests = [f"{file}::{name}" for file in here for name in functions_of(file) if name.startswith("test_")]
    assert [test for test in tests if f"`{test}`" not in text] == []
