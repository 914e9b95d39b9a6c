"""Chaos: many flow runs that are failed, stopped, killed and cancelled, on an S3 server that fails one request in 20.

    python tests/stress/chaos [--runs 100] [--seed 1] [--only run-017] [--at-once 3] [--home DIRECTORY] [--prefect URL]

Everything runs on this machine: a Prefect server, an S3 server, a proxy that breaks requests, and for each flow run a
process at a time, as a worker starts them. What happens to a run is made from the seed and the run's name alone
(``--only`` repeats one), but for the moment at which a signal arrives: that depends on the machine.

A run is over when it is Completed, or when the dice say that nobody runs a failed, crashed or cancelled one again. Then
``model.py`` tells what must and what may lie in S3. In the end no run may be waiting or running, and no process, socket
or temporary file may be left. The exit status is 1 if anything is violated.
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[3]
_STRESS = _ROOT / "tests" / "stress"
sys.path[:0] = [str(_ROOT), str(_STRESS)]

from chaos.model import of_a_pair, violations  # noqa: E402
from chaos.plan import RETRY_DELAY_SECONDS, Diary, Plan  # noqa: E402

from tests.support import Proxy, RcloneServer, ResetAfter, ResetBefore, S3Site, Slowdown, Truncate, on  # noqa: E402

BUCKET = "chaos"
MOST_PROCESSES = 8
PATIENCE_SECONDS = 180


@dataclass(frozen=True)
class Strike:
    """What happens to a process from outside, so many seconds after its first attempt has begun."""

    kind: str
    delay_seconds: float

    @classmethod
    def of(cls, plan: Plan, process: int) -> Strike:
        dice = plan.dice("strike", process)
        # With "drain", the run always goes on in another process, as the worker of a node that is stopped has it.
        ways = {"nothing": 42, "SIGTERM": 14, "SIGKILL": 18, "cancel": 12, "drain": 14}
        kind = dice.choices(list(ways), list(ways.values()))[0] if process < MOST_PROCESSES else "nothing"
        return cls(kind, dice.uniform(0, 8 if plan.in_processes else 4))


@dataclass
class Outcome:
    """How a flow run went."""

    plan: Plan
    state: str = ""
    processes: int = 0
    events: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def make_plan(seed: int, number: int) -> Plan:
    name = f"run-{number:03}"
    dice = random.Random(f"{seed}/{name}")
    style = dice.choice(["sync", "sync", "async", "generator"])
    in_processes = style == "sync" and dice.random() < 0.25
    return Plan(name, seed, BUCKET, style, in_processes, retries=dice.choice([0, 1, 1, 2]))


# One run


@dataclass
class Site:
    """Where everything is."""

    home: Path
    s3: S3Site
    environment: dict[str, str]

    def diary(self, plan: Plan) -> Diary:
        return Diary(self.diary_path(plan))

    def diary_path(self, plan: Plan) -> Path:
        return self.home / "diaries" / f"{plan.name}.jsonl"


def run_to_its_end(site: Site, plan: Plan) -> Outcome:
    """Runs a flow run in one process after the other, as workers would."""
    from prefect.client.orchestration import get_client
    from prefect.flows import Flow
    from prefect.states import AwaitingRetry

    outcome = Outcome(plan)
    site.s3.put_all({f"{plan.name}/{key}": content for key, content in plan.before().items()})
    # A run takes its retries from the flow that it is made for.
    stand_in = Flow(lambda: None, name="chaos", retries=plan.retries, retry_delay_seconds=RETRY_DELAY_SECONDS)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(stand_in, name=plan.name)
        while True:
            outcome.processes += 1
            struck = _run_process(site, plan, run.id, outcome)
            state = client.read_flow_run(run.id).state
            assert state is not None
            if struck == "cancel" and not state.is_completed():
                state = _cancelled(client, run.id)
            outcome.state = state.name or ""
            if state.is_completed():
                break
            if not state.is_final():
                # Prefect leaves a run that returned a failed state, and has retries left, to the next worker.
                if struck != "SIGKILL" and state.name != "AwaitingRetry":
                    outcome.violations.append(f"the process ended ({struck}) and left the run {state.name}")
            elif struck != "drain" and _nobody_runs_it_again(plan, outcome):
                break
            outcome.events["run again in a new process"] += 1
            client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    prefix = f"{plan.name}/"
    found = {key.removeprefix(prefix): site.s3.get(key) for key in site.s3.keys(prefix)}
    outcome.violations += violations(plan, site.diary(plan), outcome.state, struck, found)
    shared = {key.removeprefix(f"{plan.pair}/"): site.s3.get(key) for key in site.s3.keys(f"{plan.pair}/")}
    outcome.violations += of_a_pair(plan, site.diary(plan), outcome.state, shared)
    for line in site.diary(plan).lines():
        outcome.events[line["event"]] += line["event"] in ("begins", "raises", "returns-failed", "task-failed")
    return outcome


def _nobody_runs_it_again(plan: Plan, outcome: Outcome) -> bool:
    return outcome.processes >= MOST_PROCESSES or plan.dice("again", outcome.processes).random() < 0.4


def _cancelled(client: Any, run_id: Any) -> Any:
    """As a runner ends a cancellation."""
    from prefect.states import Cancelled

    client.set_flow_run_state(run_id, Cancelled(), force=True)
    return client.read_flow_run(run_id).state


def _run_process(site: Site, plan: Plan, run_id: Any, outcome: Outcome) -> str:
    """Runs one process to its end; what struck it before that."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    diary = site.diary(plan)
    begun = len(diary.attempts("begins"))
    log = site.home / "logs" / f"{plan.name}-{outcome.processes}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "chaos.flows", str(run_id), json.dumps(asdict(plan)), str(site.diary_path(plan))],
            env=site.environment,
            cwd=site.home,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + PATIENCE_SECONDS
    strike = Strike.of(plan, outcome.processes)
    strike_at, struck = float("inf"), "nothing"
    while process.poll() is None:
        now = time.monotonic()
        if strike_at == float("inf") and struck == "nothing" and len(diary.attempts("begins")) > begun:
            strike_at = now + strike.delay_seconds
        if now >= strike_at and strike.kind != "nothing" and struck == "nothing":
            struck = strike.kind
            outcome.events[struck] += 1
            if struck == "cancel":
                with get_client(sync_client=True) as client:
                    client.set_flow_run_state(run_id, Cancelling())
            process.send_signal(signal.SIGKILL if struck == "SIGKILL" else signal.SIGTERM)
        if now > deadline:
            outcome.violations.append(f"process {outcome.processes} hangs, see {log}")
            process.send_signal(signal.SIGKILL)
            struck = "SIGKILL"
        time.sleep(0.03)
    # A killed parent leaves the processes of its task runner, which end by themselves.
    _await_group(process.pid)
    return struck


