"""What journals say to others than their mirrors: which local paths are pushed, or were to be when a process died.

Nothing of it is carried out here: it keeps what it names from being changed, and says whether a journal may be carried
out at all.
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
from pos3.state.journal_file import HeldFile
from pos3.url import parse

logger = logging.getLogger("pos3")

NAME = "journal"
SUFFIX = ".jsonl"


def journal_directory(cache_root: str) -> str:
    return os.path.join(state_directory_of(cache_root), NAME)


def paths_in_directory(cache_root: str) -> list[str]:
    """The paths of what lies where the journals of a cache are."""
    directory = journal_directory(cache_root)
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory)]
    except OSError:
        return []


def may_be_carried_out(cache_root: str) -> bool:
    """Whether nobody else can have put a journal there."""
    return is_trusted(state_directory_of(cache_root), NAME)


def left_alone(cache_root: str) -> list[str]:
    """The paths of journals that are not carried out, since somebody else may have written them."""
    found = journals(cache_root)
    is_none_carried_out = bool(found) and not may_be_carried_out(cache_root)
    return [path for path in found if is_none_carried_out or _is_foreign(path)]


def _is_foreign(path: str) -> bool:
    try:
        os.close(open_own(path, os.O_RDONLY))
    except ForeignFileError:
        return True
    except OSError:
        pass
    return False


@dataclass(frozen=True)
class Trace:
    """What a journal says of one registration, as far as others of the same files need to know."""

    kind: ClaimKind
    url: str
    local: str


def traces(path: str) -> list[Trace]:
    """Every registration that a journal names, whether or not its mirror lives; none if it is not there.

    It does not matter who has written it: what it names is only kept from being changed.

    Raises:
        OSError: it cannot be read.
    """
    return _traces_in(_lines(path))


def _traces_in(lines: list[dict[str, Any]]) -> list[Trace]:
    return [Trace(line["kind"], line["url"], line["local"]) for line in lines if line.keys() >= _KNOWN]


def _lines(path: str) -> list[dict[str, Any]]:
    """The head and the entries, as they are."""
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


_KNOWN = {"kind", "url", "local"}


def _url(text: str) -> str:
    """As an index has it, without the slash that a journal may keep."""
    try:
        return str(parse(text))
    except InvalidURLError:
        return text


def _number(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def journals(cache_root: str) -> list[str]:
    """The paths of all journals of a cache, in no particular order."""
    return [path for path in paths_in_directory(cache_root) if path.endswith(SUFFIX)]


def unclaimed(cache_root: str, paths: Iterable[str]) -> Iterator[tuple[Claim, bool]]:
    """What journals name whose mirrors have no claims, such as those of earlier versions, and whether they live.

    Whoever calls holds the lock of the claims. An open mirror that says nothing else may delete objects at its end.
    """
    for path in paths:
        try:
            lines = _lines(path)
        except OSError as error:
            logger.info("the journal %s is left alone: %s", path, error)
            continue
        head = lines[0] if lines else {}
        for trace in _traces_in(lines):
            claim = Claim(
                id="",
                mirror=os.path.basename(path).removesuffix(SUFFIX),
                group="",
                owner="",
                kind=trace.kind,
                deletes=trace.kind == "upload",
                local=os.path.realpath(trace.local),
                root=trace.local,
                url=_url(trace.url),
                endpoint=None,
                cache_root=cache_root,
                journal=path,
                pid=_number(head.get("pid")),
                host=str(head.get("host", "")),
                begun_at=_number(head.get("begun_at")),
            )
            yield claim, HeldFile.is_held(path)
