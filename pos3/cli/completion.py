"""Completes commands in bash, zsh and fish with argcomplete, which is loaded only when a shell asks."""

from __future__ import annotations

import argparse
import tomllib

from pos3.cli.output import put_line
from pos3.cli.statuses import OK
from pos3.local import read_settings
from pos3.profiles import profiles_file


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell that has set ``_ARGCOMPLETE``, and ends the process."""
    import argcomplete

    argcomplete.autocomplete(parser)


def print_shell_code(arguments: argparse.Namespace) -> int:
    """Prints the code that makes a shell complete the command."""
    from argcomplete.shell_integration import shellcode

    put_line(shellcode(["pos3"], shell=arguments.shell).strip("\n"), as_it_is=True)
    return OK


def profile_names(**_: object) -> list[str]:
    """The names of the profiles in the profiles file, or nothing if it cannot be read."""
    try:
        return sorted(tomllib.loads(read_settings(profiles_file()))["profiles"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
