"""A worker that is stopped or killed loses nothing: its runs push, go back to their pool, and start again."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling, Completed, Crashed, Pending, Running, Scheduled

from pos3.orchestration.worker.engine_process import engine_process_of
from pos3.orchestration.worker.run_locks import RunLocks
from pos3.orchestration.worker.settings import WorkerSettings, WrongSettingError
from pos3.orchestration.worker.states import conclude, reschedule
from tests.orchestration.conftest import environment_of_children, eventually
from tests.orchestration.worker_flows import FLOWS
from tests.support import Proxy, S3Site, on

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("worker_flows.py")
ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
WORKER = ("-m", "pos3.orchestration.worker")


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@dataclass
class Node:
    """One machine's cache and the workers on it, one after the other."""

    pool: str
    cache: Path
    log: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        environment = environment_of_children(
            POS3_WORKER_POOL=self.pool,
            POS3_CACHE_ROOT=str(self.cache),
            POS3_WORKER_NAME=f"worker-{self.pool}",
            POS3_PROFILES_FILE="",
            PREFECT_WORKER_QUERY_SECONDS="1",
            PREFECT_WORKER_WEBSERVER_PORT="0",
            **settings,
        )
        with self.log.open("ab") as output:
            self.workers.append(
                subprocess.Popen([sys.executable, *WORKER], env=environment, stdout=output, stderr=subprocess.STDOUT)
            )
        return self.workers[-1]

    def kill_engines(self, runs: dict[str, FlowRun]) -> None:
        """What the end of a container does to all of its processes."""
        wanted = {f"PREFECT__FLOW_RUN_ID={run.id}".encode() for run in runs.values()}
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                found = wanted.intersection(environment.read_bytes().split(b"\0"))
            except OSError:
                continue
            if found:
                os.kill(int(environment.parent.name), signal.SIGKILL)


@contextmanager
def node(client: SyncPrefectClient, tmp_path: Path, pool: str) -> Iterator[Node]:
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    made = Node(pool, tmp_path / "cache", tmp_path / "worker.log")
    try:
        yield made
    except BaseException as error:
        error.add_note(made.log.read_text(errors="replace")[-8000:])
        raise
    finally:
        for worker in made.workers:
            worker.kill()
            worker.wait()


def start_runs(client: SyncPrefectClient, pool: str, names: list[str], **parameters: Any) -> dict[str, FlowRun]:
    runs = {}
    for name in names:
        flow: Any = Flow.from_source(source=str(SOURCE.parent), entrypoint=f"{SOURCE.name}:{name}")
        deployed: UUID = flow.deploy(name=pool, work_pool_name=pool, print_next_steps=False, ignore_warnings=True)
        runs[name] = client.create_flow_run_from_deployment(deployed, parameters=parameters)
    return runs


def states(client: SyncPrefectClient, runs: dict[str, FlowRun]) -> dict[str, str | None]:
    return {name: client.read_flow_run(run.id).state_name for name, run in runs.items()}


def cached_files(root: Path) -> list[Path]:
    return [file for file in root.rglob("*") if file.is_file() and ".pos3" not in file.parts]


def test_a_stopped_worker_pushes_and_gives_back_all_of_its_runs(
    rclone_site: S3Site, tmp_path: Path, client: SyncPrefectClient, proxied: Callable[..., Proxy]
) -> None:
    rclone_site.put_all({f"data/{number}": f"{number}".encode() * 10 for number in range(5)})
    proxy = proxied(rclone_site)
    names = list(FLOWS)
    with node(client, tmp_path, "stopped") as here:
        runs = start_runs(client, "stopped", names, url=rclone_site.url(), here=str(tmp_path))
        worker = here.start(POS3_SHUTDOWN_TIMEOUT="5", POS3_WORKER_GRACE="8")
        eventually(lambda: all((tmp_path / f"{name}-waits").exists() for name in names))
        eventually(lambda: states(client, runs)["retries"] == "AwaitingRetry")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
        assert states(client, runs) == dict.fromkeys(names, "AwaitingRetry")
        pushed = {f"{name}/start-1" for name in ("waits", "awaits", "retries")}
        assert {key for key in rclone_site.keys() if "start" in key} == pushed
        # Hooks for crashes and alerts would cry wolf at each update of a worker.
        for name in ("waits", "awaits"):
            assert "Crashed" not in [state.name for state in client.read_flow_run_states(runs[name].id)]

        # Prefect had put it back before, and its delay still counts.
        waiting = client.read_flow_run(runs.pop("retries").id)
        assert waiting.next_scheduled_start_time is not None
        assert (waiting.next_scheduled_start_time - datetime.now(UTC)).total_seconds() > 60

        # All runs, each in a process of its own, shared one cache.
        assert len([request for request in proxy.requests if on("GET", key="data/")(request)]) == 5
        second = here.start(POS3_CACHE_LIMIT="0")
        eventually(lambda: set(states(client, runs).values()) == {"Completed"})
        # The bound was kept among processes that evicted while others worked, once nothing was in use. A run counts as
        # completed a moment before its mirror closes.
        eventually(lambda: cached_files(here.cache) == [])
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=60) == 0
    for name in ("waits", "awaits"):
        assert rclone_site.get(f"{name}/start-2") == b"".join(f"{number}".encode() * 10 for number in range(5))
        assert rclone_site.get(f"{name}/start-1") == rclone_site.get(f"{name}/start-2")


