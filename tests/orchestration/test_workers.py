"""Deployed flows have their mirror: in a process worker, in a runner, and in the new process of a later attempt."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.flow_runs import resume_flow_run
from prefect.states import AwaitingRetry, Cancelling

import pos3
from tests.orchestration.conftest import environment_of_children, eventually
from tests.support import S3Site, contents

FLOWS = Path(__file__).with_name("deployed_flows.py")
QUICK = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@contextmanager
def running(cache: Path, *arguments: str) -> Iterator[None]:
    """A Python that serves flows until the end of the block, then has ended well."""
    log = cache.with_name("served.log")
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment_of_children(POS3_CACHE_ROOT=str(cache), **QUICK),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=60)
        except BaseException as error:
            error.add_note(log.read_text(errors="replace")[-5000:])
            raise
        finally:
            child.kill()
            child.wait()


@pytest.mark.timeout(300)  # Nine processes that import Prefect.
def test_a_worker_runs_mirrored_flows_to_every_end(rclone_site: S3Site, cache: Path, client: SyncPrefectClient) -> None:
    endings = ["completes", "waits to be stopped", "suspends", "is killed once", "runs another"]
    names = [ending.replace(" ", "-") for ending in endings]
    stale = {f"{name}/{folder}/stale": b"old" for name in names for folder in ("out", "log")}
    rclone_site.put_all(stale)
    client.create_work_pool(WorkPoolCreate(name="processes", type="process"))
    flow: Any = Flow.from_source(source=str(FLOWS.parent), entrypoint=f"{FLOWS.name}:learn")
    deployment_id: UUID = flow.deploy(
        name="worker", work_pool_name="processes", print_next_steps=False, ignore_warnings=True
    )

    def start(name: str, ending: str) -> FlowRun:
        parameters = {"url": rclone_site.url(name), "ending": ending}
        return client.create_flow_run_from_deployment(deployment_id, parameters=parameters)

    runs = {name: start(name, ending) for name, ending in zip(names, endings, strict=True)}
    elsewhere = flow.with_options(mirror={"cache_root": cache.with_name("elsewhere"), "show_progress": False})
    deployed_elsewhere = elsewhere.deploy(
        name="elsewhere", work_pool_name="processes", print_next_steps=False, ignore_warnings=True
    )
    parameters = {"url": rclone_site.url("elsewhere")}
    runs["elsewhere"] = client.create_flow_run_from_deployment(deployed_elsewhere, parameters=parameters)

    def state_of(name: str) -> str | None:
        return client.read_flow_run(runs[name].id).state_name

    def keys_of(name: str) -> set[str]:
        return {key.removeprefix(f"{name}/") for key in rclone_site.keys(f"{name}/")}

    both_stale = {"out/stale", "log/stale"}
    with running(cache, "-m", "prefect", "worker", "start", "--type", "process", "--pool", "processes"):
        # Until then a worker and six engines have started, and each has imported Prefect.
        eventually(lambda: state_of("waits-to-be-stopped") == "Running", within_seconds=150)
        root = cache / "_" / rclone_site.bucket
        eventually((root / "waits-to-be-stopped" / "log" / "new").exists)
        client.set_flow_run_state(runs["waits-to-be-stopped"].id, Cancelling())

        eventually(lambda: state_of("is-killed-once") == "Crashed")
        assert keys_of("is-killed-once") == both_stale
        client.set_flow_run_state(runs["is-killed-once"].id, AwaitingRetry(), force=True)

        # One registration is pushed after the other.
        eventually(lambda: keys_of("suspends") == both_stale | {"out/try-1", "log/new"})
        assert state_of("suspends") == "Suspended"
        resume_flow_run(runs["suspends"].id)

        eventually(lambda: state_of("waits-to-be-stopped") == "Cancelled")
        for name in {*runs} - {"waits-to-be-stopped"}:
            eventually(lambda name=name: state_of(name) == "Completed")

    assert keys_of("waits-to-be-stopped") == both_stale | {"log/new"}
    assert keys_of("completes") == {"out/try-1", "log/new"}
    assert keys_of("suspends") == {"out/try-1", "log/new"}
    assert keys_of("is-killed-once") == {"out/try-1", "out/try-2", "log/new"}
    assert keys_of("elsewhere") == {"out/try-1", "log/new"}
    assert contents(cache.with_name("elsewhere") / "_" / rclone_site.bucket / "elsewhere").keys() == keys_of(
        "elsewhere"
    )
    assert not (root / "elsewhere").exists()
    another = {"child/out/try-1", "child/log/new"}
    assert keys_of("runs-another") == another | {"out/try-1", "log/new"}


def test_a_served_flow_has_its_mirror(rclone_site: S3Site, cache: Path, client: SyncPrefectClient) -> None:
    rclone_site.put_all({"out/stale": b"old"})
    serve = "import deployed_flows; deployed_flows.learn.serve(name='served', print_starting_message=False)"
    with running(cache, "-c", f"import sys; sys.path.insert(0, {str(FLOWS.parent)!r}); {serve}"):
        eventually(lambda: [found for found in client.read_deployments() if found.name == "served"])
        deployment = client.read_deployment_by_name("learn/served")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"url": rclone_site.url()})
        eventually(lambda: client.read_flow_run(run.id).state_name == "Completed")
    assert set(rclone_site.keys()) == {"out/try-1", "log/new"}


# Options


def load(name: str) -> Any:
    return Flow.from_source(source=str(FLOWS.parent), entrypoint=f"{FLOWS.name}:{name}")  # type: ignore[return-value]


def test_options_that_the_code_has_not_go_to_the_environment_of_the_runs(cache: Path) -> None:
    learn, chosen = load("learn"), load("chosen")
    assert learn.to_deployment("x").job_variables == {}
    assert chosen.to_deployment("x").job_variables == {}
    options = {"cache_root": cache, "max_workers": 2, "show_progress": True, "cache_limit": None}
    changed = learn.with_options(mirror=options).with_options(name="other", mirror={"max_workers": 4})
    expected = {
        "POS3_CACHE_ROOT": str(cache),
        "POS3_MAX_WORKERS": "4",
        "POS3_SHOW_PROGRESS": "true",
        "POS3_CACHE_LIMIT": "",
    }

    async def in_a_loop() -> list[Any]:
        return [await changed.ato_deployment("x"), await changed.to_deployment("x")]

    for made in [changed.to_deployment("x"), *asyncio.run(in_a_loop())]:
        assert made.job_variables == {"env": expected}
    own = {"image": "i", "env": {"POS3_MAX_WORKERS": "8", "A": "1"}}
    made = changed.to_deployment("x", job_variables=own)
    assert made.job_variables == {"image": "i", "env": {**expected, "POS3_MAX_WORKERS": "8", "A": "1"}}
    also = chosen.with_options(mirror={"max_workers": 3, "max_upload_bytes_per_second": 5e6})
    assert also.to_deployment("x").job_variables == {"env": {"POS3_MAX_UPLOAD_BYTES_PER_SECOND": "5000000.0"}}


@pytest.mark.parametrize(
    ("name", "mirror", "said"),
    [
        pytest.param("chosen", {"cache_limit": "6GB"}, "@pos3_flow gives cache_limit in the code", id="in the code"),
        pytest.param("learn", "gpu-box", r"@pos3_flow\(mirror='gpu-box'\)", id="a block"),
        pytest.param("learn", {"max_workers": 0}, "max_workers=0: expected", id="a wrong value"),
        pytest.param(
            "learn",
            {"default_profile": pos3.Profile("lab", "http://127.0.0.1:1", access_key="k", secret_key="s")},
            "default_profile='lab' is a Profile object",
            id="keys",
        ),
        pytest.param(
            "mirrored_elsewhere", {}, "load 'deployed_flows.py:plain', which is a flow without", id="no mirror"
        ),
    ],
)
def test_options_that_a_deployment_cannot_have_are_an_error(name: str, mirror: Any, said: str) -> None:
    changed = load(name).with_options(mirror=mirror)
    if name == "mirrored_elsewhere":
        changed._entrypoint = changed._entrypoint.replace(name, "plain")
    with pytest.raises(pos3.InvalidArgumentError, match=said):
        changed.to_deployment("x")


def test_options_that_the_code_has_not_cannot_be_served() -> None:
    with pytest.raises(pos3.InvalidArgumentError, match="POS3_MAX_WORKERS in the environment of this process"):
        load("learn").with_options(mirror={"max_workers": 3}).serve("x")
