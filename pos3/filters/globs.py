"""PURE. Splits globs into tokens, and matches globs that are too slow as regular expressions.

A regular expression with several stars tries every way to split a long key among them, and anybody who can write to a
bucket chooses the keys. So such a glob becomes a state machine that reads the path once. A state is a position in the
pattern, and the machine follows all possible states at the same time.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

_MAX_CACHED_MOVES = 10_000
_Test = Callable[[str], bool]


def tokens(segment: str) -> list[str]:
    """The tokens of a segment: "**", "*", "?", a class such as "[!ab]", or one character."""
    found = []
    at = 0
    while at < len(segment):
        end = at + 1
        if segment.startswith("**", at):
            end = at + 2
        elif segment[at] == "[":
            begin = at + 2 if segment.startswith("!", at + 1) else at + 1
            # A "]" at the beginning is one of the characters.
            end = segment.find("]", begin + 1) + 1 or at + 1
        found.append(segment[at:end])
        at = end
    return found


def character_class(token: str) -> str:
    """The regular expression of a class, by the rules of :mod:`fnmatch`, without the "(?s:...)\\Z" around it."""
    return fnmatch.translate(token)[4:-3]


def is_simple(pattern: str) -> bool:
    """Whether the time to match the pattern as a regular expression grows only linearly with the length of the path.

    That is so if each segment has at most one star, and ``**`` is only at the beginning and at the end. A star at the
    very end does not count, because it matches the rest.
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
    """A glob whose matching time grows linearly with the length of the path, for any number of stars.

    Args:
        below: whether it also matches paths below those that it names.
    """

    def __init__(self, pattern: str, *, below: bool = True):
        self._matches_only_itself = not below
        self._is_anchored = pattern.startswith("/")
        self._names_directory = pattern.endswith("/")
        # There is one test for each state. If it accepts a character, the machine moves to the next state. In a loop
        # state, it stays where it is.
        self._tests: list[_Test] = []
        self._loop_states = 0
        self._empty_moves: list[tuple[int, int]] = []
        segments = pattern.strip("/").split("/")
        for index, segment in enumerate(segments):
            is_last = index == len(segments) - 1
            if segment == "**" and not is_last:
                # It matches any number of segments with their slashes, or none.
                state = len(self._tests)
                self._empty_moves.append((1 << state, 1 << state + 1 | 1 << state + 3))
                self._tests.append(_matches_none)
            for token in tokens(segment):
                self._add(token)
            if not is_last:
                self._tests.append("/".__eq__)
        self._final = 1 << len(self._tests)
        self._cached_moves = 0
        self._known_states: dict[int, _States] = {}
        self._start = self.closure(1)

    def _add(self, token: str) -> None:
        if token in ("*", "**"):
            state = 1 << len(self._tests)
            self._loop_states |= state
            self._empty_moves.append((state, state << 1))
        if token == "**":
            self._tests.append(_matches_any)
        elif token in ("*", "?"):
            self._tests.append("/".__ne__)
        elif len(token) > 1:
            taken = re.compile(character_class(token), re.DOTALL).fullmatch
            self._tests.append(lambda character: taken(character) is not None)
        else:
            self._tests.append(token.__eq__)

    def matches(self, path: str) -> bool:
        """Whether the pattern names the path, or a directory above it."""
        states = self._start
        for character in path:
            states = states[character]
            if states is _MATCHED:
                return True
        return not self._names_directory and bool(states.bits & self._final)

    def closure(self, bits: int) -> _States:
        """The states that can be reached from ``bits`` without a further character."""
        for state, targets in self._empty_moves:
            if bits & state:
                bits |= targets
        return self._known_states.setdefault(bits, _States(self, bits))

    def step(self, bits: int, character: str) -> _States:
        """The possible states after one more character."""
        self._cached_moves += 1
        if self._cached_moves > _MAX_CACHED_MOVES:
            # Keys with many different characters would make the table grow without limit.
            self._cached_moves = 0
            for states in self._known_states.values():
                states.clear()
            self._known_states.clear()
        if character == "/" and bits & self._final and not self._matches_only_itself:
            return _MATCHED
        targets = 0 if self._is_anchored or character != "/" else 1
        for index, test in enumerate(self._tests):
            state = 1 << index
            if bits & state and test(character):
                targets |= state if self._loop_states & state else state << 1
        return self.closure(targets)


class _States(dict[str, "_States"]):
    """A set of possible states, as bits. As a dict, it caches the next set of states for each character."""

    def __init__(self, glob: Glob | None, bits: int):
        super().__init__()
        self._glob = glob
        self.bits = bits

    def __missing__(self, character: str) -> _States:
        assert self._glob is not None
        following = self[character] = self._glob.step(self.bits, character)
        return following


def _matches_none(_character: str) -> bool:
    return False


def _matches_any(_character: str) -> bool:
    return True


_MATCHED = _States(None, 0)
