"""Lists the cache, checks its files, evicts roots to keep it below a limit, and empties a path of it."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from pos3.entries import Record
from pos3.errors import ConflictError, InvalidArgumentError, PlanRefusedError, Pos3Error
from pos3.etags import is_digest, is_plain, matches_content, part_size, part_size_candidates
from pos3.local import (
    STATE_DIRECTORY,
    Scan,
    are_nested,
    blocks,
    expanded,
    is_within,
    lies_in_cache,
    local_entries,
    state_directory_of,
)
from pos3.reports import format_bytes
from pos3.state.index import Index
from pos3.state.leftovers import Leftovers, remove_all_abandoned
from pos3.state.ownership import has_writer
from pos3.state.root_index import RootIndex, root_indexes

logger = logging.getLogger("pos3")


@dataclass(frozen=True)
class CachedRoot:
    """One local root, with the URL of its last use, at ``used_at`` (seconds since the epoch).

    ``is_dirty`` says that a file in it may be in no store, because it was changed or not pushed yet.
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
    """A file of a cached root that is no longer as it was synced."""

    local: str
    problem: str


def list_cache(cache_root: str) -> list[CachedRoot]:
    """Every root that this cache has an index of, also those outside of it, the least recently used first."""
    root = os.path.realpath(expanded(cache_root, "cache_root"))
    found = [
        _inspect(index, is_in_use=_is_in_use(index)) for index in root_indexes(root) if os.path.exists(index.local)
    ]
    return sorted(found, key=lambda cached: cached.used_at)


def _whole_tree() -> Scan:
    return Scan(follow_symlinks=False, takes_part=lambda path: True, prunes=lambda path: False)


def _is_in_use(index: RootIndex) -> bool:
    use_lock = index.use_lock()
    try:
        return not use_lock.try_exclusive()
    finally:
        use_lock.release()


def _records_of_all_places(index: RootIndex) -> dict[str, list[Record]]:
    """The records of each path; those of the most recently used place come first."""
    found: dict[str, list[Record]] = {}
    for known in index.places():
        for record in Index(index, known.place).records():
            found.setdefault(record.path, []).append(record)
    return found


def _inspect(index: RootIndex, *, is_in_use: bool) -> CachedRoot:
    url, used_at = next(((known.place.url, known.used_at) for known in index.places()), ("", 0.0))
    records = _records_of_all_places(index)
    files = size_bytes = 0
    is_dirty = False
    for entry in local_entries(index.local, _whole_tree()):
        if entry.is_directory and not entry.unusable:
            continue
        files += 1
        size_bytes += entry.size_bytes
        # One place that has the file is enough.
        is_safe = any(record.matches_local(entry) for record in records.get(entry.path, ()))
        is_dirty = is_dirty or bool(entry.unusable) or not is_safe
    return CachedRoot(url, index.local, files, size_bytes, used_at, is_dirty, is_in_use)


def verify_cache(cache_root: str, *, read_content: bool = False) -> list[Difference]:
    """The files that are missing or have changed since they were synced. ``read_content`` also compares checksums.

    A file is missing if the most recently used place of its root has a record of it. A file has changed if it matches
    no record of any place of its root.
    """
    differences = []
    for index in root_indexes(os.path.realpath(expanded(cache_root, "cache_root"))):
        if not os.path.exists(index.local):
            continue
        present = {entry.path: entry for entry in local_entries(index.local, _whole_tree())}
        last_used = [record.path for known in index.places()[:1] for record in Index(index, known.place).records()]
        every = _records_of_all_places(index)
        for name in sorted({*last_used, *(every.keys() & present.keys())}):
            path = os.path.join(index.local, name) if name else index.local
            if name not in present:
                differences.append(Difference(path, "missing"))
                continue
            matching = [record for record in every[name] if record.matches_local(present[name])]
            if not matching:
                differences.append(Difference(path, "changed since it was synced"))
            elif read_content and not all(_content_matches(path, found.etag, found.size_bytes) for found in matching):
                differences.append(Difference(path, "content does not match its ETag"))
    return differences


def _content_matches(path: str, etag: str, size_bytes: int) -> bool:
    sizes = [part_size(size_bytes)]
    if not is_digest(etag) or (not is_plain(etag) and not part_size_candidates(etag, size_bytes, sizes)):
        return True
    return matches_content(etag, size_bytes, blocks(path), sizes)


def evict_to_limit(
    cache_root: str,
    limit_bytes: int,
    *,
    unused_since: float | None = None,
    dry_run: bool = False,
    spares_part_files: bool = False,
    on_evict: Callable[[CachedRoot], None] = lambda cached: None,
) -> list[CachedRoot]:
    """Removes cached roots, the least recently used first, until the cache holds at most ``limit_bytes``.

    It also removes the temporary files that killed downloads of single objects have left beside their targets.

    It never removes a root that an open mirror of any process uses, that has changed or unpushed files, that a dead
    process was going to push, or that lies outside the cache root.

    Args:
        unused_since: seconds since the epoch. Roots that were used later stay, too.
        spares_part_files: what downloads could go on with stays as long as the cache holds no more than the limit.

    Returns:
        The roots that were removed; with ``dry_run``, those that would be removed.
    """
    root = os.path.realpath(expanded(cache_root, "cache_root"))
    if not dry_run:
        remove_all_abandoned(state_directory_of(root), part_files=not spares_part_files)
        _delete_stale_indexes(root)
    entries = [cached for cached in list_cache(root) if _is_in_cache(root, cached.local)]
    total = cached_bytes(root)
    if total > limit_bytes and spares_part_files and not dry_run:
        remove_all_abandoned(state_directory_of(root))
        total = cached_bytes(root)
    removed: list[CachedRoot] = []
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


