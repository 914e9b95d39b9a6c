"""PURE. What globs are made of, and those of them that a regular expression could take for ever to match.

A regular expression tries every way in which several stars can share a long key, and whoever writes to a bucket chooses
the keys. So such a glob goes over the path once, and remembers every place in the pattern where it may be.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

_MOST_STEPS = 10_000
_Test = Callable[[str], bool]


def tokens(segment: str) -> list[str]:
    """The parts of a segment: "**", "*", "?", a class such as "[!ab]", or one character."""
    found = []
    at = 0
    while at < len(segment):
        end = at + 1
        if segment.startswith("**", at):
            end = at + 2
        elif segment[at] == "[":
            begin = at + 2 if segment.startswith("!", at + 1) else at + 1
            # A "]" that comes first is one of the characters.
            end = segment.find("]", begin + 1) + 1 or at + 1
        found.append(segment[at:end])
        at = end
    return found


def character_class(token: str) -> str:
    """The regular expression of a class as the standard library reads it, without the frame "(?s:...)\\Z" around it."""
    return fnmatch.translate(token)[4:-3]


def is_simple(pattern: str) -> bool:
    """Whether a regular expression matches it in a time that grows like the length of the path.

    So it is with one star in a segment, and with ``**`` at the ends; a star that is the last of all takes what is left.
    """
    segments = pattern.strip("/").split("/")
    while len(segments) > 1 and segments[0] == "**":
        del segments[0]
    if len(segments) > 1 and segments[-1] == "**":
        segments.pop()
    elif segments != ["**"] and segments[-1].endswith("*") and not pattern.endswith("/"):
        segments[-1] = segments[-1][:-1]
    if segments == ["**"]:
        return True
    stars = [[token for token in tokens(segment) if "*" in token and len(token) < 3] for segment in segments]
    return all(of_segment in ([], ["*"]) for of_segment in stars)


class Glob:
    """One glob, at work in a time that grows like the length of the path, whatever its stars.

    Args:
        below: whether it stands also for what lies below what it names.
    """

    def __init__(self, pattern: str, *, below: bool = True):
        self._is_whole = not below
        self._is_tied = pattern.startswith("/")
        self._is_of_directories = pattern.endswith("/")
        # A character that the test takes leads to the next place, or for a loop back to its own.
        self._tests: list[_Test] = []
        self._loops = 0
        self._jumps: list[tuple[int, int]] = []
        segments = pattern.strip("/").split("/")
        for index, segment in enumerate(segments):
            is_last = index == len(segments) - 1
            if segment == "**" and not is_last:
                # Any number of segments with their slashes, or none.
                place = len(self._tests)
                self._jumps.append((1 << place, 1 << place + 1 | 1 << place + 3))
                self._tests.append(_takes_none)
            for token in tokens(segment):
                self._add(token)
            if not is_last:
                self._tests.append("/".__eq__)
        self._final = 1 << len(self._tests)
        self._steps = 0
        self._places: dict[int, _Places] = {}
        self._start = self.places(1)

    def _add(self, token: str) -> None:
        if token in ("*", "**"):
            place = 1 << len(self._tests)
            self._loops |= place
            self._jumps.append((place, place << 1))
        if token == "**":
            self._tests.append(_takes_any)
        elif token in ("*", "?"):
            self._tests.append("/".__ne__)
        elif len(token) > 1:
            taken = re.compile(character_class(token), re.DOTALL).fullmatch
            self._tests.append(lambda character: taken(character) is not None)
        else:
            self._tests.append(token.__eq__)

    def matches(self, path: str) -> bool:
        """Whether the path is what the pattern names, or lies below it."""
        places = self._start
        for character in path:
            places = places[character]
            if places is _FOUND:
                return True
        return not self._is_of_directories and bool(places.bits & self._final)

    def places(self, bits: int) -> _Places:
        """Those of the pattern that can be reached without a further character."""
        for place, targets in self._jumps:
            if bits & place:
                bits |= targets
        return self._places.setdefault(bits, _Places(self, bits))

    def after(self, bits: int, character: str) -> _Places:
        """Where the pattern may be after one more character."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            # Keys in many scripts would make the table grow for ever.
            self._steps = 0
            for places in self._places.values():
                places.clear()
            self._places.clear()
        if character == "/" and bits & self._final and not self._is_whole:
            return _FOUND
        reached = 0 if self._is_tied or character != "/" else 1
        for index, test in enumerate(self._tests):
            place = 1 << index
            if bits & place and test(character):
                reached |= place if self._loops & place else place << 1
        return self.places(reached)


class _Places(dict[str, "_Places"]):
    """Where in its pattern a glob may be, as bits; for each character seen so far, where it is after that."""

    def __init__(self, glob: Glob | None, bits: int):
        super().__init__()
        self._glob = glob
        self.bits = bits

    def __missing__(self, character: str) -> _Places:
        assert self._glob is not None
        following = self[character] = self._glob.after(self.bits, character)
        return following


def _takes_none(_character: str) -> bool:
    return False


def _takes_any(_character: str) -> bool:
    return True


_FOUND = _Places(None, 0)
