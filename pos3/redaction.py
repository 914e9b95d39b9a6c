"""Removes secrets from texts, and escapes control characters, before the texts are shown.

Keys, messages of servers and names of files can hold anything: sequences that clear a terminal, line ends that fake
another line of a log or of a command's output, controls that change the direction of writing, and the session token
that was just sent to the server. The texts of errors and reports pass through here when they are made.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

# The ranges are C0, DEL and C1 (also as single bytes of names that are not UTF-8), bidirectional controls, and line
# ends.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\udc80-\udc9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CONTROLS_IN_LINES = re.compile(_CONTROLS.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
# Shorter secrets are those of test servers, and may be ordinary words.
_MIN_SECRET_LENGTH = 12
# Texts are searched for the pieces of this length that begin at a multiple of it in the secret.
_PIECE_LENGTH = 8
_MIN_REDACTED_LENGTH = 12
# This is more than enough for tokens that are replaced every few minutes.
_MAX_SECRETS = 64


def escaped(text: str, *, keeps_lines: bool = False) -> str:
    """The text with control characters escaped as in Python source: a newline becomes the two characters ``\\n``.

    Args:
        keeps_lines: whether newlines stay as they are.
    """
    if text.isprintable():
        return text
    return (_CONTROLS_IN_LINES if keeps_lines else _CONTROLS).sub(_as_escape, text)


def _as_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDC9F else repr(found[0])[1:-1]


def redacted(text: str, *, keeps_lines: bool = False) -> str:
    """The text with control characters escaped, and with ``***`` in place of secrets that this process has used."""
    for secret in list(_secrets.values()):
        text = secret.redacted_in(text)
    return escaped(text, keeps_lines=keeps_lines)


def add_secrets(values: Iterable[str | None]) -> None:
    """From now on, :func:`redacted` replaces these secrets: as a whole, in pieces, and quoted as in URLs."""
    for value in values:
        if value is None or value in _secrets or len(value) < _MIN_SECRET_LENGTH:
            continue
        with _lock:
            _secrets[str(value)] = _Secret.of(str(value))
            while len(_secrets) > _MAX_SECRETS:
                del _secrets[next(iter(_secrets))]


@dataclass(frozen=True, slots=True, repr=False)
class _Secret:
    forms: tuple[str, ...]

    @classmethod
    def of(cls, value: str) -> _Secret:
        quoted = quote(value, safe="")
        lower = re.sub("%..", lambda found: found[0].lower(), quoted)
        return cls(tuple(dict.fromkeys((value, quoted, lower, value.replace("/", "\\/")))))

    def redacted_in(self, text: str) -> str:
        for form in self.forms:
            text = text.replace(form, "***")
        for form in self.forms:
            for at in range(0, len(form) - _PIECE_LENGTH + 1, _PIECE_LENGTH):
                if form[at : at + _PIECE_LENGTH] in text:
                    text = _without_common_parts(text, form, at)
        return text


def _without_common_parts(text: str, secret: str, at: int) -> str:
    """The text without its long parts that are also parts of the secret around ``secret[at:at + _PIECE_LENGTH]``."""
    kept: list[str] = []
    copied, found = 0, text.find(secret[at : at + _PIECE_LENGTH])
    while found >= 0:
        left, right = at, at + _PIECE_LENGTH
        begin, end = found, found + _PIECE_LENGTH
        while left > 0 and begin > copied and secret[left - 1] == text[begin - 1]:
            left, begin = left - 1, begin - 1
        while right < len(secret) and end < len(text) and secret[right] == text[end]:
            right, end = right + 1, end + 1
        if end - begin >= _MIN_REDACTED_LENGTH:
            kept += [text[copied:begin], "***"]
            copied = end
        found = text.find(secret[at : at + _PIECE_LENGTH], end)
    return "".join([*kept, text[copied:]])


_lock = threading.Lock()
_secrets: dict[str, _Secret] = {}
