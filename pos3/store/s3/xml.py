"""Reads and writes XML for S3, except object listings, which have their own reader."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape, unescape

# Characters that XML 1.0 cannot contain, not even as references.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# A reader takes a line end that stands for itself for a newline, whatever it was.
_LINE_ENDS = {"\r": "&#13;", "\n": "&#10;"}
# Other characters that servers may escape in a text.
_REFERENCES = {"&quot;": '"', "&#34;": '"', "&apos;": "'", "&#39;": "'", "&#13;": "\r", "&#10;": "\n"}
# Several times the number for a thousand keys. An element takes twenty times the memory of its text.
_MOST_ELEMENTS = 50_000


class _Tree(ElementTree.TreeBuilder):
    _count = 0

    def start(self, tag: str, attributes: dict[Any, Any]) -> Any:
        self._count += 1
        if self._count > _MOST_ELEMENTS:
            raise ValueError(f"more than {_MOST_ELEMENTS} elements")
        return super().start(tag, attributes)

    def doctype(self, *_declared: object) -> None:
        # No answer has one. What it defines could stand for any text, and for more of it than fits into memory.
        raise ValueError("a document type declaration")


def is_writable(text: str) -> bool:
    """Whether XML can contain the text."""
    return _UNWRITABLE.search(text) is None


def is_kept(text: str) -> bool:
    """Whether every server reads exactly this text from XML. Some servers strip blanks at the ends."""
    return is_writable(text) and text == text.strip()


def written(text: str) -> str:
    """A text as the content of an element. A reader gets exactly this text."""
    return escape(text, _LINE_ENDS)


def parsed(body: bytes) -> ElementTree.Element:
    """The root of a complete document.

    Raises:
        ValueError: it is not well-formed, declares a document type, or has more elements than any answer.
    """
    try:
        return ElementTree.fromstring(body, ElementTree.XMLParser(target=_Tree()))
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from error


def text_of(element: ElementTree.Element, name: str) -> str:
    """The text of a child element; "" if there is none. Servers may or may not use S3's namespace."""
    return element.findtext(f"{{*}}{name}", "")


def unquoted(text: str, is_quoted: bool) -> str:
    """A key from a page. ``is_quoted`` says whether its keys are percent-encoded (``EncodingType``)."""
    return unquote_plus(text) if is_quoted and ("%" in text or "+" in text) else text


def next_key_marker(page: ElementTree.Element, last_key: str, is_quoted: bool) -> str:
    """The key after which the next page begins; "" if the page does not say it.

    Args:
        last_key: the last key of the page, decoded.
    """
    marker = text_of(page, "NextKeyMarker")
    # Some servers percent-encode the keys of a page, but not the last key in this marker.
    return marker if marker == last_key else unquoted(marker, is_quoted)


def first_text(body: bytes, name: str) -> str:
    """The text of the first element ``name`` anywhere in a body; "" if there is none.

    The body may be truncated, or no XML at all.
    """
    _, tag, rest = body.partition(b"<%b>" % name.encode())
    found, _, end = rest.partition(b"<")
    is_whole = tag and end.startswith(b"/%b>" % name.encode())
    return unescape(found.decode("utf-8", "replace"), _REFERENCES) if is_whole else ""