def _await_group(group: int) -> None:
    deadline = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.1)
        os.killpg(group, signal.SIGKILL)


# All of them


@contextlib.contextmanager
def servers(home: Path, seed: int, prefect_url: str) -> Iterator[Site]:
    """An S3 server behind a proxy that breaks one request in 20, and a Prefect server: the given one, or a new one."""
    os.environ |= {"PREFECT_HOME": str(home / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "ERROR"}
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    faults = [Slowdown(0.02), ResetBefore(0.015), ResetAfter(0.01), Truncate(0.05, match=on("GET"))]
    with (
        RcloneServer() as server,
        Proxy(server, *faults, seed=seed) as proxy,
        temporary_settings({PREFECT_API_URL: prefect_url}) if prefect_url else prefect_test_harness(120),
    ):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POS3_"))}
        environment = (
            kept
            | proxy.server.environment()
            | {
                "PREFECT_API_URL": str(PREFECT_API_URL.value()),
                "PREFECT_LOGGING_LEVEL": "INFO",
                "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_STRESS)]),
                "POS3_CACHE_ROOT": str(home / "cache"),
                "TMPDIR": str(home / "tmp"),
            }
        )
        yield Site(home, S3Site(server, server.create_bucket(BUCKET)), environment)
        requests = proxy.requests
        broken = sum(1 for request in requests if request.faults)
        print(f"{len(requests)} requests, of which {broken} were broken ({broken / max(1, len(requests)):.1%})")


def left_over(home: Path, outcomes: list[Outcome]) -> list[str]:
    """Processes, sockets and temporary files that nobody removed."""
    import psutil

    left = [
        f"process {each.pid}"
        for each in psutil.process_iter(["cmdline"])
        if "chaos.flows" in (each.info["cmdline"] or []) and str(home) in " ".join(each.info["cmdline"])
    ]
    left += [f"socket {path}" for path in home.joinpath("tmp").rglob("*.sock")]
    left += [f"temporary file {path}" for path in home.joinpath("cache").rglob(".pos3-*.tmp")]
    return left


def sweep(site: Site, seed: int) -> Outcome:
    """One more run, without strikes: whoever comes next removes the sockets of killed processes, once they are old."""
    for path in site.home.joinpath("tmp").rglob("*.sock"):
        with contextlib.suppress(OSError):
            os.utime(path, (0, 0), follow_symlinks=False)
    candidates = (make_plan(seed, number) for number in range(900, 1000))
    quiet = next(plan for plan in candidates if plan.ending(1) == "well" and Strike.of(plan, 1).kind == "nothing")
    return run_to_its_end(site, quiet)


def report(outcomes: list[Outcome], seconds: float) -> int:
    """Prints what happened; how many violations there are."""
    events: Counter[str] = sum((outcome.events for outcome in outcomes), Counter())
    plans = [outcome.plan for outcome in outcomes]
    print(f"{len(outcomes)} flow runs in {sum(outcome.processes for outcome in outcomes)} processes, {seconds:.0f} s")
    print(
        f"  styles: {dict(Counter(plan.style for plan in plans))}, {sum(p.in_processes for p in plans)} with processes"
    )
    print(f"  states: {dict(Counter(outcome.state for outcome in outcomes))}")
    for name, count in events.most_common():
        print(f"  {name}: {count}")
    found = [f"{outcome.plan.name}: {wrong}" for outcome in outcomes for wrong in outcome.violations]
    print(f"violations: {len(found)}")
    print("".join(f"  {line}\n" for line in found), end="")
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description="Flow runs in chaos; status 1 if anything is not as it should be.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="repeat one run, such as run-017")
    parser.add_argument("--at-once", type=int, default=3, help="flow runs at the same time")
    parser.add_argument("--home", type=Path, help="keep logs, diaries and the cache there")
    parser.add_argument("--prefect", default="", help="the API of a Prefect server that is there already")
    options = parser.parse_args()
    plans = [make_plan(options.seed, number) for number in range(options.runs)]
    if options.only:
        plans = [make_plan(options.seed, int(options.only.removeprefix("run-")))]

    home = (options.home or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
    for name in ("diaries", "logs", "cache", "tmp"):
        (home / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with servers(home, options.seed, options.prefect) as site, ThreadPoolExecutor(options.at_once) as pool:
        # Prefect's settings are in the context.
        waiting = [pool.submit(contextvars.copy_context().run, run_to_its_end, site, plan) for plan in plans]
        outcomes = []
        for plan, each in zip(plans, waiting, strict=True):
            failure = each.exception()
            broken = Outcome(plan, violations=[f"the harness fails: {failure!r}"])
            outcomes.append(each.result() if failure is None else broken)
            print(".x"[bool(outcomes[-1].violations)], end="", flush=True, file=sys.stderr)
        print(file=sys.stderr)
        swept = sweep(site, options.seed)
        swept.violations += left_over(home, outcomes)
    count = report([*outcomes, swept], time.monotonic() - began)
    if count == 0 and options.home is None:
        shutil.rmtree(home, ignore_errors=True)
    else:
        print(f"logs, diaries and the cache are in {home}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
