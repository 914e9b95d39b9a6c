"""What pos3 wants to reach, and whether a run of the benchmark shows it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MEASURES = {"wall_seconds": "wall", "cpu_seconds": "CPU", "peak_bytes": "memory"}
_BEST_PEERS = ("s5cmd", "rclone", "aws cli", "boto3 with CRT")
_SYNCS = ("s5cmd", "rclone", "aws cli")


@dataclass(frozen=True)
class Target:
    """A bound on a figure of pos3, or on its ratio to that of the best of its rivals."""

    case: str
    measure: str
    most: float
    rivals: Sequence[str] = ()
    ours: str = "pos3"


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


def _small(delay_ms: int, ours: str) -> list[Target]:
    return [
        Target(f"small-{way}-{delay_ms}ms", measure, 0.6, ("s5cmd",), ours)
        for way in ("down", "up")
        for measure in ("wall_seconds", "cpu_seconds")
    ]


TARGETS = [
    *_small(0, "pos3"),
    *_small(20, "pos3, 64 workers"),
    *(
        Target(f"small-{way}-0ms-all", measure, 0.1, ("pos3 0.4.0",))
        for way in ("down", "up")
        for measure in ("wall_seconds", "cpu_seconds")
    ),
    *(
        target
        for scheme in ("http", "https")
        for way in ("down", "up")
        for target in (
            Target(f"large-{way}-{scheme}", "wall_seconds", 1.1, _BEST_PEERS),
            Target(f"large-{way}-{scheme}", "cpu_seconds", 1.0, _BEST_PEERS),
            Target(f"large-{way}-{scheme}", "peak_bytes", 150e6),
        )
    ),
    Target("rerun", "wall_seconds", 0.3, _SYNCS),
    Target("rerun", "cpu_seconds", 0.3, _SYNCS),
    Target("changed", "wall_seconds", 0.4, _SYNCS),
    Target("changed", "cpu_seconds", 0.4, _SYNCS),
    Target("push-unchanged", "cpu_seconds", 0.5),
    Target("push-unchanged", "requests", 0),
    Target("list-1m", "cpu_seconds", 25),
]


def judged(cases: Sequence[Mapping[str, Any]]) -> list[Judged]:
    by_name = {case["name"]: case for case in cases}
    return [_judge(target, by_name[target.case]) for target in TARGETS if target.case in by_name]


def _judge(target: Target, case: Mapping[str, Any]) -> Judged:
    ours = _runs(case, target.ours)
    if not target.rivals:
        values = [value(run, target.measure) for run in ours.values()]
        found = statistics.median(values) if values else None
        text = f"{target.case}: {target.ours}, {MEASURES.get(target.measure, target.measure)}"
        return Judged(text, target.most, found, len(values))
    compared = []
    for rival in target.rivals:
        theirs = _runs(case, rival)
        ratios = [
            value(ours[number], target.measure) / value(theirs[number], target.measure)
            for number in ours.keys() & theirs.keys()
        ]
        if ratios:
            compared.append((statistics.median(ratios), len(ratios), rival))
    # The largest ratio is the one to the best of them.
    found, rounds, rival = max(compared, default=(None, 0, "/".join(target.rivals)))
    text = f"{target.case}: {target.ours} / {rival}, {MEASURES[target.measure]}"
    return Judged(text, target.most, found, rounds)


def _runs(case: Mapping[str, Any], label: str) -> dict[int, Mapping[str, Any]]:
    return {
        run["round"]: run
        for contestant in case["contestants"]
        if contestant["label"] == label
        for run in contestant["runs"]
    }


def value(run: Mapping[str, Any], measure: str) -> float:
    return float(sum(run["requests"].values()) if measure == "requests" else run[measure])


def as_dicts(found: Sequence[Judged]) -> list[dict[str, Any]]:
    return [asdict(one) | {"is_met": one.is_met} for one in found]


def show(found: Sequence[Judged]) -> None:
    print(f"\n{'target':62}{'at most':>12}{'found':>12}  n")
    for one in found:
        state = {None: "not measured", True: "met", False: "MISSED"}[one.is_met]
        amount = "-" if one.found is None else _number(one.found)
        print(f"{one.text:62}{_number(one.most):>12}{amount:>12}  {one.rounds}  {state}")


def _number(amount: float) -> str:
    return f"{amount / 1e6:.0f} MB" if amount > 1e5 else f"{amount:.3g}"
