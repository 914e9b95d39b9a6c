"""Runs ``pos3 runs``: lists and removes what flow runs have left below an output root."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from pos3.cli.output import errors_as_lines, note, put_item, put_json, put_line
from pos3.cli.statuses import FAILED, OK
from pos3.cli.stores import opened_store
from pos3.cli.times import local_time
from pos3.errors import InvalidURLError, Pos3Error
from pos3.jobs import RunOutput, list_runs, remove_run
from pos3.reports import format_bytes
from pos3.store import Store
from pos3.url import Location, is_url, parse, quoted

_COLUMNS = "{:>10}  {:>7}  {:<16}  {}"


def run_ls(arguments: Namespace) -> int:
    """Prints a table with a header, or one JSON object on each line, and nothing if no run has left anything."""
    with _opened(arguments) as (store, root):
        runs = list_runs(store, root)
    if arguments.json:
        for run in runs:
            put_json(asdict(run))
        return OK
    if runs:
        put_line(_COLUMNS.format("SIZE", "FILES", "CHANGED", "URL"))
    for run in runs:
        put_line(_COLUMNS.format(format_bytes(run.size_bytes), run.files, local_time(run.changed_at), run.url))
    if not arguments.quiet:
        note(arguments.name, f"{len(runs)} runs, {format_bytes(sum(run.size_bytes for run in runs))}")
    return OK


def run_prune(arguments: Namespace) -> int:
    """Prints each run as ``delete: URL  (size, last change)``; with ``--yes`` after it was removed."""
    unchanged_since = time.time() - arguments.older_than
    removed: list[RunOutput] = []
    status = OK
    with _opened(arguments) as (store, root):
        for run in list_runs(store, root):
            if run.changed_at > unchanged_since:
                continue
            try:
                if arguments.yes and not arguments.dry_run and not remove_run(store, root, run):
                    note(arguments.name, f"{run.url} has changed meanwhile, so it is kept")
                    continue
            except Pos3Error as error:
                first, *more = errors_as_lines(error)
                note(arguments.name, f"{run.url}: {first}", *more)
                status = FAILED
                continue
            removed.append(run)
            _print(arguments, run)
    if not arguments.quiet:
        freed = format_bytes(sum(run.size_bytes for run in removed))
        is_done = arguments.yes and not arguments.dry_run
        note(arguments.name, f"removed {freed}" if is_done else f"would remove {freed}; --yes removes it")
    return status


def _print(arguments: Namespace, run: RunOutput) -> None:
    if arguments.json:
        put_json(asdict(run))
    else:
        line = f"delete: {run.url}  ({format_bytes(run.size_bytes)}, last changed {local_time(run.changed_at)})"
        put_item(line, ends_with_nul=arguments.null)


@contextmanager
def _opened(arguments: Namespace) -> Iterator[tuple[Store, Location]]:
    """The store and the location of the output root."""
    if not is_url(arguments.url):
        raise InvalidURLError(
            f"expected the output root as a URL such as s3://bucket/outputs, got {quoted(arguments.url)}"
        )
    root = parse(f"{arguments.url.rstrip('/')}/")
    with opened_store(arguments, root) as store:
        yield store, root
