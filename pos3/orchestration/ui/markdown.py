"""Puts texts from outside into Markdown for Prefect's UI, so that their links, images and HTML have no effect."""

from __future__ import annotations

import re

_BACKTICKS = re.compile("`+")


def printable(text: str) -> str:
    """The text with unprintable characters, such as controls of the writing direction, escaped as in Python source."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def code(text: str) -> str:
    """The text as Markdown code, for any text. In code, links and HTML have no effect."""
    text = printable(" ".join(text.split()))
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(text)), default=0))
    # A backtick at an end would make the fence longer. Markdown does not show one blank at each end.
    inside = f" {text} " if "`" in (text[0], text[-1]) else text
    return f"{fence}{inside}{fence}"
