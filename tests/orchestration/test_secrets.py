"""No secret reaches Prefect's API: not by artifacts, logs, states, labels, parameters of tasks, or results."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.states import State

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import eventually
from tests.support import S3Site

SECRET, TOKEN = "hunter2-secret", "hunter2-token"


def said(run: UUID) -> str:
    """All that the API holds of a flow run."""
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        )
        logs = client.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
        tasks = client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run])))
        everything = [client.read_flow_run(run), *artifacts, *logs, *tasks]
    return "\n".join(each.model_dump_json() for each in everything)


@task
def fetch(url: str) -> Path:
    return pos3.download(url)


@task
def fetch_with(profile: pos3.Profile, url: str) -> Path:
    return pos3.download(url, profile=profile)


@pytest.mark.parametrize("keys", ["right", "wrong"])
def test_a_flow_run_tells_prefect_no_secret(
    moto_site: S3Site, rclone_site: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setattr("pos3.profiles.registry._PROFILES", {})
    site = moto_site if keys == "right" else rclone_site
    site.put("data/a", b"1")
    pos3.register_profile("acme", site.server.endpoint_url, access_key="key", secret_key=SECRET, session_token=TOKEN)

    @pos3_flow(mirror={"cache_root": cache})
    def learn() -> Path:
        path = fetch(f"s3://acme@{site.bucket}/data")
        (pos3.upload(f"s3://acme:{SECRET}@{site.bucket}/up") / "a").write_text("1")
        return path

    state: State[Path] = learn(return_state=True)
    run = state.state_details.flow_run_id
    assert run is not None
    assert state.is_completed() is (keys == "right")
    # The API stores logs some time after they are sent.
    eventually(lambda: "Finished in state" in said(run))
    told = said(run)
    assert site.bucket in told
    assert "hunter2" not in told
    assert "hunter2" not in json.dumps(str(state))


def test_a_profile_that_is_an_argument_of_a_task_is_not_shown(moto_site: S3Site, cache: Path) -> None:
    moto_site.put("data/a", b"1")
    profile = pos3.Profile("acme", moto_site.server.endpoint_url, False, None, "key", SECRET, TOKEN)

    @pos3_flow(mirror={"cache_root": cache})
    def learn() -> Path:
        return fetch_with(profile, moto_site.url("data"))

    state: State[Path] = learn(return_state=True)
    run = state.state_details.flow_run_id
    assert run is not None
    eventually(lambda: "Finished in state" in said(run))
    assert "hunter2" not in said(run)
