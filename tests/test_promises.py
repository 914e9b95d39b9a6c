"""Each test that a promise names exists."""

from __future__ import annotations

import re

import pytest

from tests.support.program import ROOT

PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and line != "| promise | test |"]


def existing() -> set[str]:
    """The names of all test functions."""
    pattern = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    }


def test_every_promise_names_tests_that_exist() -> None:
    named = {row: re.findall(r"`(test_\w+)`", row.rsplit(" | ", 1)[1]) for row in ROWS}
    assert [row for row, names in named.items() if not names] == []
    assert {name for names in named.values() for name in names} - existing() == set()


@pytest.mark.parametrize("section", ["Deletes", "Files", "Failures", "Processes", "Security"])
def test_every_section_promises_something(section: str) -> None:
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    assert text.count("`test_") >= 3
