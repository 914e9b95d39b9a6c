"""Reads the XML of a listing page: with a regular expression if its form is certain, and otherwise with expat.

A page of a thousand objects has seven thousand elements. One call for each of them would take longer than everything
else in a run without changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from pos3.entries import Entry

_LONG_BYTES = 8 * 1024 * 1024
_LONGEST_SIZE = 18
# Ten times the requested number. More entries would take too much memory and time.
_MOST_ENTRIES = 10_000


class TooManyEntriesError(ValueError):
    """A page has more objects than any server sends."""


# Other elements are not kept.
_WANTED = frozenset(
    {
        *("Key", "LastModified", "ETag", "Size", "StorageClass"),
        *("Name", "Prefix", "EncodingType", "IsTruncated", "NextContinuationToken"),
    }
)
_OPEN, _CLOSE = "<Contents>", "</Contents>"
# The elements of an object come in any order; those that are not wanted hold only text, or others that do. Nothing that
# was matched is given back: indented elements can be split in so many ways that a single unknown one would take years.
_OBJECT = re.compile(
    r"<Contents>(?:"
    r"<Key>([^<&]*+)</Key>"
    r"|<LastModified>([^<&]*+)</LastModified>"
    r"|<ETag>(?:&quot;|&#34;)?([^<&]*+)(?:&quot;|&#34;)?</ETag>"
    r"|<Size>([0-9]{1,18}+)</Size>"
    r"|<StorageClass>([^<&]*+)</StorageClass>"
    r"|<(?:Type|ChecksumAlgorithm|ChecksumType)>[^<]*+</(?:Type|ChecksumAlgorithm|ChecksumType)>"
    r"|<Owner>\s*+(?:<(?:ID|DisplayName)>[^<]*+</(?:ID|DisplayName)>\s*+)*+</Owner>"
    r"|\s++)*+</Contents>\s*+(?=<Contents>|\Z)"
)


@dataclass(frozen=True)
class Page:
    """One page of a listing. Its paths are whole keys, in the order of the store.

    ``next_token`` is "" on the last page. ``server_time`` is in seconds since the epoch, or 0 if the store does not
    send it. ``wait_seconds`` is the time until the answer began.
    """

    prefix: str
    entries: list[Entry]
    directories: list[str]
    next_token: str
    server_time: float
    wait_seconds: float = 0.0


@dataclass
class Document:
    """The content of a page. ``objects`` are (key, time, etag, size, storage class), with "" for a missing value."""

    root: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    objects: Sequence[tuple[str, str, str, str, str]] = ()
    directories: list[str] = field(default_factory=list)

    @property
    def is_quoted(self) -> bool:
        """Whether keys are percent-encoded."""
        return self.fields.get("EncodingType", "") == "url"


def read_page(page: bytes) -> Document:
    """The complete content of a page.

    Raises:
        TooManyEntriesError: it has more objects than any server sends.
        ExpatError, ValueError: it is not well-formed XML, or declares a document type.
    """
    if len(page) > _LONG_BYTES:
        # As text, it could take four times as much memory.
        return _Reader().read(page)
    text = page.decode("utf-8", "replace")
    begin, end = text.find(_OPEN), text.rfind(_CLOSE) + len(_CLOSE)
    if 0 <= begin < end:
        middle = text[begin:end]
        objects = _OBJECT.findall(middle) if middle.count(_OPEN) <= _MOST_ENTRIES else []
        # The result is used only if each object has matched, with nothing between two objects.
        if len(objects) == middle.count(_OPEN) == middle.count(_CLOSE) and "\ufffd" not in text:
            # expat reads the page with only one of the objects. This shows that they are not in a comment, for example.
            around = _Reader().read((text[:begin] + _OPEN + _CLOSE + text[end:]).encode())
            if len(around.objects) == 1:
                around.objects = objects
                return around
    return _Reader().read(page)


class _Reader:
    """Reads a page in a single pass of expat."""

    def __init__(self) -> None:
        self._document = Document()
        self._objects: list[dict[str, str]] = []
        self._directories: list[dict[str, str]] = []
        self._item = self._document.fields
        self._text: list[str] = []

    def read(self, page: bytes) -> Document:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.Parse(page, True)
        names = ("Key", "LastModified", "ETag", "Size", "StorageClass")
        document = self._document
        document.objects = [(*(fields.get(name, "") for name in names),) for fields in self._objects]  # type: ignore[misc]
        document.directories = [fields.get("Prefix", "") for fields in self._directories]
        return document

    def _refuse_doctype(self, *_declared: object) -> None:
        # No listing has a document type. Its entities could expand to any text.
        raise ValueError("a document type declaration")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if name == "Contents" or name == "CommonPrefixes":
            self._item = {}
        elif not self._document.root:
            self._document.root = name
        self._text.clear()

    def _end(self, name: str) -> None:
        if name == "Contents":
            if len(self._item.get("Size", "")) > _LONGEST_SIZE or (self._objects and not self._item.get("Key")):
                raise ValueError("an object without a key, or of no possible size")
            self._take(self._objects)
        elif name == "CommonPrefixes":
            self._take(self._directories)
        elif name in _WANTED:
            self._item[name] = "".join(self._text)
        self._text.clear()

    def _take(self, entries: list[dict[str, str]]) -> None:
        if len(entries) == _MOST_ENTRIES:
            raise TooManyEntriesError(f"more than {_MOST_ENTRIES} entries in one page")
        entries.append(self._item)
        self._item = self._document.fields