def test_a_drained_run_that_finds_its_task_cached_has_the_data_in_s3(
    rclone_site: S3Site, tmp_path: Path, client: SyncPrefectClient
) -> None:
    with node(client, tmp_path, "cached") as here:
        runs = start_runs(client, "cached", ["takes"], url=rclone_site.url(), here=str(tmp_path))
        worker = here.start(POS3_SHUTDOWN_TIMEOUT="5", POS3_WORKER_GRACE="8")
        eventually((tmp_path / "takes-Completed").exists)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
        assert states(client, runs) == {"takes": "AwaitingRetry"}
        here.start()
        eventually(lambda: states(client, runs) == {"takes": "Completed"})
    assert (tmp_path / "takes-Cached").exists()
    assert rclone_site.objects("made/") == {"file": b"hours of work"}


def test_the_next_worker_pushes_what_a_killed_one_left_and_starts_its_runs_again(
    rclone_site: S3Site, tmp_path: Path, client: SyncPrefectClient
) -> None:
    rclone_site.put("data/a", b"1")
    with node(client, tmp_path, "killed") as here:
        runs = start_runs(client, "killed", ["waits"], url=rclone_site.url(), here=str(tmp_path))
        worker = here.start()
        eventually((tmp_path / "waits-waits").exists)
        worker.kill()
        worker.wait()
        here.kill_engines(runs)
        assert states(client, runs) == {"waits": "Running"}
        assert "waits/start-1" not in rclone_site.keys()
        here.start()
        eventually(lambda: states(client, runs) == {"waits": "Completed"})
        said = here.log.read_text()
        assert f"files of a killed process for {rclone_site.url('waits')}: pushed 1 uploaded" in said
        assert said.index("files of a killed process") < said.index("is AwaitingRetry")
    assert {"waits/start-1", "waits/start-2"} <= set(rclone_site.keys())
    names = [state.name for state in client.read_flow_run_states(runs["waits"].id)]
    assert "AwaitingRetry" in names
    assert "Crashed" not in names


@pytest.mark.timeout(300)  # Five processes that import Prefect.
def test_the_next_worker_takes_over_what_goes_on_without_one_and_cancels_it(
    rclone_site: S3Site, tmp_path: Path, client: SyncPrefectClient
) -> None:
    rclone_site.put("data/a", b"1")
    with node(client, tmp_path, "survived") as here:
        names = ["waits", "awaits", "clings"]
        runs = start_runs(client, "survived", names, url=rclone_site.url(), here=str(tmp_path))
        worker = here.start()
        eventually(lambda: all((tmp_path / f"{name}-waits").exists() for name in names), within_seconds=120)
        worker.kill()
        worker.wait()
        for name in ("waits", "clings"):
            client.set_flow_run_state(runs[name].id, Cancelling())
        second = here.start(POS3_SHUTDOWN_TIMEOUT="10", POS3_WORKER_GRACE="12")
        wanted = {"waits": "Cancelled", "awaits": "Running", "clings": "Cancelled"}
        eventually(lambda: states(client, runs) == wanted, within_seconds=150)
        # What has sync_on_error was pushed; the run that goes on has pushed nothing.
        assert {key for key in rclone_site.keys() if "start" in key} == {"waits/start-1"}
        assert [engine_process_of(runs[name].id) is not None for name in names] == [False, True, False]
        # It is drained like one of its own.
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=60) == 0
        assert states(client, runs) == wanted | {"awaits": "AwaitingRetry"}
    assert {key for key in rclone_site.keys() if "start" in key} == {"waits/start-1", "awaits/start-1"}


# States


