"""Runs ``pos3 doctor``: looks at the machine, and at a profile or a place."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from pos3.api import mirror
from pos3.cli.output import flush_stdout, put_json, put_line
from pos3.cli.statuses import FAILED, OK
from pos3.cli.stores import check_online, opened_store, profile_of
from pos3.doctor import Finding, check_machine, check_place, check_profile, failed
from pos3.errors import Pos3Error, ProfileError
from pos3.url import parse


def run_doctor(arguments: Namespace) -> int:
    """Prints a line for each thing that was looked at, with what to do if it is bad. Then the status is 1."""
    location = parse(arguments.prefix) if arguments.prefix else None
    # The mirror is opened because it turns SIGTERM into an exception, so that what was written is removed. With a
    # limit, it would evict from the cache.
    with mirror.of(arguments.options.giving(show_progress=False, cache_limit=None)):
        status = print_findings(arguments, check_machine(arguments.options.or_environment().real_cache_root))
        try:
            check_online(arguments)
            if location is None:
                about_store = print_findings(arguments, check_profile(profile_of(arguments, "")))
            else:
                with opened_store(arguments, location) as store:
                    found = check_place(store, location, writes=not arguments.read_only)
                    about_store = print_findings(arguments, found)
        except Pos3Error as error:
            name = "profile" if isinstance(error, ProfileError) else "endpoint"
            about_store = print_findings(arguments, [failed(name, error)])
    return max(status, about_store)


def print_findings(arguments: Namespace, findings: Iterable[Finding]) -> int:
    """Prints findings as they are made, and returns the status: 1 if one of them is bad."""
    status = OK
    for finding in findings:
        status = status if finding.is_good else FAILED
        if arguments.json:
            put_json(asdict(finding))
        else:
            for line in _lines(finding):
                put_line(line)
        flush_stdout()
    return status


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{'good' if finding.is_good else 'BAD':<4}  {finding.name:<11}  {finding.told}"
    if finding.advice:
        yield f"{'':<4}  {'':<11}  what to do: {finding.advice}"
