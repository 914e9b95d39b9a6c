"""What pos3 wants to reach, and whether a run of the benchmark shows it."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MEASURES = {"wall_seconds": "wall", "cpu_seconds": "CPU", "peak_bytes": "memory"}


@dataclass(frozen=True)
class Target:
    """A bound on a figure of pos3.

    With ``rivals``, on its ratio to that of the best of them; with ``beyond``, on how much larger than that one it is.
    """

    case: str
    measure: str
    most: float
    rivals: Sequence[str] = ()
    ours: str = "pos3"
    beyond: str = ""


@dataclass(frozen=True)
class Judged:
    """A target and what was found: the median over the rounds; for ratios, each is of one round."""

    text: str
    most: float
    found: float | None
    rounds: int

    @property
    def is_met(self) -> bool | None:
        return None if self.found is None else self.found <= self.most

    @property
    def verdict(self) -> str:
        return {None: "not measured", True: "met", False: "MISSED"}[self.is_met]


def _against_s5cmd(case: str, wall: float, cpu: float | None = None, ours: str = "pos3") -> list[Target]:
    bounds = {"wall_seconds": wall, "cpu_seconds": cpu}
    return [Target(case, measure, most, ("s5cmd",), ours) for measure, most in bounds.items() if most is not None]


TARGETS = [
    *_against_s5cmd("small-down-0ms", 0.70, 0.42),
    *_against_s5cmd("small-up-0ms", 0.60, 0.40),
    *_against_s5cmd("small-down-20ms", 0.70, 0.45, "pos3, 256 workers"),
    *_against_s5cmd("small-down-20ms", 1.0),
    *_against_s5cmd("small-up-20ms", 0.60, 0.60, "pos3, 256 workers"),
    *_against_s5cmd("small-down-100ms", 1.5),
    *_against_s5cmd("small-up-100ms", 1.7),
    *_against_s5cmd("small-down-0ms-all", 1.4),
    *_against_s5cmd("small-up-0ms-all", 1.2),
    *(
        Target(f"small-{way}-0ms-all", measure, 0.1, ("pos3 0.4.0",))
        for way in ("down", "up")
        for measure in ("wall_seconds", "cpu_seconds")
    ),
    *_against_s5cmd("dataset-down-0ms", 1.25, 0.95),
    *_against_s5cmd("dataset-down-https", 1.1, 1.0),
    *_against_s5cmd("large-down-http", 1.0, 0.85),
    *_against_s5cmd("large-down-https", 1.05, 1.15),
    *_against_s5cmd("large-up-http", 0.80, 0.80),
    *_against_s5cmd("large-up-https", 0.75, 0.29),
    Target("large-down-http", "peak_bytes", 60e6),
    *(Target(f"large-{name}", "peak_bytes", 150e6) for name in ("down-https", "up-http", "up-https")),
    Target("rerun", "wall_seconds", 0.58, ("rclone",)),
    Target("rerun", "cpu_seconds", 0.44, ("rclone",)),
    Target("changed", "wall_seconds", 0.4, ("s5cmd", "rclone")),
    Target("changed", "cpu_seconds", 0.4, ("s5cmd", "rclone")),
    Target("push-unchanged", "cpu_seconds", 0.5),
    Target("push-unchanged", "requests", 0),
    Target("list-1m", "cpu_seconds", 25),
    Target("million", "peak_bytes", 200e6),
    Target("start", "wall_seconds", 0.060, ours="import pos3", beyond="python -c pass"),
    Target("start", "wall_seconds", 0.150, ours="pos3 --help"),
    Target("flow", "downloads_of_each_object", 1),
    Target("flow", "further_call_seconds", 0.010),
]


def judged(cases: Sequence[Mapping[str, Any]]) -> list[Judged]:
    by_name = {case["name"]: case for case in cases}
    return [_judge(target, by_name[target.case]) for target in TARGETS if target.case in by_name]


def _judge(target: Target, case: Mapping[str, Any]) -> Judged:
    ours = _runs(case, target.ours)
    what = MEASURES.get(target.measure, target.measure.replace("_", " "))
    if target.beyond:
        rounds = compared(ours, _runs(case, target.beyond), target.measure, operator.sub)
        return Judged(f"{target.case}: {target.ours} - {target.beyond}, {what}", target.most, *_middle(rounds))
    if not target.rivals:
        values = [value(run, target.measure) for run in ours.values()]
        return Judged(f"{target.case}: {target.ours}, {what}", target.most, *_middle(values))
    ratios = {rival: compared(ours, _runs(case, rival), target.measure, operator.truediv) for rival in target.rivals}
    # The largest ratio is the one to the best of them.
    best = max(target.rivals, key=lambda rival: statistics.median(ratios[rival] or [0.0]))
    return Judged(f"{target.case}: {target.ours} / {best}, {what}", target.most, *_middle(ratios[best]))


def compared(
    ours: Mapping[int, Mapping[str, Any]],
    theirs: Mapping[int, Mapping[str, Any]],
    measure: str,
    by: Callable[[float, float], float],
) -> list[float]:
    """One figure against another, both of the same round, for each round in which both took part."""
    return [by(value(ours[number], measure), value(theirs[number], measure)) for number in ours.keys() & theirs.keys()]


def _middle(values: Sequence[float]) -> tuple[float | None, int]:
    return (statistics.median(values) if values else None), len(values)


def _runs(case: Mapping[str, Any], label: str) -> dict[int, Mapping[str, Any]]:
    return next((by_round(entry) for entry in case["contestants"] if entry["label"] == label), {})


def by_round(contestant: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    return {run["round"]: run for run in contestant["runs"]}


def value(run: Mapping[str, Any], measure: str) -> float:
    if measure == "requests":
        return float(sum(run["requests"].values()))
    return float(run[measure] if measure in run else run["figures"][measure])


def as_dicts(found: Sequence[Judged]) -> list[dict[str, Any]]:
    return [asdict(one) | {"is_met": one.is_met} for one in found]


def show(found: Sequence[Judged]) -> None:
    print(f"\n{'target':62}{'at most':>12}{'found':>12}  n")
    for one in found:
        print(f"{one.text:62}{amount(one.most):>12}{amount(one.found):>12}  {one.rounds}  {one.verdict}")


def amount(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number / 1e6:.0f} MB" if number > 1e5 else f"{number:.3g}"