@pytest.mark.parametrize(
    ("before", "starts", "after"),
    [
        pytest.param(Running(), 1, "AwaitingRetry", id="running"),
        pytest.param(Pending(), 1, "AwaitingRetry", id="pending"),
        pytest.param(Crashed(), 1, "AwaitingRetry", id="crashed"),
        pytest.param(Cancelling(), 1, "Cancelled", id="cancelling"),
        pytest.param(Completed(), 1, "Completed", id="completed"),
        pytest.param(Scheduled(), 1, "Scheduled", id="scheduled"),
        pytest.param(Running(), 4, "Crashed", id="killer"),
    ],
)
async def test_a_run_without_a_process_goes_on_as_its_state_says(before: State[Any], starts: int, after: str) -> None:
    async with get_client() as client:
        run = await client.create_flow_run(FLOWS["clings"], parameters={"url": "", "here": ""}, state=Pending())
        for _ in range(starts):
            await client.set_flow_run_state(run.id, Running(), force=True)
        await client.set_flow_run_state(run.id, before, force=True)
        await reschedule(client, run.id, "its worker was killed", logging.getLogger(), restarts=3)
        assert (await client.read_flow_run(run.id)).state_name == after


async def test_a_run_that_another_worker_has_taken_over_is_left_to_it() -> None:
    async with get_client() as client:
        run = await client.create_flow_run(FLOWS["clings"], parameters={"url": "", "here": ""}, state=Running())
        await client.update_flow_run_labels(run.id, {"prefect.worker.name": "other"})
        await reschedule(client, run.id, "its worker was killed", logging.getLogger(), worker_name="mine")
        assert (await client.read_flow_run(run.id)).state_name == "Running"


# Run locks

