"""What lies in the cache: listing it, checking it, and keeping it within bounds."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pos3.errors import Pos3Error
from pos3.etag import is_digest, is_plain, matches_content, part_size, part_size_candidates
from pos3.index import STATE_DIRECTORY, Index, indexes
from pos3.leftovers import remove_all_abandoned
from pos3.listing import Scan, local_entries
from pos3.report import format_bytes
from pos3.store.files import blocks

logger = logging.getLogger("pos3")


@dataclass(frozen=True)
class Cached:
    """One local root that mirrors, or mirrored, a URL. ``used_at`` is in seconds since the epoch.

    ``is_dirty`` says that something in it is not known to be in the store: changed, or not pushed yet.
    """

    url: str
    local: str
    files: int
    size_bytes: int
    used_at: float
    is_dirty: bool
    is_in_use: bool


@dataclass(frozen=True)
class Difference:
    """One file of a cached root that is not as it was synced."""

    local: str
    problem: str


def list_cache(cache_root: str) -> list[Cached]:
    """Every root of this cache, explicit local paths included, least recently used first."""
    root = os.path.realpath(os.path.expanduser(cache_root))
    found = [_inspect(index, is_in_use=_is_in_use(index)) for index in indexes(root) if os.path.exists(index.local)]
    return sorted(found, key=lambda cached: cached.used_at)


def _everything() -> Scan:
    return Scan(follow_symlinks=False, takes_part=lambda path: True, prunes=lambda path: False)


def _is_in_use(index: Index) -> bool:
    use = index.use()
    try:
        return not use.is_alone()
    finally:
        use.release()


def _inspect(index: Index, *, is_in_use: bool) -> Cached:
    state = index.state()
    records = {record.path: record for record in index.records(state.url)}
    files = size_bytes = 0
    is_dirty = False
    for entry in local_entries(state.local, _everything()):
        if entry.is_directory and not entry.unusable:
            continue
        files += 1
        size_bytes += entry.size_bytes
        record = records.get(entry.path)
        is_dirty = is_dirty or bool(entry.unusable) or record is None or not record.matches_local(entry)
    return Cached(state.url, state.local, files, size_bytes, state.used_at, is_dirty, is_in_use)


def verify_cache(cache_root: str, *, read_content: bool = False) -> list[Difference]:
    """Files that are missing or differ from what was synced; with ``read_content``, also by their checksum."""
    differences = []
    for index in indexes(os.path.realpath(os.path.expanduser(cache_root))):
        state = index.state()
        if not os.path.exists(state.local):
            continue
        present = {entry.path: entry for entry in local_entries(state.local, _everything())}
        for record in index.records(state.url):
            path = os.path.join(state.local, record.path) if record.path else state.local
            entry = present.get(record.path)
            if entry is None:
                differences.append(Difference(path, "missing"))
            elif not record.matches_local(entry):
                differences.append(Difference(path, "changed since it was synced"))
            elif read_content and not _content_matches(path, record.etag, record.size_bytes):
                differences.append(Difference(path, "content does not match its ETag"))
    return differences


def _content_matches(path: str, etag: str, size_bytes: int) -> bool:
    sizes = [part_size(size_bytes)]
    if not is_digest(etag) or (not is_plain(etag) and not part_size_candidates(etag, size_bytes, sizes)):
        return True
    return matches_content(etag, size_bytes, blocks(path), sizes)


def bound_cache(
    cache_root: str,
    limit_bytes: int,
    *,
    unused_since: float | None = None,
    dry_run: bool = False,
    on_evict: Callable[[Cached], None] = lambda cached: None,
) -> list[Cached]:
    """Removes cached roots, least recently used first, until the cache holds at most ``limit_bytes``.

    What killed downloads of single objects have left beside their targets goes in any case.

    Never removed: what is in use by an open mirror of any process, what is changed or not pushed, and what lies outside
    the cache root. With ``unused_since`` (seconds since the epoch), roots used after it stay as well.

    Returns:
        what was removed, or would be.
    """
    root = os.path.realpath(os.path.expanduser(cache_root))
    if not dry_run:
        remove_all_abandoned(os.path.join(root, STATE_DIRECTORY))
        _forget_what_is_gone(root)
    entries = [cached for cached in list_cache(root) if cached.local.startswith(f"{root}{os.sep}")]
    total = cached_bytes(root)
    removed: list[Cached] = []
    for cached in entries:
        if total <= limit_bytes:
            break
        if unused_since is not None and cached.used_at > unused_since:
            continue
        if cached.is_in_use or cached.is_dirty:
            continue
        if dry_run or _evict(root, cached, entries):
            on_evict(cached)
            removed.append(cached)
            total -= cached.size_bytes
    if total > limit_bytes and not dry_run:
        logger.info("the cache %s holds %s; the rest is in use or not pushed", root, format_bytes(total))
    return removed


def _forget_what_is_gone(root: str) -> None:
    """Drops the memory of roots that somebody has deleted."""
    for index in indexes(root):
        if index.local and not os.path.exists(index.local):
            mark = index.use()
            try:
                if mark.is_alone():
                    index.forget()
            finally:
                mark.release()


def cached_bytes(root: str) -> int:
    """What the files of a cache hold, without what pos3 remembers of them."""
    total = 0
    for directory, directories, names in os.walk(root):
        if directory == root and STATE_DIRECTORY in directories:
            directories.remove(STATE_DIRECTORY)
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(directory, name))
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _evict(root: str, cached: Cached, entries: list[Cached]) -> bool:
    """Removes one root with its index, if nobody uses it or a root around or inside it. Whether it did."""
    related = [
        Index(root, other.local)
        for other in entries
        if f"{other.local}/".startswith(f"{cached.local}/") or f"{cached.local}/".startswith(f"{other.local}/")
    ]
    index = Index(root, cached.local)
    marks = [other.use() for other in related]
    try:
        if not all(mark.is_alone() for mark in marks):
            return False
        with index.locked():
            if not os.path.exists(cached.local):
                return False
            if _inspect(index, is_in_use=False).is_dirty or _holds_more_than(index, cached.local):
                return False
            logger.info("evicting %s (%s) from the cache", cached.url, format_bytes(cached.size_bytes))
            # Its memory goes first: files without it are compared again, memory without files would be a lie.
            index.forget()
            _remove(cached.local, root)
    except (OSError, Pos3Error) as error:
        logger.warning("cannot evict %s from the cache: %s", cached.url, error)
        return False
    finally:
        for mark in marks:
            mark.release()
    return True


def _holds_more_than(index: Index, local: str) -> bool:
    """Whether temporary files of a writer lie in the root."""
    found: list[os.DirEntry[str]] = []
    scan = Scan(False, lambda path: True, lambda path: False, found.append)
    for _ in local_entries(local, scan):
        pass
    return bool(found)


def _remove(local: str, root: str) -> None:
    if os.path.isdir(local):
        shutil.rmtree(local)
    else:
        os.unlink(local)
    parent = os.path.dirname(local)
    while parent != root:
        try:
            os.rmdir(parent)
        except OSError:
            return
        parent = os.path.dirname(parent)
