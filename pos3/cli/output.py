"""Writes results to stdout, and everything else to stderr."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import TextIO

from pos3.entries import LOST_FOUND, WITHOUT_CONTENT
from pos3.errors import InvalidArgumentError, TransferError, message_of
from pos3.redaction import escaped
from pos3.reports import Kept

_MAX_LINES = 10
# The advice in error messages names these arguments. The wrong argument itself is in a field of the error.
_OPTION = re.compile(
    r"\b(cache_root|default_profile|exclude|include|local|max_delete|profile|require_marker)=(\.\.\.|\[\.\.\.\])?"
)
_MAX_DELETE = re.compile(r"(?<!-)\bmax_delete\b")


class StdoutClosedError(Exception):
    """The reader of stdout has closed it."""


def put_line(text: str, *, as_it_is: bool = False) -> None:
    """Writes one line of results. Control characters are escaped: a name cannot clear a terminal or fake a line.

    Names that are not valid UTF-8 are written as their bytes.

    Args:
        as_it_is: escape nothing, for example in a path that the caller has given.

    Raises:
        StdoutClosedError: the reader has closed stdout.
    """
    _put(f"{text if as_it_is else escaped(text)}\n")


def put_item(text: str, *, ends_with_nul: bool) -> None:
    """Writes a line of results, or the unescaped text and a NUL character, which no name contains.

    Raises:
        StdoutClosedError: the reader has closed stdout.
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
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        raise StdoutClosedError from None


def put_json(value: object) -> None:
    """Writes one line of JSON in ASCII."""
    put_line(json.dumps(value))


def flush_stdout() -> None:
    """Writes all buffered results.

    Raises:
        StdoutClosedError: the reader has closed stdout.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise StdoutClosedError from None


def discard_stdout() -> None:
    """Redirects stdout to nowhere, so that the interpreter's flush at exit succeeds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def note(name: str, *lines: str) -> None:
    """Writes lines to stderr. The first one begins with the name of the command."""
    first, *more = map(escaped, lines)
    sys.stderr.write("\n".join([f"{name}: {first}", *(f"  {line}" for line in more)]) + "\n")


def note_kept(name: str, kept: Sequence[Kept]) -> None:
    """Says what was left as it is, and why, in a limited number of lines."""
    if kept:
        lines = (f"{item.path or '.'}: {item.reason}" for item in kept)
        note(name, f"{len(kept)} left as {'it is' if len(kept) == 1 else 'they are'}:", *bounded(lines))


def without_warned(kept: Sequence[Kept]) -> list[Kept]:
    """The kept paths of a push of which no log line has warned: not lost+found, nor what is no file or directory."""
    return [item for item in kept if item.reason not in WITHOUT_CONTENT and item.reason != LOST_FOUND]


def note_problems(name: str, problems: Sequence[str]) -> None:
    """Says in a dry run what could not be pushed, so that the real run would fail at its end."""
    if problems:
        first = "the real run would push all else, delete nothing, and then fail:"
        note(name, first, *bounded(_with_options(problem, name) for problem in problems))


def note_refusal(name: str, refusal: str) -> None:
    """Says in a dry run why the real run would be refused."""
    if refusal:
        note(name, "the real run would be refused:", *_with_options(refusal, name).split("\n"))


def errors_as_lines(error: BaseException, command: str = "") -> list[str]:
    """The message of an error, in which arguments are named as options of the command.

    The failures of a transfer become a limited number of lines. Advice is the last line. ``command`` is the name of the
    command, such as "pos3 sync".
    """
    if isinstance(error, TransferError):
        failures = sorted(" ".join(_message(failure, command).split("\n")) for failure in error.failures)
        lines = [f"{error.summary}:", *bounded(failures)] if len(failures) > 1 else [f"{error.summary}: {failures[0]}"]
        return [*lines, error.advice] if error.advice else lines
    lines = [line.strip() for line in _message(error, command).split("\n") if line.strip()]
    return [*(lines or [type(error).__name__]), *notes_as_lines(error, command)]


def notes_as_lines(error: BaseException, command: str = "") -> list[str]:
    """The notes that pos3 has added to an error."""
    notes = getattr(error, "__notes__", ())
    return [_with_options(note.removeprefix("pos3: "), command) for note in notes if note.startswith("pos3: ")]


def _message(error: BaseException, command: str) -> str:
    """The message of an error, in which the wrong argument is named as its option."""
    text = message_of(error)
    argument = error.argument if isinstance(error, InvalidArgumentError) else ""
    if argument and text.startswith(f"{argument}: "):
        return f"{_as_option(argument)}: {_with_options(text.removeprefix(f'{argument}: '), command)}"
    prefix = f"{argument}=" if argument else ""
    if not prefix or not text.startswith(prefix) or text.startswith((f"{prefix}True", f"{prefix}False")):
        return _with_options(text, command)
    return f"{_as_option(argument.removeprefix('default_'))}={_with_options(text.removeprefix(prefix), command)}"


@functools.cache
def _flag_pattern() -> re.Pattern[str]:
    """Matches a boolean argument of any verb with its value."""
    from pos3.jobs import REQUESTS

    names = {item.name for kind in REQUESTS for item in fields(kind) if isinstance(item.default, bool)}
    return re.compile(rf"\b({'|'.join(sorted(names))})=(True|False)")


def _with_options(text: str, command: str) -> str:
    """The text with options of the command in place of arguments."""

    def flag(match: re.Match[str]) -> str:
        # In a sync, the option --delete-local gives the ``delete`` of the download.
        name = "delete_local" if command == "pos3 sync" and match[1] == "delete" else match[1]
        return f"{'' if match[2] == 'True' else 'no '}{_as_option(name)}"

    def option(match: re.Match[str]) -> str:
        name = _as_option(match[1].removeprefix("default_"))
        return name if match[2] else f"{name}="

    return _MAX_DELETE.sub(_as_option("max_delete"), _OPTION.sub(option, _flag_pattern().sub(flag, text)))


def _as_option(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


def bounded(lines: Iterable[str]) -> list[str]:
    """The first lines, and a line that says how many more there are."""
    texts = list(lines)
    if len(texts) <= _MAX_LINES:
        return texts
    return [*texts[:_MAX_LINES], f"and {len(texts) - _MAX_LINES} more"]


class _AboveBars(logging.StreamHandler[TextIO]):
    """Writes log lines to stderr, and moves the bars of transfers out of their way."""

    def emit(self, record: logging.LogRecord) -> None:
        # Without this module, there are no bars. To load it takes longer than many a command.
        transfer = sys.modules.get("pos3.transfer")
        with nullcontext() if transfer is None else transfer.above_bars():
            super().emit(record)


class _OneLineFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        return escaped(super().formatMessage(record))


def log_to_stderr(name: str, *, quiet: bool, verbose: bool) -> None:
    """Shows the log of pos3: warnings always, progress lines unless ``quiet``, and debug messages if ``verbose``."""
    handler = _AboveBars(sys.stderr)
    handler.setFormatter(_OneLineFormatter(f"{name.replace('%', '%%')}: %(message)s"))
    logger = logging.getLogger("pos3")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
