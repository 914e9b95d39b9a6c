"""Results to stdout, everything else to stderr."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields

from pos3.entries import LOST_FOUND, WITHOUT_CONTENT
from pos3.errors import InvalidArgumentError, TransferError, message_of
from pos3.redaction import escaped
from pos3.reports import Kept

_MOST_LINES = 10
# Arguments that errors name in what they advise. The one that an error is about stands in its field.
_OPTION = re.compile(
    r"\b(cache_root|default_profile|exclude|include|local|max_delete|profile|require_marker)=(\.\.\.|\[\.\.\.\])?"
)
_MAX_DELETE = re.compile(r"(?<!-)\bmax_delete\b")


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
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
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


def not_warned_of(kept: Sequence[Kept]) -> list[Kept]:
    """What is left to be told of a push: it has warned of what only files and directories can be, by itself."""
    return [item for item in kept if item.reason not in WITHOUT_CONTENT and item.reason != LOST_FOUND]


def note_problems(name: str, problems: Sequence[str]) -> None:
    """Says in a dry run what could not be pushed, so that the real run would fail at its end."""
    if problems:
        told = "the real run would push all else, delete nothing, and then fail:"
        note(name, told, *bounded(_with_options(problem, name) for problem in problems))


def note_refusal(name: str, refusal: str) -> None:
    """Says in a dry run why the real run would be refused."""
    if refusal:
        note(name, "the real run would be refused:", *_with_options(refusal, name).split("\n"))


def errors_as_lines(error: BaseException, command: str = "") -> list[str]:
    """The message of an error, in terms of options; many failures of a transfer become a bounded number of lines.

    How to push what is left is a line of its own, at the end. ``command`` is the name of the command that it is for,
    such as "pos3 sync".
    """
    if isinstance(error, TransferError):
        failures = sorted(" ".join(_told(failure, command).split("\n")) for failure in error.failures)
        told = [f"{error.summary}:", *bounded(failures)] if len(failures) > 1 else [f"{error.summary}: {failures[0]}"]
        return [*told, error.advice] if error.advice else told
    lines = [line.strip() for line in _told(error, command).split("\n") if line.strip()]
    return [*(lines or [type(error).__name__]), *notes_as_lines(error, command)]


def notes_as_lines(error: BaseException, command: str = "") -> list[str]:
    """What pos3 has added to an error."""
    notes = getattr(error, "__notes__", ())
    return [_with_options(note.removeprefix("pos3: "), command) for note in notes if note.startswith("pos3: ")]


def _told(error: BaseException, command: str) -> str:
    """The message, with the argument that it is about as its option."""
    text = message_of(error)
    argument = error.argument if isinstance(error, InvalidArgumentError) else ""
    begin = f"{argument}=" if argument else ""
    if not begin or not text.startswith(begin) or text.startswith((f"{begin}True", f"{begin}False")):
        return _with_options(text, command)
    return f"{_as_option(argument.removeprefix('default_'))}={_with_options(text.removeprefix(begin), command)}"


@functools.cache
def _flag_pattern() -> re.Pattern[str]:
    """An argument of any verb that is on or off, with its value."""
    from pos3.jobs import REQUESTS

    names = {item.name for kind in REQUESTS for item in fields(kind) if isinstance(item.default, bool)}
    return re.compile(rf"\b({'|'.join(sorted(names))})=(True|False)")


def _with_options(text: str, command: str) -> str:
    def flag(found: re.Match[str]) -> str:
        # The download of a sync has its deletes from another option.
        name = "delete_local" if command == "pos3 sync" and found[1] == "delete" else found[1]
        return f"{'' if found[2] == 'True' else 'no '}{_as_option(name)}"

    def option(found: re.Match[str]) -> str:
        name = _as_option(found[1].removeprefix("default_"))
        return name if found[2] else f"{name}="

    return _MAX_DELETE.sub(_as_option("max_delete"), _OPTION.sub(option, _flag_pattern().sub(flag, text)))


def _as_option(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


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
