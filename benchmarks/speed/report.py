"""Makes ``docs/benchmarks.md`` and its charts of a file of results.

python -m benchmarks.speed.report [RESULTS]
"""

from __future__ import annotations

import argparse
import json
import statistics
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.charts import is_ours, write_chart, write_glance
from benchmarks.speed.installing import HOME, ROOT
from benchmarks.speed.tables import median, requests
from benchmarks.speed.targets import amount, by_round, compared, judged

_PAGE = ROOT / "docs/benchmarks.md"
_IMAGES = ROOT / "docs/images/benchmarks"
_RAW = ROOT / "benchmarks/results.json"
_CLEARLY = 1.1
_QUIET_LOAD = 1.0
_NOT_JUDGED = "A run with `--quick` tells nothing about that."
_GROUPS = {
    "Many small files": ("small-",),
    "Large files": ("large-",),
    "A dataset": ("dataset-",),
    "Reruns": ("rerun", "changed", "million"),
    "Background pushes": ("push-",),
    "Listings and deletes": ("list-", "delete"),
    "Start": ("start",),
    "A Prefect flow": ("flow",),
    "Real S3 servers": ("rclone-", "moto-"),
}
# What README shows: where pos3 needs less than its peers, and where it needs more.
_GLANCE = ("small-down-0ms", "small-up-0ms", "rerun", "large-down-https")
_GLANCE_LABELS = ("pos3", "s5cmd", "rclone", "aws cli")
_MEASURES = {"wall_seconds": "wall time", "cpu_seconds": "CPU time", "peak_bytes": "memory", "requests": "requests"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.speed.report", description="Makes the page of the benchmarks.")
    parser.add_argument("results", type=Path, nargs="?", default=HOME / "results.json")
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    _PAGE.write_text(page(results))
    for title, cases in groups(results["cases"]):
        write_chart(_IMAGES / f"{slug(title)}.svg", cases)
    by_name = {case["name"]: case for case in results["cases"]}
    shown = [by_name[name] for name in _GLANCE if name in by_name]
    write_glance(_IMAGES / "at-a-glance.svg", shown, _GLANCE_LABELS)
    if options.results.resolve() != _RAW:
        _RAW.write_text(json.dumps(results, separators=(",", ":")).replace('{"round"', '\n{"round"') + "\n")
    print(f"{_PAGE}, {_IMAGES} and {_RAW} are made of {options.results}")


def page(results: Mapping[str, Any]) -> str:
    template = string.Template((Path(__file__).resolve().parent / "page.md").read_text())
    return template.substitute(
        reservations=_reservations(results),
        setup=_setup(results),
        where="memory" if results["machine"]["file_system"] == "tmpfs" else "a directory on a disk",
        targets=_NOT_JUDGED if results["is_quick"] else _targets(results["cases"]),
        losses=_NOT_JUDGED if results["is_quick"] else _losses(results["cases"]),
        cases="\n\n".join(_group(title, cases) for title, cases in groups(results["cases"])),
    )


def _reservations(results: Mapping[str, Any]) -> str:
    found = []
    if results["is_quick"]:
        found.append("This was a run with `--quick`: it shows that the benchmark works, and nothing about speed.")
    if results["machine"]["load_at_start"] > _QUIET_LOAD:
        load = results["machine"]["load_at_start"]
        found.append(f"The machine was busy with other work (load {load}): the seconds are too high, ratios inexact.")
    return "".join(f"**{one}**\n\n" for one in found)


def _setup(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    rows = {
        "measured": f"{results['began'][:10]}, in {results['spent_seconds'] / 60:.0f} minutes",
        "processors": f"{machine['processors']} x {machine['processor']}",
        "memory": f"{machine['memory_gib']:.0f} GiB",
        "system": f"{machine['system']}, Python {machine['python']}",
        **results["versions"],
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())])


