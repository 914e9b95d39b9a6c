"""An automation starts a flow when the data that it reads is in S3, on the open-source server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import DeploymentEventTrigger

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import eventually
from tests.support import S3Site

FLOWS = Path(__file__).with_name("deployed_flows.py")


def test_a_deployment_starts_when_what_it_reads_was_pushed(rclone_site: S3Site, cache: Path) -> None:
    url = rclone_site.url("prepared")
    trigger = DeploymentEventTrigger(
        expect={"prefect.asset.materialization.succeeded"},
        match={"prefect.resource.id": url},
        parameters={"url": {"__prefect_kind": "jinja", "template": "{{ event.resource['prefect.resource.id'] }}"}},
    )
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="automated", type="process"))
        flow: Any = Flow.from_source(source=str(FLOWS.parent), entrypoint=f"{FLOWS.name}:learn")
        deployed = flow.deploy(
            "automated", work_pool_name="automated", triggers=[trigger], print_next_steps=False, ignore_warnings=True
        )

        @pos3_flow(cache_root=cache)
        def prepare(key: str) -> None:
            (pos3.upload(rclone_site.url(key)) / "file").write_text("x")

        def started() -> list[Any]:
            chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployed]))
            return client.read_flow_runs(deployment_filter=chosen)

        prepare("other")
        prepare("prepared")
        eventually(started)
        assert [run.parameters["url"] for run in started()] == [url]
