"""The benchmark measures what it says, and its page is made of its raw results."""

from __future__ import annotations

import json
import os
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.bench import Bench
from benchmarks.speed.data import Object, content, crc64nvme_text, write_file, write_index, write_large
from benchmarks.speed.installing import Nginx
from benchmarks.speed.measure import Command, RunError, measured
from benchmarks.speed.peers import Pos3, Remote
from benchmarks.speed.report import groups, losses, page
from benchmarks.speed.servers import Endpoint, Front
from benchmarks.speed.targets import TARGETS, judged
from benchmarks.speed.workloads import WORKLOADS
from tests.support import S3Site
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


def test_where_the_defaults_of_pos3_lose_is_told_whatever_more_workers_do() -> None:
    played = case(
        contestant("pos3", r1=3),
        contestant("pos3, 256 workers", r1=1),
        contestant("pos3 0.4.0", r1=1.5),
        contestant("s5cmd", r1=2),
    )
    assert [(ratio, peer["label"]) for ratio, peer, *_ in losses(played)] == [(2.0, "pos3 0.4.0")]


class NeverStarted(Front):
    """nginx as the workloads know it while they prepare their data; nothing is played."""

    def _control(self, name: str, **arguments: str) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """All cases with the labels of their contestants, but those of real servers, which would have to run."""
    folder = tmp_path_factory.mktemp("declared")
    bench = Bench(folder, NeverStarted(Nginx(folder), folder, {}), {}, share=0.0005, most_runs=5)
    cases = chain.from_iterable(make(bench) for name, make in WORKLOADS.items() if name != "real")
    return {case.name: {entry.label for entry in case.contestants} for case in cases}


def test_each_target_is_of_a_case_and_of_its_contestants(declared: dict[str, set[str]]) -> None:
    for target in TARGETS:
        wanted = {target.ours, *target.rivals, *filter(None, [target.beyond])}
        assert wanted <= declared[target.case], target


def test_each_case_has_its_place_on_the_page(declared: dict[str, set[str]]) -> None:
    shown = groups([{"name": name} for name in declared])
    assert sorted(found["name"] for _, cases in shown for found in cases) == sorted(declared)


def test_data_is_listed_with_the_checksum_that_s3_would_keep(tmp_path: Path) -> None:
    # As the catalogue of CRCs has it for CRC-64/NVME.
    assert write_file(str(tmp_path / "a"), "a", b"123456789").crc64nvme == crc64nvme_text(0xAE8B14860A799888)
    in_parts = write_large(tmp_path / "b", 1000, part_bytes=64)
    at_once = write_file(str(tmp_path / "c"), "c", (tmp_path / "b").read_bytes())
    assert in_parts.crc64nvme == at_once.crc64nvme


def test_an_index_tells_what_an_object_has(tmp_path: Path) -> None:
    index = write_index(tmp_path / "index", "data/", [Object("a", 1, "e", 2, "/f", "c"), Object("b", 1, "e", 2)])
    assert index.read_text() == "data/a\t1\te\t2\tc\t/f\ndata/b\t1\te\t2\t\t\n"


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(Pos3(), id="defaults"),
        pytest.param(Pos3(256), id="256"),
    ],
)
def test_pos3_moves_a_tree_as_it_is_declared(peer: Pos3, moto_site: S3Site, tmp_path: Path) -> None:
    server = moto_site.server
    endpoint = Endpoint(server.endpoint_url, server.access_key, server.secret_key)
    remote = Remote(endpoint, moto_site.bucket, "data/")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_bytes(content(1, 2_000_000))
    measured(peer.upload(source, remote, tmp_path / "state"), timeout_seconds=60)
    measured(peer.download(remote, target, tmp_path / "another-state"), timeout_seconds=60)
    assert (target / "a").read_bytes() == (source / "a").read_bytes()


def test_the_page_is_made_of_the_raw_results() -> None:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert (ROOT / "docs" / "benchmarks.md").read_text() == page(results), "make bench-page makes it anew"
