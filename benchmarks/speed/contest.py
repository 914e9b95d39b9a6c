"""Plays one case: its contestants in turns, round by round, so that other load on the machine meets all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
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

    ``budget_seconds`` bounds the whole case: no round is begun that would not fit, but one is always played.
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


def play(case: Case, front: Front, tools: Collection[str]) -> dict[str, Any]:
    """The case as it goes into the file of results, by these tools. What fails is noted, and the others go on."""
    began = time.monotonic()
    case = replace(case, contestants=[entry for entry in case.contestants if entry.tool in tools])
    outcomes = {entry.label: Outcome(entry.label, entry.settings) for entry in case.contestants}
    front.delay(case.delay_seconds)
    try:
        most = max((entry.runs for entry in case.contestants), default=0)
        round_seconds = 0.0
        for number in range(most + 1):
            left_seconds = case.budget_seconds - (time.monotonic() - began)
            if number > 1 and round_seconds > left_seconds:
                break
            round_began = time.monotonic()
            _play_round(case, number, outcomes, front)
            round_seconds = time.monotonic() - round_began
    finally:
        front.delay(0)
    spent = time.monotonic() - began
    print(f"  {case.name}: {spent:.0f} s, {max((len(o.runs) for o in outcomes.values()), default=0)} runs", flush=True)
    return {
        "name": case.name,
        "title": case.title,
        "server": case.server,
        "delay_ms": round(case.delay_seconds * 1000),
        "spent_seconds": round(spent, 1),
        "contestants": [asdict(outcome) for outcome in outcomes.values()],
    }


def _play_round(case: Case, number: int, outcomes: Mapping[str, Outcome], front: Front) -> None:
    first = number % max(1, len(case.contestants))
    # Each is the first of a round as often as the others.
    for entry in [*case.contestants[first:], *case.contestants[:first]]:
        outcome = outcomes[entry.label]
        if outcome.error or number > entry.runs or (number == 0 and not entry.warms_up):
            continue
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
