"""What ``@pos3_flow`` adds to a flow run, against plain ``@flow``, on one Prefect server and one S3 server here.

    python benchmarks/flow_overhead.py [--runs 30] [--json FILE]

How to read the figures, all in milliseconds:

* flow run: an empty flow, plain and mirrored in turns, so that other load meets both; the difference is pair by pair.
  ``registers`` is the same with one ``pos3.upload`` of an empty prefix: three requests to S3 that plain Prefect
  does not make.
* download: ``pos3.download`` of what this run has downloaded already, a thousand times in one flow run.

The first pairs warm everything up and are not counted. Minimum, median and maximum are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

from tests.support import RcloneServer, S3Site  # noqa: E402

_WARM_UP = 3
_DOWNLOADS = 1000
_FILES = 100


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def show(title: str, values: list[float]) -> None:
    print(f"{title:34}{min(values):9.3f} {statistics.median(values):9.3f} {max(values):9.3f}")


def measure(runs: int, site: S3Site, cache: Path) -> dict[str, list[float]]:
    from prefect import flow

    import pos3
    from pos3.orchestration import pos3_flow

    @flow
    def plain() -> None: ...

    @pos3_flow(cache_root=cache)
    def mirrored() -> None: ...

    @pos3_flow(cache_root=cache)
    def registers() -> None:
        pos3.upload(site.url("out"))

    @pos3_flow(cache_root=cache)
    def downloads() -> list[float]:
        pos3.download(site.url("in"))
        return [milliseconds(lambda: pos3.download(site.url("in"))) for _ in range(_DOWNLOADS)]

    site.put_all({f"in/{number}": b"x" for number in range(_FILES)})
    figures: dict[str, list[float]] = {"plain": [], "mirrored": [], "registers": []}
    flows: dict[str, Any] = {"plain": plain, "mirrored": mirrored, "registers": registers}
    for number in range(runs + _WARM_UP):
        # Each is the first of a round as often as the others.
        names = [*flows][number % 3 :] + [*flows][: number % 3]
        for name in names:
            taken = milliseconds(flows[name])
            if number >= _WARM_UP:
                figures[name].append(taken)
    return figures | {"download": downloads()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Times flow runs with and without a mirror.")
    parser.add_argument("--runs", type=int, default=30, help="rounds that count")
    parser.add_argument("--json", type=Path, help="write every single figure there")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="pos3-bench-") as home, RcloneServer() as server:
        os.environ |= {"PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "ERROR", "DO_NOT_TRACK": "1"}
        os.environ |= server.environment() | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        import prefect.settings
        from prefect.testing.utilities import prefect_test_harness

        # A run of either flow would end by waiting up to a second for the thread of its heartbeat.
        heartbeat = getattr(prefect.settings, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", None)
        quiet = {heartbeat: None} if heartbeat is not None else {}
        with prefect_test_harness(server_startup_timeout=120), prefect.settings.temporary_settings(quiet):
            figures = measure(options.runs, S3Site(server, server.create_bucket("bench")), Path(home, "cache"))

    print(
        f"{options.runs} rounds, Python {platform.python_version()}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'milliseconds':34}{'min':>9} {'median':>9} {'max':>9}")
    show("flow run, plain", figures["plain"])
    for name in ("mirrored", "registers"):
        show(f"flow run, {name}", figures[name])
        show("  difference", [a - b for a, b in zip(figures[name], figures["plain"], strict=True)])
    show(f"download, up to date ({_FILES} files)", figures["download"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
