"""Runs ``pos3 recover``: pushes what mirrors have left whose processes were killed."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from dataclasses import replace

from pos3.api import mirror
from pos3.cli.output import (
    errors_as_lines,
    note,
    note_kept,
    note_problems,
    note_refusal,
    put_item,
    put_json,
    without_warned,
)
from pos3.cli.statuses import FAILED, OK
from pos3.jobs import Recovered, recover_with
from pos3.options import MirrorOptions
from pos3.state import untrusted_journals


def run_recover(arguments: Namespace) -> int:
    """Prints a line for each registration that was pushed or dropped; with ``-n``, a line for each planned action."""
    options: MirrorOptions = arguments.options
    if arguments.profile:
        options = replace(options, default_profile=arguments.profile)
    # The mirror is opened because it turns SIGTERM into an exception.
    with mirror.of(replace(arguments.options, show_progress=False)):
        results = recover_with(options, dry_run=arguments.dry_run, trust_endpoints=arguments.yes)
    for item in results:
        if arguments.json:
            put_json(_as_json(item))
        else:
            for line in _lines(item):
                put_item(line, ends_with_nul=arguments.null)
        note_kept(arguments.name, without_warned(item.report.kept))
        if item.plan is not None:
            note_problems(arguments.name, item.plan.problems)
            note_refusal(arguments.name, item.plan.refusal)
        if item.error is not None:
            first, *more = errors_as_lines(item.error)
            note(arguments.name, f"{item.local} to {item.url}: {first}", *more)
    if not arguments.quiet:
        counts = Counter(item.outcome for item in results)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        note(arguments.name, summary or "nothing was left")
    untrusted = untrusted_journals(options.or_environment().real_cache_root)
    if untrusted:
        note(
            arguments.name,
            f"{len(untrusted)} journal(s) left alone, since others may have written them: {untrusted[0]}",
        )
    return FAILED if untrusted or any(item.error is not None for item in results) else OK


def _lines(item: Recovered) -> list[str]:
    if item.outcome == "pushed":
        return [f"recovered: {item.local} to {item.url}  ({item.report})"]
    if item.outcome == "gone":
        return [f"dropped: {item.local} to {item.url}  (nothing is there locally any more)"]
    if item.plan is None:
        return []
    reasons = item.plan.reasons
    return [f"upload: {source} to {destination}  ({reasons[destination]})" for source, destination in item.plan.to_copy]


def _as_json(item: Recovered) -> dict[str, object]:
    copies = item.plan.to_copy if item.plan is not None else []
    reasons = item.plan.reasons if item.plan is not None else {}
    return {
        "url": item.url,
        "path": item.local,
        "outcome": item.outcome,
        "label": item.label,
        "host": item.host,
        "pid": item.pid,
        "begun_at": item.begun_at,
        "report": item.report.as_dict(),
        "copy": [
            {"source": source, "destination": destination, "reason": reasons[destination]}
            for source, destination in copies
        ],
        "problems": list(item.plan.problems) if item.plan is not None else [],
        "error": None if item.error is None else " ".join(errors_as_lines(item.error)),
    }
