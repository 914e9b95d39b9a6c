"""Writes what a mirror has registered as HTML, for notebooks."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pos3.jobs import Registered
from pos3.redaction import redacted
from pos3.reports import format_bytes

_MAX_ROWS = 50
_HEADS = ("call", "URL", "local path", "equal on both sides", "moved", "everything pushed")


def mirror_as_html(state: str, cache_root: str, registrations: Sequence[Registered]) -> str:
    """A heading and a table of the registrations, the newest ones if there are many.

    It sets no colours, so it takes those of a light or a dark page.

    Args:
        state: whether the mirror is open, in a word.
    """
    heading = f"<b>pos3.Mirror</b>, {_text(state)}, cache in <code>{_text(cache_root)}</code>"
    if not registrations:
        return f"<div>{heading}: nothing is registered</div>"
    shown = registrations[-_MAX_ROWS:]
    left_out = len(registrations) - len(shown)
    above = f"<div>{left_out} earlier ones are not shown.</div>" if left_out else ""
    rows = "".join(_row("td", _cells(item)) for item in shown)
    return f"<div>{heading}</div>{above}<table><thead>{_row('th', _HEADS)}</thead><tbody>{rows}</tbody></table>"


def _cells(item: Registered) -> Iterable[str]:
    moved = replace(item.report, unchanged=0).figures or "nothing"
    return (
        item.kind,
        item.url,
        item.local,
        f"{item.files} file{'' if item.files == 1 else 's'}, {format_bytes(item.size_bytes)}",
        f"{moved}; the last transfer failed: {item.failure}" if item.failure else moved,
        "" if item.kind == "download" else _last_push(item),
    )


def _last_push(item: Registered) -> str:
    if item.last_push_at is None:
        return "not yet"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item.last_push_at))


def _row(tag: str, cells: Iterable[str]) -> str:
    # Notebooks align the cells of tables at the right, as they do for numbers.
    written = "".join(f'<{tag} style="text-align: left">{_text(cell)}</{tag}>' for cell in cells)
    return f"<tr>{written}</tr>"


def _text(text: str) -> str:
    # Names of files that are not UTF-8 cannot be sent to a page.
    sendable = redacted(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return html.escape(sendable)
