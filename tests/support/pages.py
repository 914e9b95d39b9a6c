"""The snippets of README and docs, and what the buckets that they name hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.program import ROOT

BUCKET = "bucket"
CONTENT = {
    "data/a.txt": b"one",
    "data/sub/b.txt": b"two",
    "data/c.tmp": b"scratch",
    "data/raw/big.txt": b"raw",
    "model.pt": b"weights",
    "config/train.json": b"{}",
}
PUBLIC_BUCKET = "open-data"


# Each page of a recipe shows a file of examples/recipes, which is tested as such. The tutorial is one program in
# pieces, and runs as a whole. The snippets about notebooks are cells, and run in a kernel.
_TESTED_ELSEWHERE = ("docs/recipes/", "docs/tutorial.md", "docs/notebooks.md")


def all_pages() -> list[str]:
    """README and each page of the documentation, by their paths in the repository."""
    found = (path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", *sorted(found)]


def pages_of_snippets() -> list[str]:
    """The pages whose snippets run one by one."""
    return [page for page in all_pages() if not page.startswith(_TESTED_ELSEWHERE)]


@dataclass(frozen=True)
class Snippet:
    page: str
    line: int
    language: str
    text: str

    @property
    def needs_prefect(self) -> bool:
        return "prefect" in self.text or "pos3.orchestration" in self.text

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fenced(page: str) -> list[Snippet]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
