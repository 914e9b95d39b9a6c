"""Says which registered places a task run uses: those that hold a path among its arguments or in its result."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from pydantic import BaseModel

Place = tuple[str, str]
"""The URL and the local path of what is registered for upload."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/@]*@)?(.*)", re.DOTALL)
_LONGEST_PATH = 4096
_PLAIN = frozenset({int, float, bool, bytes, type(None)})
"""Types of which there may be many, and which hold nothing."""


@dataclass(frozen=True)
class Handled:
    """What a task run was given, has made, and has registered.

    Args:
        values: searched at any depth for paths and URLs, in containers, dataclasses, attrs classes and pydantic models.
        registered: paths or URLs that count in any case.
    """

    values: tuple[Any, ...] = field(default=(), repr=False)
    registered: frozenset[str] = frozenset()

    def among(self, places: Iterable[Place]) -> set[str]:
        """The URLs of the places that these lie at, in or above; all of them if there are none."""
        places = tuple(places)
        all_urls = {url for url, _ in places}
        if len(all_urls) < 2:
            return all_urls
        return self._named(_Lookup(places), len(all_urls)) or all_urls

    def exists_here(self) -> bool:
        """Whether one of these is a path, with a directory, of something that is on this machine."""
        return any(os.sep in text and len(text) <= _LONGEST_PATH and _exists(text) for text in _texts(self.values))

    def _named(self, lookup: _Lookup, most: int) -> set[str]:
        found: set[str] = set()
        seen: set[str] = set()
        for text in (*self.registered, *_texts(self.values)):
            if text not in seen:
                seen.add(text)
                found |= lookup.holding(text)
                if len(found) == most:
                    break
        return found


class _Lookup:
    """Finds places by a path in them or above them, in steps that do not depend on how many there are."""

    def __init__(self, places: Iterable[Place]):
        self._at: dict[str, set[str]] = {}
        self._above: dict[str, set[str]] = {}
        self._real_directories: dict[str, str] = {}
        for url, local in places:
            for address in (_plain_url(url), local):
                self._at.setdefault(address, set()).add(url)
                for above in (address, *_ancestors(address)):
                    self._above.setdefault(above, set()).add(url)
        here = os.getcwd()
        self._is_here = bool(self._overlapping(here))

    def holding(self, text: str) -> set[str]:
        if not text or (os.sep not in text and not self._is_here) or len(text) > _LONGEST_PATH or "\0" in text:
            return set()
        if _ADDRESS.fullmatch(text):
            return self._overlapping(_plain_url(text))
        path = os.path.abspath(os.path.expanduser(text))
        return self._overlapping(path) or self._overlapping(self._real(path))

    def _real(self, path: str) -> str:
        """Where a path leads. Many paths lie in few directories."""
        directory, name = os.path.split(path)
        if os.path.islink(path):
            return os.path.realpath(path)
        if directory not in self._real_directories:
            self._real_directories[directory] = os.path.realpath(directory)
        return os.path.join(self._real_directories[directory], name)

    def _overlapping(self, address: str) -> set[str]:
        found = set(self._above.get(address, ()))
        for above in (address, *_ancestors(address)):
            found |= self._at.get(above, set())
        return found


def _exists(text: str) -> bool:
    try:
        return bool(text.strip(os.sep)) and os.path.lexists(os.path.expanduser(text))
    except ValueError:
        # No path holds a zero byte.
        return False


def _plain_url(url: str) -> str:
    """Without the name of a profile."""
    match = _ADDRESS.fullmatch(url)
    return (match[1].lower() + match[2] if match else url).rstrip("/")


def _ancestors(address: str) -> Iterator[str]:
    """Those below the root, or below the scheme; the innermost first."""
    while True:
        address, separator, _ = address.rpartition("/")
        if not separator or not address or address.endswith("/"):
            return
        yield address


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """The strings and the paths in ``values``, at any depth, the outermost first."""
    waiting = deque(values)
    seen: set[int] = set()
    while waiting:
        value = waiting.popleft()
        if isinstance(value, str):
            yield value
        elif type(value) in _PLAIN:
            continue
        elif isinstance(value, os.PathLike):
            path = os.fspath(value)
            if isinstance(path, str):
                # With a separator, it is looked at as a path wherever it leads.
                yield path if os.sep in path else f".{os.sep}{path}"
        elif id(value) not in seen and (parts := _parts(value)):
            seen.add(id(value))
            waiting.extend(parts)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return list(value)
    if isinstance(value, BaseModel):
        return [*vars(value).values(), *(value.model_extra or {}).values()]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, item.name, None) for item in fields(value)]
    if hasattr(type(value), "__attrs_attrs__"):
        return [getattr(value, item.name, None) for item in type(value).__attrs_attrs__]
    return []
