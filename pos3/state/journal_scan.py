"""Reads the journals of other mirrors, to find the local paths that they push or that dead processes were to push.

This module only reads: the paths that a journal names are protected from changes. It also decides whether a journal is
trusted, so that recovery may push what it names.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pos3.errors import InvalidURLError
from pos3.local import ForeignFileError, is_trusted, open_lock, open_own, state_directory_of
from pos3.state.claims import Claim, ClaimKind
from pos3.state.journal_file import JournalFile
from pos3.url import parse

logger = logging.getLogger("pos3")

NAME = "journal"
SUFFIX = ".jsonl"


def journal_directory(cache_root: str) -> str:
    return os.path.join(state_directory_of(cache_root), NAME)


def files_in_journal_directory(cache_root: str) -> list[str]:
    """The paths of all files in the journal directory of a cache."""
    directory = journal_directory(cache_root)
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory)]
    except OSError:
        return []


def is_journal_directory_trusted(cache_root: str) -> bool:
    """Whether no other user can have put a journal into the journal directory."""
    return is_trusted(state_directory_of(cache_root), NAME)


def untrusted_journals(cache_root: str) -> list[str]:
    """The paths of journals that recovery ignores, because another user may have written them."""
    found = journals(cache_root)
    is_directory_untrusted = bool(found) and not is_journal_directory_trusted(cache_root)
    return [path for path in found if is_directory_untrusted or _is_untrusted(path)]


def _is_untrusted(path: str) -> bool:
    try:
        os.close(open_own(path, os.O_RDONLY))
    except ForeignFileError:
        return True
    except OSError:
        pass
    return False


@dataclass(frozen=True)
class JournaledRegistration:
    """A registration in a journal, reduced to what other mirrors need to know."""

    kind: ClaimKind
    url: str
    local: str


def registrations_in(path: str) -> list[JournaledRegistration]:
    """Every registration in a journal, whether its mirror is alive or not; none if the journal does not exist.

    The owner of the file is not checked, because the paths that it names are only protected from changes.

    Raises:
        OSError: the journal cannot be read.
    """
    return _registrations_of(_lines(path))


def _registrations_of(lines: list[dict[str, Any]]) -> list[JournaledRegistration]:
    return [
        JournaledRegistration(line["kind"], line["url"], line["local"])
        for line in lines
        if line.keys() >= _REQUIRED_KEYS
    ]


def _lines(path: str) -> list[dict[str, Any]]:
    """The header and the entries of a journal. Lines that are not JSON objects are left out."""
    found = []
    try:
        with open(open_lock(path, make=False), "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


_REQUIRED_KEYS = {"kind", "url", "local"}


def _url(text: str) -> str:
    """The URL as it is in an index, without the slash at the end that a journal may keep."""
    try:
        return str(parse(text))
    except InvalidURLError:
        return text


def _number(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def journals(cache_root: str) -> list[str]:
    """The paths of all journals of a cache, in no particular order."""
    return [path for path in files_in_journal_directory(cache_root) if path.endswith(SUFFIX)]


def unclaimed_registrations(cache_root: str, paths: Iterable[str]) -> Iterator[tuple[Claim, bool]]:
    """The registrations of journals whose mirrors have no claims, as claims, each with whether its mirror is alive.

    Earlier versions of pos3 wrote no claims. Uploads in such a journal may delete objects at the end. The caller holds
    the lock of the claims.
    """
    for path in paths:
        try:
            lines = _lines(path)
        except OSError as error:
            logger.info("the journal %s is left alone: %s", path, error)
            continue
        header = lines[0] if lines else {}
        for registration in _registrations_of(lines):
            claim = Claim(
                id="",
                mirror=os.path.basename(path).removesuffix(SUFFIX),
                group="",
                owner="",
                kind=registration.kind,
                deletes=registration.kind == "upload",
                local=os.path.realpath(registration.local),
                root=registration.local,
                url=_url(registration.url),
                endpoint=None,
                cache_root=cache_root,
                journal=path,
                pid=_number(header.get("pid")),
                host=str(header.get("host", "")),
                begun_at=_number(header.get("begun_at")),
            )
            yield claim, JournalFile.is_held(path)
