"""pos3 against its peers: one server, the same data, in turns.

    python -m benchmarks.speed [--workload small-down] [--case small-down-0ms] [--peer s5cmd] [--runs 5] [--quick]

What each figure means, and how it comes about, is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.speed import tables, targets
from benchmarks.speed.bench import Bench
from benchmarks.speed.contest import Case, play
from benchmarks.speed.data import remove_tree
from benchmarks.speed.installing import HOME, InstallError, nginx
from benchmarks.speed.machine import machine
from benchmarks.speed.peers import PEERS
from benchmarks.speed.servers import Front
from benchmarks.speed.workloads import WORKLOADS
from tests.support import MotoServer, RcloneServer

_QUICK_SHARE = 0.02
_NEEDED_BYTES = 12 * 2**30


def main() -> None:
    options = _options()
    # As an exception, so that servers and data go, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    versions = _install(options.peer)
    with tempfile.TemporaryDirectory(prefix="pos3-bench-", dir=options.scratch or _scratch()) as scratch:
        folder = Path(scratch)
        # nginx, when root starts it, reads the files as another user.
        folder.chmod(0o755)
        results: dict[str, Any] = {
            "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(folder),
            "versions": versions,
            "is_quick": options.quick,
            "cases": [],
        }
        began = time.monotonic()
        real = {"rclone": RcloneServer(), "moto": MotoServer()}
        with real["rclone"], real["moto"], Front(nginx(), folder / "nginx", real) as front:
            bench = Bench(folder, front, real, _QUICK_SHARE if options.quick else 1.0, options.runs)
            names = options.workload or WORKLOADS
            missed = set(options.case or ())
            for case in _cases(bench, names, missed.copy()):
                left_seconds = began + options.minutes * 60 - time.monotonic()
                if left_seconds <= 0:
                    print(f"no time is left for {case.name}", file=sys.stderr, flush=True)
                    continue
                budgeted = replace(case, budget_seconds=options.seconds or case.budget_seconds)
                played = play(budgeted, front, versions, left_seconds)
                missed.discard(case.name)
                tables.show(played)
                results["cases"].append(played)
                results["spent_seconds"] = round(time.monotonic() - began)
                results["targets"] = targets.as_dicts(targets.judged(results["cases"]))
                # After each case, so that a run that is broken off leaves what it has found.
                options.out.write_text(json.dumps(results, indent=1) + "\n")
        remove_tree(folder)
        folder.mkdir()
    if not options.quick:
        targets.show(targets.judged(results["cases"]))
    print(f"\n{round(time.monotonic() - began)} s; every single figure is in {options.out}")
    if missed:
        sys.exit(f"not played, of {', '.join(names)}: {', '.join(sorted(missed))}; is it a case of one of these?")


def _cases(bench: Bench, names: Iterable[str], wanted: Collection[str]) -> Iterator[Case]:
    """The cases of the workloads, one by one, each with its data there: all, or those that are wanted."""
    left = set(wanted)
    for name in names:
        try:
            for case in WORKLOADS[name](bench):
                if wanted and case.name not in wanted:
                    continue
                left.discard(case.name)
                yield case
                if wanted and not left:
                    return
        except Exception:  # noqa: BLE001 - the other workloads go on
            print(f"{name} ends here:", file=sys.stderr)
            traceback.print_exc()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description="Times pos3 and its peers.")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this; may be repeated")
    parser.add_argument("--case", action="append", help="only this of the chosen workloads; may be repeated")
    parser.add_argument(
        "--peer", action="append", choices=[peer.tool for peer in PEERS], help="only pos3 and this; may be repeated"
    )
    parser.add_argument("--minutes", type=float, default=19, help="no case is begun after that many")
    parser.add_argument("--seconds", type=float, help="the budget of each case, instead of its own")
    parser.add_argument("--runs", type=int, default=5, help="the most rounds of a case")
    parser.add_argument("--out", type=Path, default=HOME / "results.json", help="where the results go, as JSON")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the data, to see that everything works")
    parser.add_argument("--scratch", type=Path, help="where data and targets lie; memory (/dev/shm) if that has room")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.quick:
        options.runs = min(options.runs, 1)
    return options


def _install(chosen: list[str] | None) -> dict[str, str]:
    """The tools that can take part, with their versions."""
    HOME.mkdir(exist_ok=True)
    (HOME / "home").mkdir(exist_ok=True)
    versions = {}
    for peer in PEERS:
        if chosen and peer.tool not in [*chosen, "pos3"]:
            continue
        try:
            peer.install()
            versions[peer.tool] = peer.version()
        except InstallError as error:
            print(f"{peer.tool} does not take part: {error}", file=sys.stderr)
    return versions


def _scratch() -> Path | None:
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return None
    return memory if shutil.disk_usage(memory).free > _NEEDED_BYTES else None


if __name__ == "__main__":
    main()
