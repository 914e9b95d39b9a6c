"""Texts from outside in the Markdown that Prefect's UI renders: no link, image or HTML of theirs comes to life."""

from __future__ import annotations

import re

_BACKTICKS = re.compile("`+")


def printable(text: str) -> str:
    """The text with control characters, and what turns the direction of writing, as in Python's source."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def code(text: str) -> str:
    """The text as code, whatever it holds: in code nothing is a link or HTML."""
    text = printable(" ".join(text.split()))
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(text)), default=0))
    # A backtick at an end would make the fence longer; one blank at each end is not shown.
    inside = f" {text} " if "`" in (text[0], text[-1]) else text
    return f"{fence}{inside}{fence}"
