"""The value :class:`Part`, and the text that it is turned to and made from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pos3.entries import PathRange
from pos3.errors import InvalidArgumentError
from pos3.filters import Filter, as_patterns, matcher
from pos3.url import PART_PREFIX, Location, parse, quoted

_EXPECTED = "expected what str() makes of a part, such as 'part+s3://bucket/data/?part=3/16&after=a.csv&until=f.csv'"
_SINGLE = ("part", "after", "until", "files", "bytes")
_PATTERNS = ("include", "exclude")


def _is_text(address: str) -> bool:
    """Whether it is meant as the text of a part."""
    return address.startswith(PART_PREFIX) and "://" in address


def _url_of(location: Location) -> str:
    """The URL of a location, with the name of its profile. A password is no part of a location."""
    profile = f"{location.profile}@" if location.profile else ""
    key = f"{location.key}/" if location.key and location.is_prefix else location.key
    return f"{location.scheme}://{profile}{location.bucket}/{key}"


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Part:
    """A range of the objects of a URL. :func:`pos3.partition` makes parts. They are immutable and can be pickled.

    ``str(part)`` is a short text for JSON, command lines and flow parameters. ``Part.parse(text)`` returns the same
    part. A function that takes a part also takes this text. ``path in part`` says whether the object at a path below
    the URL belongs to the part.

    Args:
        url: the whole URL, with the name of its profile.
        after: the path below the URL directly before the part. "" means that there is no lower limit.
        until: the last path of the part. "" means that there is no upper limit. Paths are in the order of
            listings, which is the order of code points. An object that is added later belongs to the part whose range
            contains it.
        include, exclude: globs of the objects that take part.
        index: the number of the part, counted from 0.
        count: the number of all parts.
        files: the number of objects when the part was made.
        size_bytes: the number of bytes when the part was made.

    Raises:
        InvalidURLError: ``url`` is not a URL of a store.
        InvalidArgumentError: another value cannot work. The error names it.
    """

    url: str
    after: str = field(default="", kw_only=True)
    until: str = field(default="", kw_only=True)
    include: tuple[str, ...] = field(default=(), kw_only=True)
    exclude: tuple[str, ...] = field(default=(), kw_only=True)
    index: int = field(default=0, kw_only=True)
    count: int = field(default=1, kw_only=True)
    files: int = field(default=0, kw_only=True)
    size_bytes: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _url_of(parse(self.url)))
        for name in ("after", "until"):
            path = getattr(self, name)
            if not isinstance(path, str) or not _is_utf8(path):
                raise InvalidArgumentError(f"{name}={path!r}: expected a path below the URL, or ''", argument=name)
        if self.until and self.after > self.until:
            raise InvalidArgumentError(f"until={self.until!r} comes before after={self.after!r}", argument="until")
        for name in ("index", "count", "files", "size_bytes"):
            number: Any = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise InvalidArgumentError(f"{name}={number!r}: expected a whole number from 0 on", argument=name)
        if self.index >= self.count:
            raise InvalidArgumentError(f"index={self.index} is none of count={self.count}", argument="index")
        for name in _PATTERNS:
            patterns = as_patterns(getattr(self, name), name)
            matcher(patterns, name)
            object.__setattr__(self, name, patterns)

    @classmethod
    def parse(cls, text: str) -> Part:
        """Returns the part that ``text`` describes.

        Raises:
            InvalidArgumentError: ``text`` is not the text of a part.
        """
        try:
            if not (isinstance(text, str) and _is_text(text)):
                raise ValueError
            address, _, query = text.removeprefix(PART_PREFIX).partition("?")
            items = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
            return cls._of_items(unquote(address, errors="strict"), items)
        except ValueError as error:
            reason = f" ({error})" if isinstance(error, InvalidArgumentError) else ""
            raise InvalidArgumentError(f"{quoted(str(text))} is not the text of a part{reason}; {_EXPECTED}") from None

    @classmethod
    def _of_items(cls, url: str, items: list[tuple[str, str]]) -> Part:
        """
        Raises:
            ValueError: there are other items, or some twice.
        """
        globs = {wanted: tuple(value for name, value in items if name == wanted) for wanted in _PATTERNS}
        single = {name: value for name, value in items if name in _SINGLE}
        if len(items) != len(single) + sum(map(len, globs.values())):
            raise ValueError
        number, _, count = single.get("part", "1/1").partition("/")
        return cls(
            url,
            after=single.get("after", ""),
            until=single.get("until", ""),
            include=globs["include"],
            exclude=globs["exclude"],
            index=int(number) - 1,
            count=int(count),
            files=int(single.get("files", "0")),
            size_bytes=int(single.get("bytes", "0")),
        )

    def __str__(self) -> str:
        items = [("part", f"{self.index + 1}/{self.count}")]
        items += [(name, path) for name, path in (("after", self.after), ("until", self.until)) if path]
        items += [(name, glob) for name in _PATTERNS for glob in getattr(self, name)]
        items += [("files", str(self.files)), ("bytes", str(self.size_bytes))]
        return f"{PART_PREFIX}{quote(self.url, safe='/:@')}?{urlencode(items, safe='/', quote_via=quote)}"

    def __contains__(self, path: str | os.PathLike[str]) -> bool:
        text = os.fspath(path)
        return text in self.within and self.filter.predicate()(text)

    @property
    def within(self) -> PathRange:
        """The range of the part: the paths below the URL that belong to it."""
        return PathRange(self.after, self.until)

    @property
    def filter(self) -> Filter:
        """The filter of the part, with its globs."""
        return Filter(self.include, self.exclude)


Address = str | os.PathLike[str] | Part


def part_or_address(address: Address) -> Address:
    """The part that a text stands for; any other address, and a part, as it is.

    Raises:
        InvalidArgumentError: a text that is meant as that of a part is none.
    """
    return Part.parse(address) if isinstance(address, str) and _is_text(address) else address
