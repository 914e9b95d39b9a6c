"""Runs ``pos3 check``: compares a local path with a URL."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace

from pos3.api import mirror
from pos3.cli.output import note, note_kept, put_item, put_json
from pos3.cli.statuses import FAILED, OK
from pos3.cli.transfers import check_url, local_side, request_of
from pos3.jobs import DownloadRequest, Mismatch, mismatches_of
from pos3.url import parse


def run_check(arguments: Namespace) -> int:
    """Prints each difference. With differences, the status is 1."""
    check_url(arguments)
    local = local_side(arguments)
    if not os.path.exists(local):
        raise FileNotFoundError(f"no such local path: {local}")
    request = replace(request_of(DownloadRequest, arguments), local=local, delete=True, adopt=True)
    # With a limit, the mirror would evict from the cache.
    with mirror.of(arguments.options.giving(show_progress=False, cache_limit=None)) as opened:
        registration, plan = opened.download_plan_of(request)
    mismatches = mismatches_of(registration, plan)
    for mismatch in mismatches:
        if arguments.json:
            put_json({"url": mismatch.url, "path": mismatch.local, "side": mismatch.side, "reason": mismatch.reason})
        else:
            put_item(_line(mismatch), ends_with_nul=arguments.null)
    note_kept(arguments.name, plan.kept)
    if not arguments.quiet:
        count = len(mismatches)
        found = f"{count} difference{'' if count == 1 else 's'}" if count else "no differences"
        note(arguments.name, f"{found} between {local} and {parse(arguments.url)}, {plan.unchanged} files are equal")
    return FAILED if mismatches else OK


def _line(mismatch: Mismatch) -> str:
    if mismatch.side == "store":
        return f"only in the store: {mismatch.url}"
    if mismatch.side == "local":
        return f"only here: {mismatch.local}"
    return f"differs: {mismatch.local}  ({mismatch.reason})"
