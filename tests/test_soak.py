"""The soak harness finds nothing in a few cases of each scenario, and does find what is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from soak import laws
from soak.results import Result, Results


def soak(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "soak"), "--results", str(results), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


def test_two_cases_of_each_scenario_break_no_law(tmp_path: Path) -> None:
    scenarios = ["kill-download", "kill-upload", "interrupt-download", "interrupt-upload"]
    scenarios += ["refused-10", "reset-10", "mixed-15", "spoiled-bodies"]
    done = soak(tmp_path, *scenarios, "--share", "0.001")
    assert done.returncode == 0, done.stdout + done.stderr
    summaries = json.loads((tmp_path / "summary.json").read_text())
    assert [each["scenario"] for each in summaries] == scenarios
    assert all(each["n"] >= 1 for each in summaries), summaries


def test_a_run_that_was_ended_goes_on_where_it_stopped(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    for case in range(200):
        results.add(Result("refused-10", case, 1, 0.5))
    done = soak(tmp_path, "refused-10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| `refused-10` | 200 runs | 0 | 0.5 |" in done.stdout


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        pytest.param({"a": b"new", "b": b"b", "gone": b"g"}, "", id="on-its-way"),
        pytest.param({"a": b"new", "b": b"b"}, "", id="all-done"),
        pytest.param({"a": b"ne", "b": b"b", "gone": b"g"}, "nobody wrote", id="half-a-file"),
        pytest.param({"a": b"old", "b": b"b"}, "before a was there", id="deleted-too-early"),
        pytest.param({"a": b"new", "gone": b"g"}, "b is gone", id="lost"),
        pytest.param({"a": b"new", "b": b"b", "c": b""}, "nobody wrote", id="from-nowhere"),
    ],
)
def test_a_cut_transfer_is_judged_by_what_it_may_leave(found: dict[str, bytes], wrong: str) -> None:
    before, after = {"a": b"old", "b": b"b", "gone": b"g"}, {"a": b"new", "b": b"b"}
    violations = laws.of_a_part("local", found, before, after)
    assert wrong in "".join(violations)
    assert bool(violations) == bool(wrong)