def _delete_stale_indexes(root: str) -> None:
    """Deletes the indexes of roots that no longer exist."""
    for index in root_indexes(root):
        if index.local and not os.path.exists(index.local):
            use_lock = index.use_lock()
            try:
                if use_lock.try_exclusive():
                    index.delete()
            finally:
                use_lock.release()


def cached_bytes(root: str) -> int:
    """The total size of the files in a cache, without its state directory."""
    total = 0
    for directory, directories, names in os.walk(root):
        if directory == root and STATE_DIRECTORY in directories:
            directories.remove(STATE_DIRECTORY)
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(directory, name))
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def check_can_be_emptied(cache_root: str, local: str) -> None:
    """Returns if ``fresh=True`` may empty the path.

    Raises:
        InvalidArgumentError: the path does not lie in the cache, or contains a symbolic link.
    """
    problem = ""
    if not _is_in_cache(cache_root, local):
        problem = f"{local} does not lie there"
    elif os.path.realpath(local) != local:
        problem = f"a symbolic link leads from {local} to {os.path.realpath(local)}"
    if problem:
        raise InvalidArgumentError(
            f"fresh=True empties only paths below the cache root {cache_root}, and {problem}; empty it yourself, or "
            "leave out local",
            argument="fresh",
        )


def empty_root(cache_root: str, local: str) -> None:
    """Removes everything at ``local``, a path below the cache root, with its records.

    Raises:
        ConflictError: an open mirror of any process uses the path, or one above or below it. Nothing was changed.
        PlanRefusedError: a file there may be in no store. Nothing was changed.
    """
    root = os.path.realpath(os.path.expanduser(cache_root))
    own = RootIndex(root, local)
    related = [own, *(other for other in root_indexes(root) if other.local != local and are_nested(other.local, local))]
    use_locks = [other.use_lock() for other in related]
    try:
        for other, use_lock in zip(related, use_locks, strict=True):
            if not use_lock.try_exclusive():
                raise ConflictError(
                    f"fresh=True: {local} cannot be emptied, since an open mirror uses {other.local}; "
                    "wait for its end, or name another local or cache_root"
                )
        with own.locked():
            _check_all_stored(related, local)
            # Records are deleted before files. Files without records are compared again, but records without files
            # would look like local deletes.
            for other in related:
                if is_within(other.local, local):
                    other.delete()
                else:
                    _delete_records_below(other, os.path.relpath(local, other.local))
            Leftovers(own).remove_abandoned()
            if os.path.isdir(local):
                shutil.rmtree(local)
            elif os.path.lexists(local):
                os.unlink(local)
    finally:
        for use_lock in use_locks:
            use_lock.release()


def _is_in_cache(cache_root: str, local: str) -> bool:
    """Whether the path lies below the cache root. For the cache root itself, the result is False."""
    return local != cache_root and lies_in_cache(local, cache_root)


def _check_all_stored(related: list[RootIndex], local: str) -> None:
    known: dict[str, list[Record]] = {}
    for index in related:
        for path, records in _records_of_all_places(index).items():
            known.setdefault(os.path.join(index.local, path) if path else index.local, []).extend(records)
    unknown: list[str] = []

    def note_state(entry: os.DirEntry[str]) -> None:
        if entry.name == STATE_DIRECTORY:
            unknown.append(entry.path)

    for entry in local_entries(local, replace(_whole_tree(), on_internal_file=note_state)):
        path = os.path.join(local, entry.path) if entry.path else local
        is_known = any(record.matches_local(entry) for record in known.get(path, ())) and not entry.unusable
        if not is_known and (entry.unusable or not entry.is_directory):
            unknown.append(path)
    if unknown:
        raise PlanRefusedError(
            f"fresh=True: {local} holds {len(unknown)} file(s) that were changed or never pushed (among them "
            f"{', '.join(map(repr, unknown[:3]))}); nothing was changed. Push them without fresh=True, or with "
            "'pos3 recover' after a crash, or remove them"
        )


def _delete_records_below(index: RootIndex, below: str) -> None:
    for known in index.places():
        of_place = Index(index, known.place)
        # What is left is not all that a download has brought.
        of_place.forget_notes()
        of_place.write((), [record.path for record in of_place.records(below)])


def _evict(root: str, cached: CachedRoot, entries: list[CachedRoot]) -> bool:
    """Removes a root with its index, unless a mirror uses it or a root above or below it. Returns whether it did."""
    related = [RootIndex(root, other.local) for other in entries if are_nested(other.local, cached.local)]
    index = RootIndex(root, cached.local)
    use_locks = [other.use_lock() for other in related]
    try:
        if not all(use_lock.try_exclusive() for use_lock in use_locks):
            return False
        with index.locked():
            if not os.path.exists(cached.local) or has_writer(root, cached.local):
                return False
            if _inspect(index, is_in_use=False).is_dirty or _has_internal_files(index, cached.local):
                return False
            logger.info("evicting %s (%s) from the cache", cached.url, format_bytes(cached.size_bytes))
            # The index is deleted before the files, as in empty_root().
            index.delete()
            _remove(cached.local, root)
    except (OSError, Pos3Error) as error:
        logger.warning("cannot evict %s from the cache: %s", cached.url, error)
        return False
    finally:
        for use_lock in use_locks:
            use_lock.release()
    return True


def _has_internal_files(index: RootIndex, local: str) -> bool:
    """Whether the root contains temporary files or the state directory of another cache."""
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