def groups(cases: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for title, beginnings in _GROUPS.items():
        found = [case for case in cases if case["name"].startswith(beginnings)]
        if found:
            yield title, found


def slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def _targets(cases: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| case: figure | at most | found | n | |", "|---|---:|---:|---:|---|"]
    lines += [
        f"| {one.text} | {amount(one.most)} | {amount(one.found)} | {one.rounds} | {one.verdict} |"
        for one in judged(cases)
    ]
    return "\n".join(lines)


def _losses(cases: Sequence[Mapping[str, Any]]) -> str:
    rows = [(ratio, case, entry, measure, n) for case in cases for ratio, entry, measure, n in losses(case)]
    if not rows:
        return "Nowhere in this run."
    lines = ["| case | | peer | pos3 / peer | n |", "|---|---|---|---:|---:|"]
    lines += [
        f"| {case['title']} | {_MEASURES[measure]} | {entry['label']} | {ratio:.2f} | {n} |"
        for ratio, case, entry, measure, n in sorted(rows, key=lambda row: (-row[0], row[1]["name"]))
    ]
    return "\n".join(lines)


def losses(case: Mapping[str, Any]) -> Iterator[tuple[float, Mapping[str, Any], str, int]]:
    """For each measure in which a peer is clearly better than the first of our own entries, the best of these peers.

    The first one has the defaults, since these are what most people get.
    """
    entries = [entry for entry in case["contestants"] if entry["runs"]]
    ours = next((entry for entry in case["contestants"] if is_ours(entry)), None)
    if ours is None or case["name"] == "start":
        return
    for measure in _MEASURES:
        found = []
        for peer in entries:
            ratios = _ratios(ours, peer, measure)
            if ratios and not is_ours(peer):
                found.append((statistics.median(ratios), peer, measure, len(ratios)))
        worst = max(found, key=lambda one: one[0], default=None)
        if worst is not None and worst[0] >= _CLEARLY:
            yield worst


def _ratios(mine: Mapping[str, Any], other: Mapping[str, Any], measure: str) -> list[float]:
    return compared(by_round(mine), by_round(other), measure, lambda one, two: one / two if two else float(one > 0))


def _group(title: str, cases: Sequence[Mapping[str, Any]]) -> str:
    image = f"![{title}: wall and CPU time of each client](images/benchmarks/{slug(title)}.svg)"
    return "\n\n".join([f"### {title}", image, *map(_case, cases)])


def _case(case: Mapping[str, Any]) -> str:
    first = next((entry for entry in case["contestants"] if is_ours(entry) and entry["runs"]), None)
    ours = first["label"] if first is not None else "pos3"
    lines = [
        f"**{case['title']}** ({case['server']})",
        "",
        f"| | wall s | CPU s | peak MB | requests | {ours}: wall / its | CPU / its | n |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in case["contestants"]:
        if not entry["runs"]:
            lines.append(f"| {entry['label']} | failed | | | | | | 0 |")
            continue
        asked = statistics.median(requests(run) for run in entry["runs"])
        ratios = ["", ""]
        if first is not None and not is_ours(entry):
            found = [_ratios(first, entry, measure) for measure in ("wall_seconds", "cpu_seconds")]
            ratios = [f"{statistics.median(values):.2f}" if values else "" for values in found]
        walls = [run["wall_seconds"] for run in entry["runs"]]
        lines.append(
            f"| {entry['label']} | {statistics.median(walls):.2f} | {median(entry, 'cpu_seconds'):.2f} "
            f"| {median(entry, 'peak_bytes') / 1e6:.0f} | {asked:.0f} | {ratios[0]} | {ratios[1]} | {len(walls)} |"
        )
    figures = [run["figures"] for entry in case["contestants"] for run in entry["runs"] if run["figures"]]
    lines += [""] if figures else []
    lines += [
        f"- {name.replace('_', ' ')}: {statistics.median(run[name] for run in figures):.3g}"
        for name in (figures[0] if figures else ())
    ]
    settings = [
        f"{entry['label']}: `{entry['settings']}`"
        for entry in case["contestants"]
        if entry["settings"] not in ("", "defaults")
    ]
    if settings:
        lines += ["", f"Settings: {'; '.join(settings)}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
