"""Flow code goes to S3 at ``prefect deploy``, and from there into the directory of each run."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.steps.core import run_steps

import pos3
from pos3.orchestration import Pos3Profile
from pos3.orchestration.steps import pull_from_s3, push_to_s3
from tests.orchestration.conftest import environment_of_children, eventually
from tests.orchestration.test_workers import running
from tests.support import MotoServer, S3Site, contents, write_tree

EXAMPLE = Path(__file__).parents[2] / "examples" / "code_in_s3"


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files of a project."""
    made = tmp_path / "project"
    write_tree(made, {"flow.py": b"1", "lib/x.py": b"2", "lib/__pycache__/x.pyc": b"3", "notes [1].txt": b"4"})
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.mark.timeout(300)  # Three processes that import Prefect.
def test_the_example_is_deployed_to_s3_and_runs_on_a_worker(
    rclone_site: S3Site, cache: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    rclone_site.put_all({"data/a.txt": b"one two", "data/b.txt": b"three", "flows/old.py": b""})
    project = shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    client.create_work_pool(WorkPoolCreate(name="pos3", type="process"))
    parameters = [f"--param={name}={rclone_site.url(name)}" for name in ("data", "results")]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", *parameters],
        cwd=project,
        env=environment_of_children(POS3_CODE_URL=rclone_site.url("flows")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert rclone_site.keys("flows/").keys() == {
        "flows/flow.py",
        "flows/words.py",
        "flows/.prefectignore",
        "flows/old.py",
    }
    shutil.rmtree(project)
    deployment = client.read_deployment_by_name("count-words/code-in-s3")
    run = client.create_flow_run_from_deployment(deployment.id)
    with running(cache, "-m", "prefect", "worker", "start", "--type", "process", "--pool", "pos3"):
        eventually(lambda: client.read_flow_run(run.id).state_name == "Completed", within_seconds=120)
    assert rclone_site.get("results/total.txt") == b"3\n"
    assert not list(cache.rglob("words.py"))


def test_a_pushed_directory_is_pulled_as_it_was_without_what_is_ignored(
    rclone_site: S3Site, code: Path, run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone_site.put("flows/gone.py", b"old")
    (code / ".prefectignore").write_text("__pycache__/\n")
    pushed = push_to_s3(rclone_site.url("flows"))
    assert pushed == {"url": rclone_site.url("flows"), "bucket": rclone_site.bucket, "folder": "flows"}
    expected = {"flow.py": b"1", "lib/x.py": b"2", "notes [1].txt": b"4", ".prefectignore": b"__pycache__/\n"}
    assert rclone_site.objects("flows/") == expected | {"gone.py": b"old"}
    push_to_s3(bucket=rclone_site.bucket, folder="flows/", delete=True)
    assert rclone_site.objects("flows/") == expected
    monkeypatch.chdir(run_directory)
    write_tree(run_directory, {"flow.py": b"older", "mine": b"stays"})
    pulled = pull_from_s3(bucket=rclone_site.bucket, folder="flows")
    assert pulled == {**pushed, "directory": str(run_directory)}
    assert contents(run_directory) == expected | {"mine": b"stays"}


@pytest.mark.parametrize("how", ["a name", "in the URL", "a template"])
def test_a_block_is_the_profile_of_a_step(
    rclone_site: S3Site, moto: MotoServer, code: Path, run_directory: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    moto.create_bucket(rclone_site.bucket)
    site = S3Site(moto, rclone_site.bucket)
    Pos3Profile(
        endpoint=moto.endpoint_url, access_key=moto.access_key, secret_key=moto.secret_key, region="us-east-1"
    ).save("of-steps", overwrite=True)
    url = f"s3://of-steps@{site.bucket}/flows" if how == "in the URL" else site.url("flows")
    given: dict[str, Any] = {
        "a name": {"profile": "of-steps"},
        "in the URL": {},
        "a template": {"profile": "{{ prefect.blocks.pos3-profile.of-steps }}"},
    }[how]

    def step(name: str) -> list[dict[str, Any]]:
        return [{f"pos3.orchestration.steps.{name}": {"id": name, "url": url, **given}}]

    outputs = asyncio.run(run_steps(step("push_to_s3"), print_function=lambda *_: None))
    assert outputs["push_to_s3"]["url"] == url
    assert site.objects("flows/")["flow.py"] == b"1"
    assert rclone_site.objects() == {}
    monkeypatch.chdir(run_directory)
    asyncio.run(run_steps(step("pull_from_s3"), print_function=lambda *_: None))
    assert contents(run_directory) == contents(code)


@pytest.mark.parametrize("given", [{}, {"url": "s3://b/x", "bucket": "b"}, {"url": "s3://b", "folder": "x"}], ids=str)
def test_a_step_without_one_place_is_an_error(given: dict[str, str]) -> None:
    for step in (push_to_s3, pull_from_s3):
        with pytest.raises(pos3.InvalidArgumentError, match="url"):
            step(**given)


def test_code_that_is_not_there_fails_the_run_where_it_is_pulled(
    rclone_site: S3Site, run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_directory)
    with pytest.raises(pos3.RemoteNotFoundError, match="nothing"):
        pull_from_s3(rclone_site.url("flows"))
