"""XML to and from S3, apart from listings of objects, which have a reader of their own."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pos3.errors import StoreError
from pos3.store.retry import UnreachableError
from pos3.store.s3.errors import error_of_body

# What XML 1.0 cannot hold, not even as a reference.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# A reader takes a line end that stands for itself for a newline, whatever it was.
_LINE_ENDS = {"\r": "&#13;", "\n": "&#10;"}


# Several times what a thousand keys need. An element takes twenty times the memory of its text.
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
    """Whether XML can hold the text at all."""
    return _UNWRITABLE.search(text) is None


def is_kept(text: str) -> bool:
    """Whether whoever reads the text in XML gets exactly this text: some strip what is blank at its ends."""
    return is_writable(text) and text == text.strip()


def written(text: str) -> str:
    """A writable text as the content of an element, which a reader of XML takes for exactly this text."""
    return escape(text, _LINE_ENDS)


def read_answer(body: bytes, name: str, where: str) -> ElementTree.Element:
    """The element ``name``, which the body of a good answer must be.

    Raises:
        UnreachableError: it is no XML, or not whole.
        StoreError: it is something else; also what S3 may answer with status 200 before it knows better.
    """
    try:
        root = ElementTree.fromstring(body, ElementTree.XMLParser(target=_Tree()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UnreachableError(f"{where}: the answer is not valid XML ({error})") from error
    found = root.tag.rpartition("}")[2]
    if found == "Error":
        raise error_of_body(200, body, where)
    if found != name:
        raise StoreError(f"{where}: the answer is no {name}; check the endpoint's URL")
    return root


def text_of(element: ElementTree.Element, name: str) -> str:
    """The text of a child, "" without it. Servers differ in whether they name S3's namespace."""
    return element.findtext(f"{{*}}{name}", "")
