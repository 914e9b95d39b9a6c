"""What came of each case, one JSON line a case, so that a run that was ended goes on where it stopped."""

from __future__ import annotations

import json
import statistics
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """One case. ``n`` is how much of what the scenario counts it was worth: kills, steps, minutes.

    ``n`` is 0 for a case that came to nothing, such as a signal that arrived when the process had ended.
    """

    scenario: str
    case: int
    n: int
    seconds: float
    violations: list[str] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)


class Results:
    """All results in one file. Safe to use from several threads."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        text = path.read_text() if path.exists() else ""
        whole, _, cut = text.rpartition("\n")
        if cut:
            # What was being written when the last run was killed.
            path.write_text(f"{whole}\n" if whole else "")
        self._all = [Result(**json.loads(line)) for line in whole.splitlines()]

    def add(self, result: Result) -> None:
        with self._lock:
            self._all.append(result)
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")

    def of(self, scenario: str) -> list[Result]:
        with self._lock:
            return [result for result in self._all if result.scenario == scenario]

    def summary(self, scenario: str, counted: str) -> dict[str, Any]:
        found = self.of(scenario)
        events: Counter[str] = sum((Counter(result.events) for result in found), Counter())
        seconds = [result.seconds for result in found]
        return {
            "scenario": scenario,
            "n": sum(result.n for result in found),
            "counted": counted,
            "cases": len(found),
            "violations": sum(len(result.violations) for result in found),
            "median_seconds": round(statistics.median(seconds), 2) if seconds else None,
            "events": dict(sorted(events.items())),
        }


def table(summaries: list[dict[str, Any]]) -> str:
    """The summaries as Markdown."""
    lines = ["| scenario | n | violations | median seconds a case |", "|---|---:|---:|---:|"]
    lines += [
        f"| `{each['scenario']}` | {each['n']:,} {each['counted']} | {each['violations']} | {each['median_seconds']} |"
        for each in summaries
    ]
    return "\n".join(lines)
