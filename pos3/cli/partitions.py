"""Runs ``pos3 partition``."""

from __future__ import annotations

from argparse import Namespace

from pos3.api import mirror
from pos3.cli.output import put_item, put_json
from pos3.cli.statuses import OK


def run_partition(arguments: Namespace) -> int:
    """Prints the text of one part on each line."""
    with mirror(show_progress=False) as opened:
        parts = opened.partition(
            arguments.url,
            parts=arguments.parts,
            max_bytes=arguments.max_bytes,
            include=arguments.include,
            exclude=arguments.exclude,
            profile=arguments.profile,
        )
    for part in parts:
        if arguments.json:
            put_json({"part": str(part), "files": part.files, "bytes": part.size_bytes})
        else:
            put_item(str(part), ends_with_nul=arguments.null)
    return OK
