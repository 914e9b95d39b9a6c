"""What Prefect's UI renders as Markdown holds no link, image or HTML from keys and messages."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
from markdown_it import MarkdownIt

import pos3
from pos3.orchestration.ui import transfers_table
from pos3.orchestration.ui.progress import ArtifactProgress
from pos3.reports import Kept, Report

EVIL = (
    "![x](http://evil.example/i.png)",
    "[x](http://evil.example)",
    "<img src=http://evil.example/i.png>",
    "` ![x](http://evil.example/i.png) `",
    "``` <script>alert(1)</script> ```",
    "`` ` `` [x](javascript:alert(1))",
    "http://evil.example www.evil.example a@evil.example <http://evil.example>",
    "a\n\n# [x](http://evil.example)\n\n<b>x</b>",
    "[x]: http://evil.example\n\n[x]",
    "\\` ![x](http://evil.example)",
    "`",
    "*`*",
    "a | b\n--|--\n<i>|`",
    "&lt;img src=x&gt; &#60;b&#62;",
    "\x1b[2J\u202e~~x~~",
)
_RENDERER = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


def rendered(text: str) -> str:
    return str(_RENDERER.render(text))


def tags(text: str) -> set[str]:
    return set(re.findall(r"<([a-z0-9]+)", rendered(text)))


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_the_table_of_transfers_renders_what_it_tells_as_text(evil: str) -> None:
    report = Report(kept=(Kept(evil, evil), Kept("b", "an ordinary reason")), failures=(evil,))
    item = pos3.Registered("download", f"s3://bucket/{evil}", "/x", report=report, failure=evil)
    text = transfers_table.description([item], report)
    assert tags(text) <= {"p", "strong", "ul", "li", "code"}
    assert rendered(text).count("<li>") == 3
    assert "an ordinary reason" in rendered(text)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    # Some renderers make links of addresses by themselves, but none in code.
    outside = re.sub(r"<code>.*?</code>", "", rendered(text), flags=re.DOTALL)
    assert not re.search(r"https?:|www\.|\w@\w", outside)


class _Artifacts:
    put: ClassVar[list[str]] = []


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_the_progress_of_a_transfer_renders_its_title_as_text(evil: str) -> None:
    progress = ArtifactProgress(_Artifacts(), f"Downloading s3://bucket/{evil}", 1, 3)  # type: ignore[arg-type]
    progress.close()
    text = progress._description
    assert tags(text) <= {"p", "code"}
    assert "0 of 1 files" in rendered(text)
