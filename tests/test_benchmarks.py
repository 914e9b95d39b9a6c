"""The benchmark measures what it says, and its page is made of its raw results."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from benchmarks.speed.measure import Command, RunError, measured
from benchmarks.speed.report import losses, page
from benchmarks.speed.targets import judged
from tests.support.program import ROOT

MB = 1_000_000
# A child that holds 60 MB and computes for 0.3 s, while its parent holds as much.
FAMILY = """
import subprocess, sys
held = bytearray(60_000_000)
child = "import time; held = bytearray(60_000_000)\\nwhile time.process_time() < 0.3: pass"
subprocess.run([sys.executable, "-S", "-c", child], check=True)
"""


def python(script: str) -> Command:
    return Command([sys.executable, "-S", "-c", script], os.environ)


def test_memory_and_cpu_time_are_those_of_the_whole_tree() -> None:
    run = measured(python(FAMILY), timeout_seconds=60)
    assert 0.3 <= run.cpu_seconds < 5
    assert 120 * MB < run.peak_bytes < 180 * MB


def test_memory_of_the_benchmark_itself_is_not_counted() -> None:
    held = bytearray(150 * MB)
    assert measured(python("pass"), timeout_seconds=60).peak_bytes < 60 * MB
    assert len(held) == 150 * MB


def test_what_a_program_prints_is_counted_and_its_last_figures_are_read() -> None:
    run = measured(python("print('noise'); print('{\"seconds\": 1}'); print('{\"seconds\": 2}')"), timeout_seconds=60)
    assert (run.lines, run.json()) == (3, {"seconds": 2})


@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param("raise SystemExit('no such bucket')", "status 1: no such bucket", id="fails"),
        pytest.param("import time; time.sleep(60)", "not done after 1 s", id="hangs"),
    ],
)
def test_a_run_that_does_not_succeed_gives_no_figures(script: str, told: str) -> None:
    with pytest.raises(RunError, match=told):
        measured(python(script), timeout_seconds=1)


def contestant(label: str, **walls: float) -> dict[str, Any]:
    runs = [
        {
            "round": int(number.removeprefix("r")),
            "wall_seconds": seconds,
            "cpu_seconds": 1.0,
            "peak_bytes": 50 * MB,
            "requests": {"GET": 10},
            "figures": {},
        }
        for number, seconds in walls.items()
    ]
    return {"label": label, "settings": "", "error": "", "runs": runs}


def case(*contestants: dict[str, Any]) -> dict[str, Any]:
    return {"name": "rerun", "title": "Rerun", "server": "nginx", "contestants": list(contestants)}


def test_a_ratio_is_of_one_round_and_to_the_best_peer() -> None:
    # The machine was three times as slow in the second round; s5cmd took no part in the third.
    played = case(
        contestant("pos3", r1=1, r2=3, r3=1),
        contestant("s5cmd", r1=5, r2=15),
        contestant("rclone", r1=2, r2=6, r3=2),
        contestant("aws cli"),
    )
    wall = judged([played])[0]
    assert (wall.text, wall.found, wall.rounds) == ("rerun: pos3 / rclone, wall", 0.5, 3)


def test_a_target_without_rounds_of_both_is_not_measured() -> None:
    wall = judged([case(contestant("pos3", r1=1), contestant("s5cmd", r2=1))])[0]
    assert (wall.found, wall.verdict) == (None, "not measured")


def test_where_a_peer_is_better_is_told_with_the_best_of_them() -> None:
    played = case(contestant("pos3", r1=3), contestant("s5cmd", r1=2), contestant("rclone", r1=1))
    assert [(ratio, peer["label"], measure) for ratio, peer, measure, _ in losses(played)] == [
        (3.0, "rclone", "wall_seconds")
    ]


def test_the_page_is_made_of_the_raw_results() -> None:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert (ROOT / "docs" / "benchmarks.md").read_text() == page(results), "make bench-page makes it anew"
