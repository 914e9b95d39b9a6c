"""The soak in short: a case or two of each scenario breaks no law, and the laws do find what is broken."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from tests.support.program import ROOT

sys.path.insert(0, str(ROOT / "tests" / "stress"))

from soak import crowd, hour, laws, storms, strikes
from soak.place import Corner, Place
from soak.results import Result, Results


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("soak"), seed=1) as place:
        yield place


@pytest.mark.parametrize(
    ("run", "cases"),
    [
        pytest.param(lambda corner: strikes.in_a_download(corner, SIGKILL), 2, id="kill-download"),
        pytest.param(lambda corner: strikes.in_an_upload(corner, SIGKILL), 2, id="kill-upload"),
        pytest.param(lambda corner: strikes.in_a_download(corner, SIGINT), 1, id="interrupt-download"),
        pytest.param(lambda corner: strikes.in_an_upload(corner, SIGINT), 1, id="interrupt-upload"),
        pytest.param(lambda corner: storms.a_run(corner, storms.refused()), 2, id="refused"),
        pytest.param(lambda corner: storms.a_run(corner, storms.reset()), 2, id="reset"),
        pytest.param(lambda corner: storms.a_run(corner, storms.mixed()), 2, id="mixed"),
        pytest.param(storms.spoiled_bodies, 1, id="spoiled-bodies"),
        pytest.param(lambda corner: crowd.rounds(corner, 3, processes=3), 1, id="shared-cache"),
        pytest.param(lambda corner: hour.keep_watching(corner, 0.08, threading.Event(), 1.5), 1, id="hour"),
    ],
)
def test_a_few_cases_break_no_law(
    place: Place, request: pytest.FixtureRequest, run: Callable[[Corner], int], cases: int
) -> None:
    for case in range(cases):
        with place.corner(request.node.callspec.id, case) as corner:
            run(corner)
        assert corner.violations == []


def test_a_run_that_was_ended_goes_on_where_it_stopped(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    for case in range(199):
        results.add(Result("refused-10", case, 1, 0.5))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"scenario": "refused-10", "case": 199, "n"')
    command = [sys.executable, str(ROOT / "tests" / "stress" / "soak"), "refused-10", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| `refused-10` | 200 runs | 0 | 0.5 |" in done.stdout
    assert [result.case for result in Results(tmp_path / "results.jsonl").of("refused-10")] == [*range(200)]


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
