"""Runs ``pos3 profile``: shows the profiles of the profiles file, and checks one."""

from __future__ import annotations

from argparse import Namespace

from pos3.cli.doctors import print_findings
from pos3.cli.output import errors_as_lines, note, put_json, put_line
from pos3.cli.statuses import FAILED, OK
from pos3.cli.stores import check_online, profile_of
from pos3.doctor import check_profile, failed
from pos3.errors import OfflineError, ProfileError
from pos3.profiles import Profile, profiles_file, profiles_in_file


def run_ls(arguments: Namespace) -> int:
    """Prints a table with a header, or one JSON object on each line. If an entry cannot work, the status is 1."""
    entries = profiles_in_file()
    usable = {name: entry for name, entry in entries.items() if isinstance(entry, Profile)}
    rows = [(name, profile.endpoint or "AWS", profile.region or "", _kind(profile)) for name, profile in usable.items()]
    if arguments.json:
        for name, profile in usable.items():
            values = {"name": name, "endpoint": profile.endpoint, "region": profile.region}
            put_json({**values, "credentials": _kind(profile), "local_name": profile.local_name})
    elif rows:
        rows.insert(0, ("NAME", "ENDPOINT", "REGION", "CREDENTIALS"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            put_line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    broken = [entry for entry in entries.values() if isinstance(entry, ProfileError)]
    for error in broken:
        note(arguments.name, *errors_as_lines(error))
    if not entries and not arguments.quiet:
        note(arguments.name, f"there are no profiles in {profiles_file()}")
    return FAILED if broken else OK


def _kind(profile: Profile) -> str:
    if profile.public:
        return "none, public"
    if profile.access_key:
        return "keys of its own"
    return f"AWS profile {profile.aws_profile}" if profile.aws_profile else "those of the environment"


def run_check(arguments: Namespace) -> int:
    """Prints a line for each thing that was looked at. If one is bad, the status is 1."""
    try:
        check_online(arguments)
        profile = profile_of(arguments, "")
    except (OfflineError, ProfileError) as error:
        return print_findings(arguments, [failed("profile" if isinstance(error, ProfileError) else "endpoint", error)])
    return print_findings(arguments, check_profile(profile))
