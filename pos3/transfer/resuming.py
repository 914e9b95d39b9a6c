"""Continues downloads of huge objects that were killed, interrupted, or have failed.

Such an object is written to a part file, which keeps its name until the object is complete. The next download uses the
part file if the object is still the same. Otherwise it removes the file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Self

from pos3.entries import Entry
from pos3.errors import RemoteNotFoundError
from pos3.local import part_at, part_of, remove_abandoned
from pos3.plan import Action, Plan
from pos3.redaction import escaped
from pos3.reports import format_bytes
from pos3.state import Leftovers, PartFile, RootIndex, has_part_of, remove_part
from pos3.store import Moved, TellChecksum
from pos3.transfer.terms import Pair, Terms

logger = logging.getLogger("pos3")

# A block of a file, as st_blocks counts them.
_BLOCK_BYTES = 512


class PartFiles:
    """The part files of one transfer. At the end, the remaining ones are removed: their worker has not ended."""

    def __init__(self, pair: Pair, leftovers: Leftovers):
        self._pair = pair
        self._leftovers = leftovers
        self._under_way: set[PartFile] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in list(self._under_way):
            self._end(part, keeps=False)

    def download(
        self, action: Action, temporary: str, moved: Moved, tell_checksum: TellChecksum, terms: Terms
    ) -> Coroutine[Any, Any, Entry]:
        """Downloads an object into the new file ``temporary``. A huge object is first written to its part file."""
        pair = self._pair
        key = pair.location.object_key(action.path)
        if action.source.size_bytes >= pair.store.resumable_from_bytes:
            part = PartFile.claimed(pair.local_path(action.path), _source(pair, action))
            if part is not None:
                return self._download_by(part, key, action, temporary, moved, tell_checksum, terms)
        return pair.store.download(
            key,
            action.source,
            temporary,
            moved,
            terms.cancelled,
            tell_checksum=tell_checksum,
            rate=terms.rates.download,
        )

    async def _download_by(
        self,
        part: PartFile,
        key: str,
        action: Action,
        temporary: str,
        moved: Moved,
        tell_checksum: TellChecksum,
        terms: Terms,
    ) -> Entry:
        pair, size_bytes = self._pair, action.source.size_bytes
        self._under_way.add(part)
        self._leftovers.note(part.path)
        try:
            delivered = await pair.store.download(
                key, action.source, part.path, moved, terms.cancelled, part, tell_checksum, terms.rates.download
            )
            part.finish(temporary)
        except BaseException as error:
            keeps = part.noted_bytes > 0 and not _makes_useless(error)
            if keeps and part in self._under_way:
                url, kept = escaped(pair.location.child(action.path)), format_bytes(part.noted_bytes)
                logger.warning(
                    "%s: %s of %s stay in %s for the next download, or until 'pos3 cache prune' removes them",
                    *(url, kept, format_bytes(size_bytes), escaped(part.path)),
                )
            self._end(part, keeps=keeps)
            if isinstance(error, OSError) and error.filename == part.path:
                error.filename = temporary
            raise
        self._end(part, keeps=False)
        return delivered

    def _end(self, part: PartFile, *, keeps: bool) -> None:
        if part in self._under_way:
            self._under_way.discard(part)
            part.release(keeps=keeps)
            if not keeps:
                self._leftovers.forget(part.path)


def _source(pair: Pair, action: Action) -> str:
    return f"{pair.store.endpoint} {pair.location.child(action.path)}"


def _makes_useless(error: BaseException) -> bool:
    """Whether the part file cannot be used any more: the object is gone, or the disk is full or has failed."""
    # Errors of a store have no errno.
    return isinstance(error, RemoteNotFoundError) or (isinstance(error, OSError) and bool(error.errno))


def clear_unfinished(plan: Plan, pair: Pair, root: RootIndex, found: Iterable[str], *, is_whole: bool = True) -> int:
    """Removes the files of unfinished downloads, except part files that this plan can continue.

    Args:
        found: the paths of temporary files in the root.
        is_whole: whether the plan has all objects of the root. If not, all part files stay, because another plan may
            need them.

    Returns:
        how many bytes of the plan are already on the disk.
    """
    leftovers = Leftovers(root)
    parts = set(leftovers.part_files())
    for path in found:
        if part := part_at(path):
            parts.add(part)
        else:
            remove_abandoned(path)
    if not os.path.isdir(pair.local):
        parts.add(part_of(pair.local))
    wanted = _wanted(plan, pair, parts) if parts else {}
    kept = parts.intersection(wanted) if is_whole else parts
    for part in parts.difference(kept):
        remove_part(part)
    leftovers.remove_abandoned(kept)
    return sum(wanted.values())


def _wanted(plan: Plan, pair: Pair, parts: set[str]) -> dict[str, int]:
    """The part files that the plan continues, with their sizes on the disk."""
    wanted: dict[str, int] = {}
    for action in plan.every_copy():
        source = action.source
        if source.size_bytes < pair.store.resumable_from_bytes:
            continue
        part = part_of(pair.local_path(action.path))
        if part in parts and has_part_of(part, _source(pair, action), source.etag, source.size_bytes):
            with suppress(OSError):
                wanted[part] = min(os.lstat(part).st_blocks * _BLOCK_BYTES, source.size_bytes)
    return wanted
