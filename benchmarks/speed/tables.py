"""The figures of a case as a table of text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any


def requests(run: Mapping[str, Any]) -> int:
    return sum(run["requests"].values())


def median(contestant: Mapping[str, Any], measure: str) -> float:
    return statistics.median(run[measure] for run in contestant["runs"])


def show(case: Mapping[str, Any]) -> None:
    print(f"\n{case['name']}: {case['title']} ({case['server']}; {case['spent_seconds']:.0f} s)", flush=True)
    print(f"  {'':28}{'wall s':>9}{'min':>9}{'max':>9}{'cpu s':>9}{'MB':>7}{'requests':>10}   n")
    for entry in case["contestants"]:
        if not entry["runs"]:
            print(f"  {entry['label']:28}{entry['error'][:80] or 'not run'}")
            continue
        walls = [run["wall_seconds"] for run in entry["runs"]]
        asked = statistics.median(requests(run) for run in entry["runs"])
        print(
            f"  {entry['label']:28}{statistics.median(walls):9.2f}{min(walls):9.2f}{max(walls):9.2f}"
            f"{median(entry, 'cpu_seconds'):9.2f}{median(entry, 'peak_bytes') / 1e6:7.0f}{asked:10.0f}"
            f"{len(entry['runs']):4}"
        )
