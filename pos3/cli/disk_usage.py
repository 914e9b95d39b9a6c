"""Runs ``pos3 du``: adds up files and bytes by directory."""

from __future__ import annotations

import os
from argparse import Namespace

from pos3.cli.output import note, put_item, put_json
from pos3.cli.statuses import FAILED, OK
from pos3.cli.stores import ask_store
from pos3.entries import Entry
from pos3.jobs import DirectoryUsage, local_usage, remote_usage
from pos3.reports import format_bytes
from pos3.url import is_url, local_path, parse


def run_du(arguments: Namespace) -> int:
    """Prints a line for each directory, the total as the last. If something cannot be read, the status is 1."""
    if is_url(arguments.prefix):
        location = parse(arguments.prefix)
        used = ask_store(arguments, location, lambda store: remote_usage(store, location, arguments.depth))
        for usage in used:
            _print(arguments, usage, "url", location.child(usage.path) if usage.path else str(location))
        return OK
    root = local_path(arguments.prefix)
    if not os.path.exists(root):
        raise FileNotFoundError(f"no such local path: {arguments.prefix} (a URL begins with s3://)")
    unreadable: list[Entry] = []
    for usage in local_usage(root, arguments.depth, unreadable.append):
        _print(arguments, usage, "path", os.path.join(root, usage.path) if usage.path else root)
    for entry in unreadable:
        note(arguments.name, f"{os.path.join(root, entry.path)}: {entry.unusable}; it is not in the total")
    return FAILED if unreadable else OK


def _print(arguments: Namespace, usage: DirectoryUsage, kind: str, name: str) -> None:
    if arguments.json:
        put_json({kind: name, "files": usage.files, "size_bytes": usage.size_bytes})
    else:
        line = f"{format_bytes(usage.size_bytes):>10}  {usage.files:>9}  {name}"
        put_item(line, ends_with_nul=arguments.null)
