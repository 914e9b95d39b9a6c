"""What the pages show of Prefect works: each snippet is run as a script of its own, with one Prefect server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.orchestration.conftest import environment_of_children
from tests.support.forks import ForkServer
from tests.support.pages import Snippet, fenced, pages_of_snippets, replaced

SNIPPETS = [snippet for page in pages_of_snippets() for snippet in fenced(page)]
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lines_of_every_run(output: str) -> set[str]:
    """The lines without what differs from run to run: directories, seconds, ids and counts of unchanged files."""
    for pattern, same in (
        (r"\S*/cache/", "cache/"),
        (r"\d+\.\d s\b", "0.0 s"),
        (r", \d+ unchanged", ""),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    ):
        output = re.sub(pattern, same, output)
    # Summaries of mirrors come on a terminal alone, and the test turns the log of Prefect off.
    return {line for line in output.splitlines() if line != "..." and not re.match(r"pos3: |[\d:.]+ \| INFO", line)}


def test_the_tutorial_runs_from_top_to_bottom(isolated_home: Path, tmp_path: Path) -> None:
    """A reader writes each file that is shown, and types each command, in one shell."""
    blocks = fenced("docs/tutorial.md")
    for block in blocks:
        if block.language == "python":
            (tmp_path / block.text.split("\n", 1)[0].removeprefix("# ")).write_text(block.text, encoding="utf-8")
    commands = "".join(block.text for block in blocks if block.language == "bash")
    commands = commands.replace("127.0.0.1:9000", f"127.0.0.1:{free_port()}")
    programs = Path(sys.executable).parent
    pos3 = f'pos3() {{ "{sys.executable}" -m pos3.cli "$@"; }}\n'
    environment = environment_of_children()
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "PREFECT_LOGGING_LEVEL": "ERROR"}
    with subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail\n{pos3}{commands}"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            stdout, stderr = shell.communicate(timeout=250)
        finally:
            # If a command fails, the server is still there.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, stdout + stderr
    assert re.findall(r"^(\d+) words in", stdout, re.MULTILINE) == ["6", "6", "7"]
    assert re.findall(r"^s3://bucket/results/.*\.txt$", stdout, re.MULTILINE) == [
        f"s3://bucket/results/{day}/step-{step}.txt" for day in ("monday", "tuesday") for step in range(3)
    ]
    assert "dtaa" in stdout
    shown_output = "".join(
        block.text for block in blocks if block.language == "text" and "pip install" not in block.text
    )
    assert lines_of_every_run(shown_output) - lines_of_every_run(stdout + stderr) == set()
    assert len(re.findall(r"^s3://bucket/outputs/.*/counts/count.txt$", stdout, re.MULTILINE)) == 1
    assert not (tmp_path / "s3-data").exists()
