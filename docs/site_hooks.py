"""Pages of the site that are no files of ``docs/``: made of README, of other files of the repository, and of the code.

mkdocs calls the functions ``on_*``. Pages link to files by their paths in the repository, so that the links also work
on a Git host. Here such links get the address of the page that shows the file.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

import pos3
from pos3.cli.arguments import build_parser

ROOT = Path(__file__).resolve().parents[1]
# Pages of their own in the navigation, by their paths in the repository.
SHOWN = {"README.md": "index.md", **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}}
_LINK = re.compile(r"(?<=\]\()([^()\s#:]+)(#[^()\s]*)?(?=\))")
_CELL = re.compile(r"<td[ >].*?</td>", re.DOTALL)
_CODE = re.compile(r"<code>[^<]*</code>")
_HELP_COLUMNS = "100"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the recipes to the navigation, after the guides. mkdocs takes the title of each from its heading."""
    recipes = sorted(
        path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).glob("recipes/*.md")
    )
    if recipes and config.nav:
        after_guides = 1 + next(number for number, entry in enumerate(config.nav) if "Guides" in entry)
        config.nav.insert(after_guides, {"Recipes": recipes})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are generated."""
    generated = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in SHOWN.items()}
    generated["reference/commands.md"] = _commands()
    generated["reference/python.md"] = _python_api()
    for page, text in generated.items():
        files.append(File.generated(config, page, content=text))
    for path in sorted(_linked_files(files)):
        content = _source_page(path)
        files.append(File.generated(config, _page_of(path), content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with links to pages in place of links to files of the repository."""
    source = _repository_path(page.file.src_uri)

    def as_page(found: re.Match[str]) -> str:
        target = _target(source, found[1])
        if not (ROOT / target).is_file():
            return found[0]
        return os.path.relpath(_page_of(target), PurePosixPath(page.file.src_uri).parent) + (found[2] or "")

    return _LINK.sub(as_page, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with names in tables that may be broken after an underscore or a slash, for narrow screens."""

    def breakable(cell: re.Match[str]) -> str:
        return _CODE.sub(lambda code: re.sub(r"(?<=[^_/<])([_/])(?=[^_/>])", r"\1<wbr>", code[0]), cell[0])

    return _CELL.sub(breakable, html)


def _repository_path(page: str) -> str:
    """The file that a page shows. A generated page counts as a file of its place in ``docs/``."""
    for path, shown in SHOWN.items():
        if page == shown:
            return path
    for path in (page, page.removeprefix("source/").removesuffix(".md")):
        if not (ROOT / "docs" / page).exists() and (ROOT / path).is_file():
            return path
    return f"docs/{page}"


def _target(source: str, link: str) -> str:
    return os.path.normpath(PurePosixPath(source).parent / link)


def _page_of(path: str) -> str:
    """The path of the page, or of the picture, that shows a file of the repository."""
    if path in SHOWN:
        return SHOWN[path]
    if _is_in_docs(path):
        return path.removeprefix("docs/")
    return path if path.endswith(".md") else f"source/{path}.md"


def _is_in_docs(path: str) -> bool:
    """Whether the site has the file as it is."""
    return path.startswith("docs/") and not path.endswith(".py")


def _linked_files(files: Files) -> Iterator[str]:
    """The files outside of ``docs/`` that pages link to, without those that have pages."""
    seen = set(SHOWN)
    waiting = [_repository_path(file.src_uri) for file in files.documentation_pages()]
    while waiting:
        source = waiting.pop()
        text = (ROOT / source).read_text(encoding="utf-8") if (ROOT / source).is_file() else ""
        for found in _LINK.finditer(text):
            path = _target(source, found[1])
            if path in seen or not (ROOT / path).is_file() or _is_in_docs(path):
                continue
            seen.add(path)
            yield path
            waiting += [path] if path.endswith(".md") else []


def _source_page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = {"py": "python", "yaml": "yaml", "json": "json"}.get(path.rpartition(".")[2], "text")
    return f"# {path}\n\n````{language}\n{text}````\n"


def _commands() -> str:
    """The help of each command."""
    os.environ["COLUMNS"] = _HELP_COLUMNS
    lines = ["# All commands and options", "", "This is what `--help` prints. [The command line](../cli.md) says more."]
    for parser in _parsers(build_parser()):
        lines += ["", f"## {parser.prog}", "", "```text", parser.format_help().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from _parsers(command)


def _python_api() -> str:
    """Each public name of pos3, by what it is."""
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in pos3.__all__:
        value = getattr(pos3, name)
        is_error = inspect.isclass(value) and issubclass(value, BaseException)
        groups["Errors" if is_error else "Classes" if name[0].isupper() else "Functions"].append(name)
    lines = ["# Python API", "", "[Calls and arguments](../calls.md) explains these with examples."]
    for title, names in groups.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += ["", f"::: pos3.{name}"]
            lines += [] if title == "Classes" else ["    options:", "      members: false"]
    return "\n".join(lines) + "\n"
