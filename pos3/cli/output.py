"""Results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence

from pos3.errors import TransferError, message_of
from pos3.report import Kept
from pos3.shown import escaped

_MOST_LINES = 10
_AS_OPTIONS = {
    "adopt=True": "--adopt",
    "default_profile=...": "--profile",
    "delete=False": "no --delete",
    "exclude=[...]": "--exclude",
    "local=...": "--local",
    "max_delete": "--max-delete",
    "missing_ok=True": "--missing-ok",
}


class StdoutClosedError(Exception):
    """Whoever read stdout has gone away."""


def put_line(text: str, *, as_it_is: bool = False) -> None:
    """Writes one line of results, with control characters escaped: no name clears a terminal or looks like two lines.

    Names that are not valid UTF-8 come out as the bytes that they are.

    Args:
        as_it_is: nothing is escaped, as for a path that the caller has given.
    Raises:
        StdoutClosedError: nobody reads any more.
    """
    _put(f"{text if as_it_is else escaped(text)}\n")


def put_item(text: str, *, ends_with_nul: bool) -> None:
    """A line of results; or the text as it is, and a NUL character, which no name can hold.

    Raises:
        StdoutClosedError: nobody reads any more.
    """
    if ends_with_nul:
        _put(f"{text}\0")
    else:
        put_line(text)


def _put(text: str) -> None:
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:
            sys.stdout.flush()
            sys.stdout.buffer.write(os.fsencode(text))
    except BrokenPipeError:
        raise StdoutClosedError from None


def put_json(value: object) -> None:
    """Writes one line of JSON, all in ASCII."""
    put_line(json.dumps(value))


def flush_stdout() -> None:
    """
    Raises:
        StdoutClosedError: nobody reads any more.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise StdoutClosedError from None


def discard_stdout() -> None:
    """Lets the interpreter's own flush at exit succeed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def note(name: str, *lines: str) -> None:
    """Writes to stderr, the first line with the command's name before it."""
    first, *more = map(escaped, lines)
    sys.stderr.write("\n".join([f"{name}: {first}", *(f"  {line}" for line in more)]) + "\n")


def note_kept(name: str, kept: Sequence[Kept]) -> None:
    """Says what was left as it is, and why; a bounded number of lines."""
    if kept:
        lines = (f"{item.path or '.'}: {item.reason}" for item in kept)
        note(name, f"{len(kept)} left as {'it is' if len(kept) == 1 else 'they are'}:", *bounded(lines))


def errors_as_lines(error: BaseException) -> list[str]:
    """The message of an error, in terms of options; many failures of a transfer become a bounded number of lines."""
    if isinstance(error, TransferError) and len(error.failures) > 1:
        failures = sorted(" ".join(_with_options(failure).split("\n")) for failure in error.failures)
        return [f"{error.summary}:", *bounded(failures)]
    lines = [line.strip() for line in _with_options(error).split("\n") if line.strip()]
    return lines or [type(error).__name__]


def _with_options(error: BaseException) -> str:
    text = message_of(error)
    for argument, option in _AS_OPTIONS.items():
        text = text.replace(argument, option)
    return text


def bounded(lines: Iterable[str]) -> list[str]:
    """The first lines, and how many more there are."""
    every = list(lines)
    if len(every) <= _MOST_LINES:
        return every
    return [*every[:_MOST_LINES], f"and {len(every) - _MOST_LINES} more"]


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        return escaped(super().formatMessage(record))


def log_to_stderr(name: str, *, quiet: bool, verbose: bool) -> None:
    """Shows what pos3 logs: warnings always, progress lines unless quiet, everything if verbose."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(f"{name.replace('%', '%%')}: %(message)s"))
    logger = logging.getLogger("pos3")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
