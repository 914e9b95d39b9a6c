"""Texts from outside as they may be shown: without control characters, and without a secret of this process.

Keys, messages of servers and names of files can hold anything: what clears a terminal, what begins another line of a
log or of a command's results, what turns the direction of writing, and the session token that the server has just been
sent. Texts of errors and reports pass through here when they are made.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

# C0, DEL and C1, the latter also as single bytes of names that are no UTF-8; bidirectional controls; other line ends.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\udc80-\udc9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CONTROLS_IN_LINES = re.compile(_CONTROLS.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
# Shorter ones are those of servers for tests, and ordinary words.
_SHORTEST_SECRET = 12
# A piece of so many characters is looked for, at every place of a secret that is a multiple of it.
_PIECE = 8
_SHORTEST_RUN = 12
# More than enough for tokens that are replaced every few minutes.
_MOST_SECRETS = 64


def escaped(text: str, *, keeps_lines: bool = False) -> str:
    """The text with its control characters as in Python's source: a newline is the two characters ``\\n``.

    Args:
        keeps_lines: newlines stay.
    """
    if text.isprintable():
        return text
    return (_CONTROLS_IN_LINES if keeps_lines else _CONTROLS).sub(_as_escape, text)


def _as_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDC9F else repr(found[0])[1:-1]


def shown(text: str, *, keeps_lines: bool = False) -> str:
    """The text without control characters, and with ``***`` in place of secrets that this process has used."""
    for secret in list(_secrets.values()):
        text = secret.hidden_in(text)
    return escaped(text, keeps_lines=keeps_lines)


def hide(values: Iterable[str | None]) -> None:
    """Makes :func:`shown` leave these secrets out from now on, whole, in pieces, and quoted as in URLs."""
    for value in values:
        if value is None or value in _secrets or len(value) < _SHORTEST_SECRET:
            continue
        with _lock:
            _secrets[str(value)] = _Secret.of(str(value))
            while len(_secrets) > _MOST_SECRETS:
                del _secrets[next(iter(_secrets))]


@dataclass(frozen=True, slots=True, repr=False)
class _Secret:
    forms: tuple[str, ...]

    @classmethod
    def of(cls, value: str) -> _Secret:
        quoted = quote(value, safe="")
        lower = re.sub("%..", lambda found: found[0].lower(), quoted)
        return cls(tuple(dict.fromkeys((value, quoted, lower, value.replace("/", "\\/")))))

    def hidden_in(self, text: str) -> str:
        for form in self.forms:
            text = text.replace(form, "***")
        for form in self.forms:
            for at in range(0, len(form) - _PIECE + 1, _PIECE):
                if form[at : at + _PIECE] in text:
                    text = _without_runs(text, form, at)
        return text


def _without_runs(text: str, secret: str, at: int) -> str:
    """The text without what it has in common with the secret around ``secret[at:at + _PIECE]``, if that is long."""
    kept: list[str] = []
    begun, found = 0, text.find(secret[at : at + _PIECE])
    while found >= 0:
        left, right = at, at + _PIECE
        begin, end = found, found + _PIECE
        while left > 0 and begin > begun and secret[left - 1] == text[begin - 1]:
            left, begin = left - 1, begin - 1
        while right < len(secret) and end < len(text) and secret[right] == text[end]:
            right, end = right + 1, end + 1
        if end - begin >= _SHORTEST_RUN:
            kept += [text[begun:begin], "***"]
            begun = end
        found = text.find(secret[at : at + _PIECE], end)
    return "".join([*kept, text[begun:]])


_lock = threading.Lock()
_secrets: dict[str, _Secret] = {}
