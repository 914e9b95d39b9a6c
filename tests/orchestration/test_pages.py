"""What the pages show of Prefect works: each snippet is run as a script of its own, with one Prefect server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.support.pages import Snippet, fenced, replaced
from tests.support.program import ROOT

PAGES = ("README.md", "docs/prefect.md")
SNIPPETS = [snippet for page in PAGES for snippet in fenced(page)]
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python" and snippet.needs_prefect]


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_snippet_about_prefect_runs(
    snippet: Snippet, shown: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = tmp_path / "snippet.py"
    script.write_text(replaced(snippet.text, shown), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert ran.returncode == 0, f"{snippet}\n{ran.stdout}\n{ran.stderr}"
