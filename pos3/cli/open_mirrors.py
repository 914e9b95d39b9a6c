"""Runs ``pos3 status``: shows what the open mirrors of this machine push."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from pos3.cli.output import note, put_json, put_line
from pos3.cli.statuses import OK
from pos3.cli.times import local_time
from pos3.jobs import OpenUpload, open_uploads
from pos3.reports import format_bytes

_COLUMNS = "{:>8}  {:<16}  {:<16}  {:<20}  {}  {}"


def run_status(arguments: Namespace) -> int:
    """Prints a table with a header, or one JSON object on each line, and nothing if no mirror is open."""
    uploads = open_uploads(arguments.options.or_environment().real_cache_root)
    if arguments.json:
        for upload in uploads:
            values = asdict(upload)
            put_json({"path": values.pop("local"), **values})
        return OK
    width = max((len(upload.url) for upload in uploads), default=0)
    if uploads:
        put_line(_COLUMNS.format("PROCESS", "SINCE", "LAST PUSH", "NOT PUSHED", "URL".ljust(width), "PATH"))
    for upload in uploads:
        last_push = "never" if upload.last_push_at is None else local_time(upload.last_push_at)
        since, url = local_time(upload.begun_at), upload.url.ljust(width)
        path = f"{upload.local}  ({upload.label})" if upload.label else upload.local
        put_line(_COLUMNS.format(upload.pid, since, last_push, _unpushed(upload), url, path))
    if not arguments.quiet:
        mirrors = len({(upload.host, upload.pid, upload.begun_at) for upload in uploads})
        note(arguments.name, f"{mirrors} open mirror{'' if mirrors == 1 else 's'} with something to push")
    return OK


def _unpushed(upload: OpenUpload) -> str:
    if not upload.unpushed_files:
        return "nothing"
    files = f"{upload.unpushed_files} file{'' if upload.unpushed_files == 1 else 's'}"
    return f"{files}, {format_bytes(upload.unpushed_bytes)}"
