"""Finds the registered uploads that a task run uses: those of the paths in its arguments and in its result."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pos3.mirrors import arriving_reference

RegisteredUpload = tuple[str, str]
"""The URL and the local path of a registration for upload."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/@]*@)?(.*)", re.DOTALL)
_MAX_PATH_LENGTH = 4096
_LEAF_TYPES = frozenset({int, float, bool, bytes, type(None)})
"""Types that contain no paths. There may be many values of them, so they are skipped early."""


@dataclass(frozen=True)
class TaskData:
    """The arguments, the result and the registrations of a task run.

    Args:
        values: values that are searched for paths and URLs at any depth, in containers, dataclasses, attrs classes and
            pydantic models.
        registered: paths or URLs that the task run has registered.
        assets: URLs of the assets that the task materializes.
        leaves_record: whether the result is persisted. If it is not, the task run uses its assets only.
    """

    values: tuple[Any, ...] = field(default=(), repr=False)
    registered: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()
    leaves_record: bool = True

    def used_urls(self, uploads: Iterable[RegisteredUpload]) -> set[str]:
        """The URLs of the uploads that overlap a path or URL of this data; all URLs if there are none.

        Without a record, they are those that overlap an asset.
        """
        uploads = tuple(uploads)
        all_urls = {url for url, _ in uploads}
        if not self.leaves_record:
            return TaskData(registered=self.assets)._find_urls(_Lookup(uploads), len(all_urls))
        if len(all_urls) < 2:
            return all_urls
        return self._find_urls(_Lookup(uploads), len(all_urls)) or all_urls

    def exists_locally(self) -> bool:
        """Whether one of the values is a path with a directory part that exists on this machine."""
        return any(os.sep in text and len(text) <= _MAX_PATH_LENGTH and _exists(text) for text in texts_in(self.values))

    def _find_urls(self, lookup: _Lookup, most: int) -> set[str]:
        found: set[str] = set()
        seen: set[str] = set()
        for text in (*self.registered, *self.assets, *texts_in(self.values)):
            if text not in seen:
                seen.add(text)
                found |= lookup.urls_at(text)
                if len(found) == most:
                    break
        return found


class _Lookup:
    """Finds the uploads that overlap a path. The time does not depend on the number of uploads."""

    def __init__(self, uploads: Iterable[RegisteredUpload]):
        self._at: dict[str, set[str]] = {}
        self._above: dict[str, set[str]] = {}
        self._real_directories: dict[str, str] = {}
        for url, local in uploads:
            for address in (_plain_url(url), local):
                self._at.setdefault(address, set()).add(url)
                for above in (address, *_ancestors(address)):
                    self._above.setdefault(above, set()).add(url)
        working_directory = os.getcwd()
        self._covers_working_directory = bool(self._overlapping(working_directory))

    def urls_at(self, text: str) -> set[str]:
        if (
            not text
            or (os.sep not in text and not self._covers_working_directory)
            or len(text) > _MAX_PATH_LENGTH
            or "\0" in text
        ):
            return set()
        if _ADDRESS.fullmatch(text):
            return self._overlapping(_plain_url(text))
        path = os.path.abspath(os.path.expanduser(text))
        return self._overlapping(path) or self._overlapping(self._real(path))

    def _real(self, path: str) -> str:
        """The path with links resolved. Directories are cached, because many paths lie in few directories."""
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
        # A path cannot contain a zero byte.
        return False


def _plain_url(url: str) -> str:
    """The URL without the name of a profile and without a slash at its end."""
    match = _ADDRESS.fullmatch(url)
    return (match[1].lower() + match[2] if match else url).rstrip("/")


def _ancestors(address: str) -> Iterator[str]:
    """The directories above a path, or above a URL's key and bucket; the innermost first."""
    while True:
        address, separator, _ = address.rpartition("/")
        if not separator or not address or address.endswith("/"):
            return
        yield address


def paths_in(values: Iterable[Any]) -> Iterator[Path]:
    """The paths in ``values``, at any depth."""
    return (value for value in _leaves(values) if isinstance(value, Path))


def texts_in(values: Iterable[Any]) -> Iterator[str]:
    """The strings, and the texts of the paths, in ``values``, at any depth, the outermost first."""
    for value in _leaves(values):
        if isinstance(value, str):
            yield value
        elif isinstance(value, Path) and (arriving := arriving_reference(value)) is not None:
            # Its text is that of another machine, and to ask for the one of this machine would download it.
            yield arriving.url
        elif isinstance(value, os.PathLike):
            path = os.fspath(value)
            if isinstance(path, str):
                # With a separator, the lookup treats the text as a path.
                yield path if os.sep in path else f".{os.sep}{path}"


def _leaves(values: Iterable[Any]) -> Iterator[str | os.PathLike[Any]]:
    """The strings and path objects in ``values``, at any depth, the outermost first."""
    waiting = deque(values)
    seen: set[int] = set()
    while waiting:
        value = waiting.popleft()
        if isinstance(value, str | os.PathLike):
            yield value
        elif type(value) in _LEAF_TYPES:
            continue
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
