"""Soak: thousands of transfers that are killed, interrupted and disturbed, each judged by laws. Status 1 if one breaks.

    python tests/stress/soak [SCENARIO ...] [--results DIRECTORY] [--share 0.01] [--minutes 60] [--case 17]

Results go to ``results.jsonl`` in the directory, one line a case; started again, it goes on where it stopped. A case is
made from the seed, its scenario and its number alone, but for the moment at which a signal arrives. What is violated
is printed with the command that runs that case again, and its cache is kept in the directory.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(_ROOT), str(_ROOT / "tests" / "stress")]

from soak import crowd, histories, hour, storms, strikes  # noqa: E402
from soak.place import Corner, Place  # noqa: E402
from soak.results import Result, Results, table  # noqa: E402

STOPPED = threading.Event()


@dataclass(frozen=True)
class Scenario:
    """What is done in a case, and how much of what it counts is wanted. One case in ``moto_every`` runs on moto."""

    name: str
    counted: str
    wanted: int
    run: Callable[[Corner], int]
    at_once: int = 2
    moto_every: int = 8

    def on_moto(self, case: int) -> bool:
        return self.moto_every > 0 and case % self.moto_every == self.moto_every - 1


def _storm(name: str, wanted: int, faults: Callable[[], list[storms.Fault]]) -> Scenario:
    return Scenario(name, "runs", wanted, lambda corner: storms.a_run(corner, faults()), at_once=6, moto_every=8)


SCENARIOS = [
    Scenario("histories", "steps", 10_000, histories.a_seed, 1, moto_every=2),
    Scenario("kill-download", "kills", 250, lambda corner: strikes.in_a_download(corner, signal.SIGKILL)),
    Scenario("kill-upload", "kills", 250, lambda corner: strikes.in_an_upload(corner, signal.SIGKILL)),
    Scenario("interrupt-download", "SIGINTs", 50, lambda corner: strikes.in_a_download(corner, signal.SIGINT)),
    Scenario("interrupt-upload", "SIGINTs", 50, lambda corner: strikes.in_an_upload(corner, signal.SIGINT)),
    _storm("refused-10", 200, storms.refused),
    _storm("reset-10", 200, storms.reset),
    _storm("mixed", 1000, storms.mixed),
    Scenario("spoiled-bodies", "bodies", 1000, storms.spoiled_bodies, 4, moto_every=8),
    Scenario("shared-cache", "rounds", 50, crowd.rounds, 1, moto_every=0),
    Scenario("hour", "minutes", 60, lambda corner: hour.keep_watching(corner, 60, STOPPED), 1, moto_every=0),
]


@dataclass
class Soak:
    """One call of the program."""

    place: Place
    results: Results
    ends_at: float

    @property
    def is_over(self) -> bool:
        return STOPPED.is_set() or time.monotonic() > self.ends_at

    def run(self, scenario: Scenario, wanted: int) -> None:
        """New cases until there are enough, the time is over, or ten have found something."""
        numbers = iter(range(max((each.case for each in self.results.of(scenario.name)), default=-1) + 1, 1 << 30))
        lock = threading.Lock()
        under_way = 0

        def work() -> None:
            nonlocal under_way
            while not self.is_over:
                with lock:
                    found = self.results.of(scenario.name)
                    missing = wanted - sum(each.n for each in found)
                    if missing <= 0 or sum(bool(each.violations) for each in found) >= 10:
                        return
                    # What is under way may be enough, or come to nothing.
                    begins = under_way < missing
                    if begins:
                        under_way += 1
                        number = next(numbers)
                if not begins:
                    time.sleep(0.1)
                    continue
                self.one(scenario, number)
                with lock:
                    under_way -= 1

        with ThreadPoolExecutor(scenario.at_once) as pool:
            for each in [pool.submit(work) for _ in range(scenario.at_once)]:
                each.result()

    def one(self, scenario: Scenario, number: int) -> Result:
        began = time.monotonic()
        with self.place.corner(scenario.name, number, moto=scenario.on_moto(number)) as corner:
            n = 0
            try:
                n = scenario.run(corner)
            except Exception as error:  # noqa: BLE001 - a finding, whatever it is
                corner.wrong(["".join(traceback.format_exception(error))])
        seconds = round(time.monotonic() - began, 3)
        result = Result(scenario.name, number, n, seconds, corner.violations, corner.events)
        self.results.add(result)
        for violation in corner.violations:
            again = f"python tests/stress/soak {scenario.name} --case {number} --seed {self.place.seed}"
            print(f"{scenario.name} {number}: {violation}\n    again: {again}\n    cache: {corner.cache}", flush=True)
        return result


def forget_settings_of_the_user(home: Path) -> None:
    """No AWS or pos3 setting of whoever starts this reaches the runs."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "POS3_"))]:
        del os.environ[name]
    nowhere = str(home / "nothing-here")
    os.environ |= dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "POS3_PROFILES_FILE"), nowhere)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def main() -> int:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description="A long run under strikes and faults; status 1 if a law is broken.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(names)}; all of them if none")
    parser.add_argument("--results", type=Path, default=Path(".soak"), help="where results and kept caches go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="how much of each scenario, such as 0.01")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after so many minutes")
    parser.add_argument("--case", type=int, help="run this case of one scenario alone, and write no results")
    parser.add_argument("--only-summary", action="store_true", help="run nothing")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [scenario for scenario in SCENARIOS if scenario.name in (options.scenarios or names)]
    home = options.results.resolve()
    home.mkdir(parents=True, exist_ok=True)
    forget_settings_of_the_user(home)
    # What pos3 warns of is what is provoked here.
    logging.getLogger("pos3").setLevel(logging.CRITICAL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: STOPPED.set())

    single = options.case is not None
    results = Results(home / f"single-{time.time():.0f}.jsonl" if single else home / "results.jsonl")
    if not options.only_summary:
        with Place(home, options.seed) as place:
            soak = Soak(place, results, time.monotonic() + options.minutes * 60)
            for scenario in chosen:
                if single:
                    soak.one(scenario, options.case)
                else:
                    soak.run(scenario, max(1, round(scenario.wanted * options.share)))
                    print(json.dumps(results.summary(scenario.name, scenario.counted)), flush=True)
    summaries = [results.summary(scenario.name, scenario.counted) for scenario in chosen]
    if not single:
        (home / "summary.json").write_text(json.dumps(summaries, indent=2) + "\n")
    print(table(summaries))
    return 1 if any(each["violations"] for each in summaries) else 0


if __name__ == "__main__":
    sys.exit(main())
