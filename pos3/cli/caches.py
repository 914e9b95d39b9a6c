"""Runs ``pos3 cache``: lists the cache, evicts from it, and checks its files."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import asdict

from pos3.cli.output import log_to_stderr, note, put_item, put_json, put_line
from pos3.cli.statuses import FAILED, OK
from pos3.cli.times import local_time
from pos3.reports import format_bytes
from pos3.state import CachedRoot, evict_to_limit, list_cache, verify_cache

_COLUMNS = "{:>10}  {:>7}  {:<16}  {:<6}  {}  {}"


def run_ls(arguments: Namespace) -> int:
    """Prints a table with a header, or one JSON object on each line, and nothing for an empty cache."""
    roots = list_cache(arguments.cache_root)
    if arguments.json:
        for cached in roots:
            put_json({**asdict(cached), "state": _state(cached)})
        return OK
    width = max((len(cached.url) for cached in roots), default=0)
    if roots:
        put_line(_COLUMNS.format("SIZE", "FILES", "USED", "STATE", "URL".ljust(width), "PATH"))
    for cached in roots:
        size, used, url = format_bytes(cached.size_bytes), local_time(cached.used_at), cached.url.ljust(width)
        put_line(_COLUMNS.format(size, cached.files, used, _state(cached), url, cached.local))
    if not arguments.quiet:
        note(arguments.name, f"{len(roots)} cached, {format_bytes(sum(cached.size_bytes for cached in roots))}")
    return OK


def run_prune(arguments: Namespace) -> int:
    """Evicts cached data, and prints each removed root as ``delete: PATH  (size, last use, URL)``."""
    if arguments.limit is None and arguments.older_than is None:
        arguments.parser.error("give --limit, --older-than, or both; '--limit 0' removes all that can be removed")
    # The removed roots are printed, so they are not logged as well.
    log_to_stderr(arguments.name, quiet=True, verbose=arguments.verbose)
    removed = evict_to_limit(
        arguments.cache_root,
        arguments.limit or 0,
        unused_since=None if arguments.older_than is None else time.time() - arguments.older_than,
        dry_run=arguments.dry_run,
    )
    for cached in removed:
        if arguments.json:
            put_json({**asdict(cached), "state": _state(cached)})
        else:
            size, used = format_bytes(cached.size_bytes), local_time(cached.used_at)
            line = f"delete: {cached.local}  ({size}, last used {used}, {cached.url})"
            put_item(line, ends_with_nul=arguments.null)
    if not arguments.quiet:
        freed = format_bytes(sum(cached.size_bytes for cached in removed))
        note(arguments.name, f"{'would free' if arguments.dry_run else 'freed'} {freed}")
    return OK


def run_verify(arguments: Namespace) -> int:
    """Prints each file that is not as it was synced as ``PATH  (problem)``. With such files, the exit status is 1."""
    differences = verify_cache(arguments.cache_root, read_content=arguments.checksum)
    for difference in differences:
        if arguments.json:
            put_json({"path": difference.local, "problem": difference.problem})
        else:
            put_item(f"{difference.local}  ({difference.problem})", ends_with_nul=arguments.null)
    if not arguments.quiet:
        count = len(differences)
        summary = (
            f"{count} file{' is' if count == 1 else 's are'} not as synced" if count else "all files are as synced"
        )
        note(arguments.name, summary)
    return FAILED if differences else OK


def _state(cached: CachedRoot) -> str:
    return "in use" if cached.is_in_use else "dirty" if cached.is_dirty else "clean"
