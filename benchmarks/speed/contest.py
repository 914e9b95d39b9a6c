"""Plays one case: its contestants in turns, round by round, so that other load on the machine meets all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.speed.measure import Command, Measured, measured
from benchmarks.speed.servers import Counts, Front


@dataclass(frozen=True)
class Run:
    """What one contestant needed in one round; rounds are counted from 1, round 0 warms up and is not kept."""

    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    requests: Mapping[str, int]
    figures: Mapping[str, float] = field(default_factory=dict)


def whole(number: int, run: Measured, counts: Counts) -> Run:
    """The figures of the whole process."""
    return Run(number, run.wall_seconds, run.cpu_seconds, run.peak_bytes, counts.requests)


@dataclass(frozen=True)
class Contestant:
    """One client in one case.

    ``command`` gets the number of the round. ``before`` and ``after`` are not timed. ``check`` raises RunError if the
    run did not do its work. ``runs`` bounds the rounds that it takes part in: a slow one takes part in fewer.
    """

    tool: str
    label: str
    settings: str
    command: Callable[[int], Command]
    check: Callable[[int, Measured, Counts], None] = lambda *_: None
    before: Callable[[int], None] = lambda _: None
    after: Callable[[int], None] = lambda _: None
    figures: Callable[[int, Measured, Counts], Run] = whole
    runs: int = 5
    warms_up: bool = True


@dataclass(frozen=True)
class Case:
    """One workload on one server with one latency.

    ``budget_seconds`` bounds the whole case: no round is begun that would not fit, but one is always played. The first
    contestant is pos3. Where a round of all would not fit, the slowest of the others sit it out, all but one.
    """

    name: str
    title: str
    server: str
    contestants: list[Contestant]
    delay_seconds: float = 0.0
    budget_seconds: float = 60.0
    timeout_seconds: float = 120.0


@dataclass
class Outcome:
    """The runs of one contestant, and why there are no more of them."""

    label: str
    settings: str
    runs: list[Run] = field(default_factory=list)
    error: str = ""
    last_seconds: float = 0.0

    def plays(self, entry: Contestant, number: int) -> bool:
        return not self.error and number <= entry.runs and (number > 0 or entry.warms_up)

    def as_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "settings": self.settings,
            "error": self.error,
            "runs": [asdict(run) for run in self.runs],
        }


def play(case: Case, front: Front, tools: Collection[str], budget_seconds: float) -> dict[str, Any]:
    """The case as it goes into the file of results, by these tools. What fails is noted, and the others go on."""
    began = time.monotonic()
    entries = [entry for entry in case.contestants if entry.tool in tools]
    outcomes = {entry.label: Outcome(entry.label, entry.settings) for entry in entries}
    until = began + min(case.budget_seconds, budget_seconds)
    front.delay(case.delay_seconds)
    try:
        for number in range(max((entry.runs for entry in entries), default=0) + 1):
            playing = [entry for entry in entries if outcomes[entry.label].plays(entry, number)]
            if number > 1:
                playing = _fitting(playing, outcomes, until - time.monotonic())
            first = number % max(1, len(playing))
            # Each is the first of a round as often as the others.
            for entry in [*playing[first:], *playing[:first]]:
                _play(case, entry, number, outcomes[entry.label], front)
    finally:
        front.delay(0)
    return {
        "name": case.name,
        "title": case.title,
        "server": case.server,
        "delay_ms": round(case.delay_seconds * 1000),
        "spent_seconds": round(time.monotonic() - began, 1),
        "contestants": [outcome.as_dict() for outcome in outcomes.values()],
    }


def _fitting(playing: list[Contestant], outcomes: dict[str, Outcome], left_seconds: float) -> list[Contestant]:
    """Those who can play a round in the time that is left; nobody, if pos3 and one other cannot."""

    def seconds(entry: Contestant) -> float:
        return outcomes[entry.label].last_seconds

    ours, others = playing[:1], sorted(playing[1:], key=seconds)
    while len(others) > 1 and sum(map(seconds, ours + others)) > left_seconds:
        others.pop()
    chosen = [entry for entry in playing if entry in ours or entry in others]
    return chosen if sum(map(seconds, chosen)) <= left_seconds else []


def _play(case: Case, entry: Contestant, number: int, outcome: Outcome, front: Front) -> None:
    began = time.monotonic()
    try:
        try:
            entry.before(number)
            front.counts()
            run = measured(entry.command(number), case.timeout_seconds)
            counts = front.counts()
            entry.check(number, run, counts)
            if number:
                outcome.runs.append(entry.figures(number, run, counts))
        finally:
            entry.after(number)
    except Exception as error:  # noqa: BLE001 - whatever happens to one contestant, the others go on
        outcome.error = f"{type(error).__name__}: {error}"
        print(f"  {case.name}: {entry.label} failed: {outcome.error[:500]}", file=sys.stderr, flush=True)
    outcome.last_seconds = time.monotonic() - began