HOLD = """
import sys, time, uuid
from datetime import UTC, datetime
from pathlib import Path
from pos3.orchestration.worker.engine_process import engine_process_of
from pos3.orchestration.worker.run_locks import RunLocks

with RunLocks(Path(sys.argv[1]), "mine").holding(uuid.UUID(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_is_abandoned_when_its_worker_is_dead_and_never_before(tmp_path: Path) -> None:
    run_id = UUID(int=7)
    command = [sys.executable, "-c", HOLD, str(tmp_path), str(run_id)]
    with subprocess.Popen(command, env=environment_of_children(), stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with RunLocks(tmp_path).abandoned() as found:
            assert found == {}
        holder.kill()
    with suppress(ConnectionError), RunLocks(tmp_path).abandoned() as found:
        assert found == {run_id: "mine"}
        with RunLocks(tmp_path).abandoned() as for_others:
            assert for_others == {}
        raise ConnectionError("the API does not answer")
    with RunLocks(tmp_path).abandoned() as found:
        assert found == {run_id: "mine"}
    with RunLocks(tmp_path).abandoned() as found:
        assert found == {}


# Processes


def test_the_process_of_a_run_is_found_with_its_children_and_is_no_other_one_later() -> None:
    run_id = UUID(int=8)
    program = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    wait = "; print('started', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program + wait],
        env=environment_of_children(PREFECT__FLOW_RUN_ID=str(run_id)),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        found = engine_process_of(run_id)
        assert found is not None
        assert (found.pid, found.is_alive) == (engine.pid, True)
        assert not replace(found, started_at="0").is_alive
        os.killpg(engine.pid, signal.SIGKILL)
        # Nobody has waited for it yet.
        eventually(lambda: not found.is_alive)
    assert engine_process_of(run_id) is None


async def test_a_run_that_was_taken_over_gets_a_state_that_says_how_it_ended() -> None:
    cases = [
        (Running(), False, "Crashed"),
        (Running(), True, "Cancelled"),
        (Crashed(), True, "Cancelled"),
        (Crashed(), False, "Crashed"),
        (Cancelling(), False, "Cancelled"),
        (Completed(), True, "Completed"),
        (Scheduled(), False, "Scheduled"),
    ]
    async with get_client() as client:
        for before, is_cancelled, after in cases:
            run = await client.create_flow_run(FLOWS["clings"], parameters={"url": "", "here": ""}, state=Pending())
            await client.set_flow_run_state(run.id, before, force=True)
            await conclude(client, run.id, logging.getLogger(), is_cancelled=is_cancelled)
            assert (await client.read_flow_run(run.id)).state_name == after, (before, is_cancelled)


# Settings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param({}, "POS3_WORKER_POOL is not set", id="no pool"),
        pytest.param({"POS3_WORKER_LIMIT": "0"}, "POS3_WORKER_LIMIT='0': expected", id="no runs"),
        pytest.param({"POS3_WORKER_LIMIT": "many"}, "POS3_WORKER_LIMIT='many': expected", id="no number"),
        pytest.param({"POS3_WORKER_RESTARTS": "-1"}, "POS3_WORKER_RESTARTS='-1': expected", id="negative"),
        pytest.param({"POS3_WORKER_POOOL": "x"}, "POS3_WORKER_POOOL: no such setting", id="mistyped"),
        pytest.param({"POS3_WORKER_GRACE": "25"}, "more seconds than POS3_SHUTDOWN_TIMEOUT, which is 25", id="grace"),
        pytest.param({"POS3_CACHE_LIMIT": "much"}, "POS3_CACHE_LIMIT='much'", id="limit"),
        pytest.param({"POS3_MAX_WORKERS": "x"}, "POS3_MAX_WORKERS='x'", id="threads"),
        pytest.param({"POS3_DEFAULT_PROFILE": "acme"}, "unknown profile 'acme'", id="profile"),
        pytest.param({"POS3_PROFILES_FILE": "/no/where"}, "POS3_PROFILES_FILE='/no/where' cannot be read", id="file"),
        pytest.param({"POS3_WORKER_JOB_TEMPLATE": "/no/where"}, "POS3_WORKER_JOB_TEMPLATE='/no/where'", id="template"),
        pytest.param({"POS3_CACHE_ROOT": "/proc/cache"}, "POS3_CACHE_ROOT='/proc/cache'", id="cache"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(given: dict[str, str], named: str, tmp_path: Path) -> None:
    environment = {"POS3_CACHE_ROOT": str(tmp_path), **({"POS3_WORKER_POOL": "pool"} if given else {}), **given}
    with pytest.raises(WrongSettingError) as caught:
        WorkerSettings.from_environment(environment)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_grace_period_outlasts_the_last_pushes_by_itself(tmp_path: Path) -> None:
    given = {"POS3_WORKER_POOL": "pool", "POS3_CACHE_ROOT": str(tmp_path), "POS3_SHUTDOWN_TIMEOUT": "100"}
    assert WorkerSettings.from_environment(given).grace_seconds == 115


def test_a_worker_that_cannot_start_says_why_and_ends_with_a_status_of_its_own(
    tmp_path: Path, client: SyncPrefectClient
) -> None:
    client.create_work_pool(WorkPoolCreate(name="containers", type="docker"))
    environment = environment_of_children(
        POS3_WORKER_POOL="containers", POS3_CACHE_ROOT=str(tmp_path), POS3_PROFILES_FILE="", POS3_LOG_FORMAT="json"
    )
    command = ["sh", str(ENTRYPOINT), sys.executable, *WORKER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    [line] = done.stderr.splitlines()
    said = json.loads(line)
    assert (said["level"], said["message"]) == (
        "CRITICAL",
        "cannot start: POS3_WORKER_TYPE='process': the work pool 'containers' has the type 'docker'; set this type",
    )


# The image's entry point


def enter(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["sh", str(ENTRYPOINT), *command], env={**kept, **environment}, capture_output=True, text=True, timeout=30
    )


def test_a_secret_comes_from_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("s3 cr $et\n")
    done = enter("env", PREFECT_API_KEY_FILE=str(secret))
    assert "PREFECT_API_KEY=s3 cr $et" in done.stdout.splitlines()
    assert "PREFECT_API_KEY_FILE" not in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"PREFECT_API_KEY_FILE": "/no"}, "PREFECT_API_KEY_FILE='/no' cannot be read", id="no file"),
        pytest.param({"AWS_SECRET_ACCESS_KEY_FILE": os.devnull}, "cannot be read", id="not a file"),
        pytest.param(
            {"PREFECT_API_KEY_FILE": str(ENTRYPOINT), "PREFECT_API_KEY": "hidden"}, "are both set", id="both ways"
        ),
        pytest.param({"POS3_LOG_FORMAT": "xml"}, "POS3_LOG_FORMAT='xml': expected text or json", id="format"),
        pytest.param({"POS3_LOG_LEVEL": "loud"}, "POS3_LOG_LEVEL='LOUD': expected DEBUG", id="level"),
    ],
)
def test_the_entry_point_refuses_what_cannot_work_in_one_line(given: dict[str, str], said: str) -> None:
    done = enter("env", **given)
    assert done.returncode == 78
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hidden" not in done.stdout + done.stderr


def test_the_entry_point_is_replaced_by_its_command() -> None:
    done = enter("sh", "-c", "echo $$ $PREFECT_LOGGING_LEVEL; exit 7", POS3_LOG_LEVEL="debug")
    assert done.returncode == 7
    assert done.stdout.split()[1] == "DEBUG"
