"""Completes commands in bash, zsh and fish with argcomplete, which is loaded only when a shell asks."""

from __future__ import annotations

import argparse
import threading
import tomllib
from contextlib import suppress

from pos3.cli.output import put_line
from pos3.cli.statuses import OK
from pos3.local import read_settings
from pos3.profiles import profiles_file

_SCHEME = "s3://"
# Whoever presses the Tab key waits for it.
_LONGEST_WAIT_SECONDS = 2.0


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


def urls(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The URLs that begin with ``prefix``: profiles, buckets, and keys one level deep.

    Nothing if the store does not tell within two seconds, for whatever reason.
    """
    if not prefix.startswith(_SCHEME):
        return [_SCHEME] if _SCHEME.startswith(prefix) else []
    authority = prefix.removeprefix(_SCHEME)
    is_in_authority = "@" not in authority and "/" not in authority
    names = [f"{_SCHEME}{name}@" for name in profile_names() if name.startswith(authority)] if is_in_authority else []
    return [*names, *_from_store(prefix, getattr(parsed_args, "profile", None))]


def urls_and_paths(prefix: str, parsed_args: argparse.Namespace, **more: object) -> list[str]:
    """As :func:`urls`, and local paths."""
    from argcomplete.completers import FilesCompleter

    paths = [] if prefix.startswith(_SCHEME) else FilesCompleter()(prefix)
    return [*urls(prefix, parsed_args, **more), *paths]


def _from_store(prefix: str, profile: str | None) -> list[str]:
    found: list[str] = []

    def ask() -> None:
        # A shell has no place for a message.
        with suppress(Exception):
            from pos3.jobs import url_completions
            from pos3.options import MirrorOptions

            options = MirrorOptions().or_environment()
            if options.offline is not True:
                found.extend(url_completions(prefix, profile or options.default_profile))

    # argcomplete ends the process, whatever the thread is waiting for.
    thread = threading.Thread(target=ask, name="pos3-completion", daemon=True)
    thread.start()
    thread.join(_LONGEST_WAIT_SECONDS)
    return list(found)
