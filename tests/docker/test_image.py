"""The worker image and the stack around it, built and run for real by an engine: `make image-test`."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun

from tests.docker.conftest import SECRET, Stack, eventually
from tests.docker.engine import BASE_PYTHON, ROOT, Engine

pytestmark = pytest.mark.timeout(400)
BUCKET = "example"


def test_the_image_is_labelled_small_and_runs_as_nobody(engine: Engine, image: str) -> None:
    [found] = json.loads(engine.docker("inspect", image))
    config = found["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][:2] == ["tini", "--"]
    assert config["Labels"]["org.opencontainers.image.version"] == "0.0.test"
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc"
    assert "/usr/local/lib/pos3-healthcheck.py" in config["Healthcheck"]["Test"]
    [base] = json.loads(engine.docker("inspect", engine.base_image))
    assert found["Size"] - base["Size"] < 350e6


def test_the_image_has_the_python_of_its_base(engine: Engine, image: str) -> None:
    versions = [
        engine.docker("run", "--rm", "--network=none", name, "python", "--version")
        for name in (image, engine.base_image)
    ]
    if BASE_PYTHON:
        versions.append(engine.run(BASE_PYTHON, "--version"))
    assert len(set(versions)) == 1, versions


def test_the_image_holds_bytecode_and_the_commands(engine: Engine, image: str) -> None:
    script = (
        "import pos3, prefect, pathlib; print(sum(not list(f.parent.glob(f'__pycache__/{f.stem}.*.pyc')) "
        "for m in (pos3, prefect) for f in pathlib.Path(m.__file__).parent.glob('*.py')))"
    )
    run = ("run", "--rm", "--network=none", "--read-only", image)
    assert engine.docker(*run, "python", "-c", script).split() == ["0"]
    assert "pos3" in engine.docker(*run, "pos3", "--version")
    assert "pos3/" not in engine.docker(*run, "ls", "/", "/src", check=False)


def test_a_container_that_cannot_start_says_why_in_one_line(engine: Engine, image: str) -> None:
    container = engine.docker("create", "--network=none", "--env=PREFECT_API_URL=http://127.0.0.1:1/api", image).strip()
    said = engine.docker("start", "--attach", container, check=False)
    assert said.count("\n") == 1
    assert "POS3_WORKER_POOL is not set" in said
    [state] = json.loads(engine.docker("inspect", container))
    assert state["State"]["ExitCode"] == 78
    engine.docker("rm", container)


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with SyncPrefectClient(f"http://127.0.0.1:{stack.prefect_port}/api") as client:
        yield client


def test_one_command_brings_up_a_worker_that_is_healthy_and_has_no_privilege(stack: Stack) -> None:
    eventually(lambda: stack.inspect(stack.worker)["State"]["Health"]["Status"] == "healthy")
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.health_port}/health", timeout=10) as answer:
        assert answer.status == 200
    state = stack.inspect(stack.worker)
    assert state["HostConfig"]["ReadonlyRootfs"]
    assert state["Config"]["StopTimeout"] == 60
    status = stack.engine.docker("exec", stack.worker, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "touch: cannot touch" in stack.engine.docker("exec", stack.worker, "touch", "/opt/x", check=False)


def test_the_example_is_deployed_runs_is_retried_and_leaves_the_right_bucket(stack: Stack) -> None:
    said = stack.compose("run", "--rm", "deploy")
    assert "ended as Completed, after 2 attempts" in said
    assert sorted(keys(stack)) == [
        *(f"data/part-{number}.txt" for number in range(3)),
        "state/checkpoint.json",
        "state/log.txt",
    ]


def test_a_flow_that_the_worker_has_mounted_is_deployed_by_prefect_yaml(
    stack: Stack, client: SyncPrefectClient
) -> None:
    deploy = ("deploy", "--no-prompt", "--prefect-file", "docker/prefect.yaml", "--name", "volume")
    stack.engine.run(sys.executable, "-m", "prefect", *deploy, PREFECT_API_URL=str(client.api_url))
    deployment = client.read_deployment_by_name("train/volume")
    stack.s3.put_object(Bucket=BUCKET, Key="volume/data/a.txt", Body=b"one two")
    parameters = {"bucket": f"s3://{BUCKET}/volume", "steps": 1}
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    eventually(finished(client, run.id))
    assert body(stack, "volume/state/log.txt") == b"step 1: 2 words\n"


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_pools_are_made_from_the_job_templates(client: SyncPrefectClient, kind: str) -> None:
    template = json.loads((ROOT / "docker" / "pools" / f"{kind}.json").read_text(encoding="utf-8"))
    made = client.create_work_pool(WorkPoolCreate(name=kind, type=kind, base_job_template=template))
    assert made.base_job_template == template


def keys(stack: Stack, prefix: str = "") -> list[str]:
    return [item["Key"] for item in stack.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def body(stack: Stack, key: str) -> bytes:
    found: bytes = stack.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return found


def started(stack: Stack, client: SyncPrefectClient, name: str) -> FlowRun:
    """A run that has taken its first step and is in the middle of the second; what it wrote is not pushed yet."""
    stack.s3.put_object(Bucket=BUCKET, Key=f"{name}/data/a.txt", Body=b"one two")
    deployment = client.read_deployment_by_name("train/stack")
    parameters: dict[str, Any] = {"bucket": f"s3://{BUCKET}/{name}", "steps": 2, "pauses": [0, 600], "interval": 600}
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    checkpoint = f"/var/lib/pos3/cache/_/{BUCKET}/{name}/state/checkpoint.json"
    eventually(lambda: "step" in stack.engine.docker("exec", stack.worker, "cat", checkpoint, check=False))
    assert keys(stack, f"{name}/state") == []
    return run


def finished(client: SyncPrefectClient, run_id: UUID) -> Callable[[], bool]:
    return lambda: client.read_flow_run(run_id).state_name == "Completed"


def test_sigterm_pushes_the_state_and_the_run_goes_on_after_a_restart(stack: Stack, client: SyncPrefectClient) -> None:
    run = started(stack, client, "stopped")
    stack.engine.docker("stop", stack.worker)
    assert stack.inspect(stack.worker)["State"]["ExitCode"] == 0
    assert client.read_flow_run(run.id).state_name == "AwaitingRetry"
    assert json.loads(body(stack, "stopped/state/checkpoint.json")) == {"step": 1}
    client.update_flow_run(run.id, parameters={**run.parameters, "pauses": [0, 0]})
    stack.engine.docker("start", stack.worker)
    eventually(finished(client, run.id))
    assert body(stack, "stopped/state/log.txt").decode().splitlines() == ["step 1: 2 words", "step 2: 2 words"]


def test_a_killed_worker_recovers_at_its_next_start(stack: Stack, client: SyncPrefectClient) -> None:
    run = started(stack, client, "killed")
    stack.engine.docker("kill", "--signal=KILL", stack.worker)
    assert client.read_flow_run(run.id).state_name == "Running"
    client.update_flow_run(run.id, parameters={**run.parameters, "pauses": [0, 0]})
    stack.engine.docker("start", stack.worker)
    eventually(finished(client, run.id))
    assert body(stack, "killed/state/log.txt").decode().splitlines() == ["step 1: 2 words", "step 2: 2 words"]


def test_a_run_alone_in_its_container_goes_back_to_its_pool(stack: Stack, client: SyncPrefectClient) -> None:
    """As docker and kubernetes pools start it."""
    stack.engine.docker("stop", stack.worker)
    try:
        stack.s3.put_object(Bucket=BUCKET, Key="alone/data/a.txt", Body=b"one two")
        deployment = client.read_deployment_by_name("train/stack")
        parameters: dict[str, Any] = {"bucket": f"s3://{BUCKET}/alone", "steps": 2, "pauses": [0, 600], "interval": 600}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        service = ("run", "--detach", "--no-deps", "-e", f"PREFECT__FLOW_RUN_ID={run.id}", "worker")
        container = stack.compose(*service, "prefect", "flow-run", "execute").strip().splitlines()[-1]
        checkpoint = f"/var/lib/pos3/cache/_/{BUCKET}/alone/state/checkpoint.json"
        eventually(lambda: "step" in stack.engine.docker("exec", container, "cat", checkpoint, check=False))
        stack.engine.docker("stop", "--time=40", container)
        assert client.read_flow_run(run.id).state_name == "AwaitingRetry"
        assert json.loads(body(stack, "alone/state/checkpoint.json")) == {"step": 1}
        client.update_flow_run(run.id, parameters={**run.parameters, "pauses": [0, 0]})
    finally:
        stack.engine.docker("start", stack.worker)
    eventually(finished(client, run.id))


def test_the_cache_can_be_looked_at_inside_the_container(stack: Stack) -> None:
    shown = stack.engine.docker("exec", stack.worker, "pos3", "cache", "ls")
    assert f"s3://{BUCKET}/stopped/state" in shown


def test_no_secret_is_in_the_image_or_in_a_log(stack: Stack, image: str) -> None:
    logs = stack.compose("logs", "--no-color")
    assert '"message": "Worker' in logs
    assert SECRET not in logs
    history = stack.engine.docker("history", "--no-trunc", image) + stack.engine.docker("inspect", image)
    assert SECRET not in history
    assert "AWS_" not in history
    assert "API_KEY" not in history
