"""What the pages show of Prefect works: each snippet is run as a script of its own, with one Prefect server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestration.conftest import environment_of_children
from tests.support.forks import ForkServer
from tests.support.pages import Snippet, fenced, replaced

PAGES = ("README.md", "docs/prefect.md")
SNIPPETS = [snippet for page in PAGES for snippet in fenced(page)]
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python" and snippet.needs_prefect]


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_snippet_about_prefect_runs(
    snippet: Snippet, shown: dict[str, str], programs: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script, log = tmp_path / "snippet.py", tmp_path / "log"
    script.write_text(replaced(snippet.text, shown), encoding="utf-8")
    command = ["-c", f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"]
    with log.open("wb") as output:
        status = programs.start(command, environment_of_children(), output, output).wait(110)
    assert status == 0, f"{snippet}\n{log.read_text()}"
