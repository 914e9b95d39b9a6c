"""What README and docs show works: every Python snippet and every ``pos3`` command is run against an S3 server."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pos3
from tests.support.pages import Snippet, all_pages, fenced, pages_of_snippets, replaced
from tests.support.program import ROOT, run_script

PRELUDE = "import pos3; train = evaluate = lambda *paths: None\n"
# Lets the block's commands reach the program of this checkout.
SHELL_PRELUDE = 'set -euo pipefail; pos3() { "$PYTHON" -m pos3.cli "$@"; }\n'


SNIPPETS = [snippet for page in pages_of_snippets() for snippet in fenced(page)]
# The others are in tests/orchestration/test_pages.py, where a Prefect server is up.
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python" and not snippet.needs_prefect]
RUNS_POS3 = re.compile(r"^(\w+=)?\"?(\$\()?pos3 ", re.MULTILINE)
COMMANDS = [snippet for snippet in SNIPPETS if snippet.language == "bash" and RUNS_POS3.search(snippet.text)]


def run(arguments: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    ran = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert ran.returncode == 0, f"status {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_python_snippet_runs(snippet: Snippet, shown: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(PRELUDE + replaced(snippet.text, shown), encoding="utf-8")
    ran = run_script(script)
    assert ran.status == 0, f"status {ran.status}\n{ran.stdout}\n{ran.stderr}"


@pytest.mark.parametrize("snippet", COMMANDS, ids=str)
def test_the_commands_of_a_block_run(snippet: Snippet, shown: dict[str, str], tmp_path: Path) -> None:
    run(["bash", "-c", SHELL_PRELUDE + replaced(snippet.text, shown)], tmp_path)


@pytest.mark.parametrize("snippet", [s for s in SNIPPETS if s.language == "toml"], ids=str)
def test_a_profiles_file_that_is_shown_can_be_used(
    snippet: Snippet, shown: dict[str, str], isolated_home: Path, tmp_path: Path
) -> None:
    (isolated_home / "profiles.toml").write_text(replaced(snippet.text, shown), encoding="utf-8")
    keys = f"aws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
    keys += f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
    for path in re.findall(r'^credentials_file = "(.+?)"', snippet.text, re.MULTILINE):
        target = isolated_home / path.removeprefix("~/")
        target.write_text(f"[default]\n{keys}", encoding="utf-8")
    for name in re.findall(r"^\[profiles\.(\w+)\]", snippet.text, re.MULTILINE):
        script = f"import pos3\nwith pos3.mirror(): assert pos3.ls('s3://{name}@bucket/data')"
        run([sys.executable, "-c", script], tmp_path)


def test_the_quick_start_runs(isolated_home: Path, tmp_path: Path) -> None:
    out = run([sys.executable, str(ROOT / "examples" / "quickstart.py")], tmp_path)
    assert "s3://" in out


# What the pages say


def test_the_table_of_errors_is_complete_and_right() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)
    listed = {name: base for name, base in rows if name.endswith("Error") and hasattr(pos3, name)}
    public = {name for name in pos3.__all__ if inspect.isclass(getattr(pos3, name)) and name.endswith("Error")}
    assert set(listed) == public - {"Pos3Error"}
    for name, base in listed.items():
        bases = {cls.__name__ for cls in getattr(pos3, name).__mro__}
        assert base in bases, f"{name} is no {base}"


@pytest.mark.parametrize(
    "name", ["mirror", "download", "upload", "sync", "ls", "flush", "plan_download", "plan_upload"]
)
def test_every_argument_is_explained(name: str) -> None:
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("calls.md", "listings.md"))
    positional = {"remote", "prefix", "path_or_url", "recursive", "timeout"}
    parameters = set(inspect.signature(getattr(pos3, name)).parameters) - positional
    assert {parameter for parameter in parameters if f"`{parameter}`" not in text} == set()


def test_every_public_name_is_mentioned() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in all_pages())
    assert [name for name in pos3.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_package_says_what_it_is_for() -> None:
    for face in sorted((ROOT / "pos3").rglob("__init__.py")):
        if "orchestration" in face.parts and face.parent.name != "orchestration":
            continue
        said = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
        assert len(said.split()) >= 20, face


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_a_package_page_links_to_no_file_of_the_repository() -> None:
    shown = run([sys.executable, "-m", "hatch_fancy_pypi_readme", str(ROOT / "pyproject.toml")], ROOT)
    assert "s3://bucket/data" in shown
    assert re.findall(r"\]\((?!https?://)[^)]*\)|<img|<picture", shown) == []
    assert "Will it delete my files? (`docs/deletes.md`)" in shown


@pytest.mark.parametrize(
    "word", ["Will it delete my files?", "MinIO", "Notebooks", "Prefect", "retries", "Pin a dataset", "Dask"]
)
def test_a_reader_finds_what_is_looked_for_in_the_navigation(word: str) -> None:
    assert word in (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]


def test_the_page_of_the_architecture_is_short_and_names_only_what_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(page.split()) < 2000
    mentioned = set(re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)`", page)) - {"__init__.py"}
    assert {name for name in mentioned if not (ROOT / "pos3" / name).exists()} == set()


def test_the_import_rules_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    checked = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown_layers = page.partition("## Import rules")[2].partition("```text\n")[2].partition("```")[0].splitlines()
    assert [set(re.findall(r"\w+", line)) for line in shown_layers] == [set(re.findall(r"\w+", x)) for x in checked]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*all_pages(), "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    dead = []
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            dead.append(target)
    assert dead == []
