"""The command line: ``pos3 ls``, ``download``, ``upload``, ``sync``, ``doctor`` and more.

It turns arguments into requests, and prints the results. Stdout has only results; progress, summaries and errors go to
stderr. Errors show a traceback only with ``-v``. The exit statuses are in :mod:`pos3.cli.statuses`.
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace

from pos3.cli.arguments import build_parser, parse
from pos3.cli.output import (
    StdoutClosedError,
    discard_stdout,
    errors_as_lines,
    flush_stdout,
    log_to_stderr,
    note,
    notes_as_lines,
)
from pos3.cli.statuses import FAILED, INTERRUPTED, STDOUT_CLOSED
from pos3.cli.suggestions import near_as_lines
from pos3.errors import Pos3Error, Terminated

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Raises:
        SystemExit: after ``--help``, ``--version`` and wrong usage, and with status 143 if SIGTERM ended the command.
    """
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        from pos3.cli.completion import complete

        complete(parser)
    arguments = parse(parser, argv)
    log_to_stderr(arguments.name, quiet=arguments.quiet, verbose=arguments.verbose)
    try:
        status: int = arguments.run(arguments)
        flush_stdout()
    except StdoutClosedError:
        discard_stdout()
        return STDOUT_CLOSED
    except Terminated as signal:
        _fail(arguments, ["terminated", *notes_as_lines(signal)], signal)
        raise
    except KeyboardInterrupt as interrupt:
        _fail(arguments, ["interrupted", *notes_as_lines(interrupt)], interrupt)
        return INTERRUPTED
    except (Pos3Error, OSError) as error:
        _fail(arguments, [*errors_as_lines(error, arguments.name), *near_as_lines(arguments, error)], error)
        return FAILED
    except Exception as error:  # noqa: BLE001 - the user of a command needs no traceback
        lines = errors_as_lines(error, arguments.name)
        lines[0] = f"unexpected {type(error).__name__}: {lines[0]}"
        _fail(arguments, [*lines, "(-v shows the traceback)"], error)
        return FAILED
    return status


def _fail(arguments: Namespace, lines: list[str], error: BaseException) -> None:
    """Writes an error to stderr, with ``-v`` after its traceback."""
    if arguments.verbose:
        traceback.print_exception(error, file=sys.stderr)
    note(arguments.name, *lines)
