"""Flow parameters that are annotated as paths take URLs."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.deployments.runner import RunnerDeployment
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

import pos3
from pos3.orchestration import pos3_flow
from tests.orchestration.conftest import Mirrors, eventually
from tests.orchestration.test_workers import FLOWS, running
from tests.support import Proxy, S3Site


class Settings(BaseModel):
    data: Path
    more: list[Path] = []


@dataclasses.dataclass
class Split:
    train: Path


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({"data/a": b"one", "data/b": b"two"})
    return rclone_site


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


CASES: dict[str, tuple[Any, Callable[[str], Any]]] = {
    "Path": (Path, lambda url: url),
    "Path | None": (Path | None, lambda url: url),
    "list[Path]": (list[Path], lambda url: [url, url]),
    "tuple": (tuple[int, Path], lambda url: (1, url)),
    "set": (set[Path], lambda url: {url}),
    "dict[str, Path]": (dict[str, Path], lambda url: {"x": url}),
    "nested": (dict[str, list[Path] | None], lambda url: {"x": [url], "y": None}),
    "Annotated": (Annotated[Path, Field(description="where from")], lambda url: url),
    "model": (Settings, lambda url: {"data": url, "more": [url]}),
    "dataclass": (Split, lambda url: {"train": url}),
}


def texts_in(value: Any) -> list[str]:
    if isinstance(value, Path):
        return [str(value)]
    if isinstance(value, BaseModel):
        value = vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()
    return [text for part in parts for text in texts_in(part)]


@pytest.mark.parametrize(("annotation", "given"), CASES.values(), ids=CASES)
def test_a_url_is_downloaded_before_the_body_runs(
    annotation: Any, given: Callable[[str], Any], site: S3Site, cache: Path, client: SyncPrefectClient
) -> None:
    seen: list[Any] = []

    def learn(data: Any) -> UUID:
        assert all(Path(text).exists() for text in texts_in(data))
        seen.append(data)
        return UUID(flow_run.id)

    learn.__annotations__["data"] = annotation
    value = given(site.url("data/a"))
    run_id = pos3_flow(cache_root=cache)(learn)(value)
    assert set(texts_in(seen[0])) == {str(cache / "_" / site.bucket / "data" / "a")}
    shown = client.read_flow_run(run_id).parameters["data"]
    assert site.url("data/a") in str(shown)
    assert str(cache) not in str(shown)


def test_a_slash_at_the_end_is_kept(site: S3Site, cache: Path) -> None:
    site.put("data-of-another-name", b"x")

    @pos3_flow(cache_root=cache)
    def learn(data: Path) -> list[str]:
        return sorted(file.name for file in data.iterdir())

    assert learn(f"{site.url('data')}/") == ["a", "b"]  # type: ignore[arg-type]


def test_what_is_no_url_or_no_path_is_taken_as_by_any_flow(site: S3Site, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    url = site.url("data")

    @pos3_flow(cache_root=cache)
    def learn(data: Path, text: str, either: Path | str, anything: Any, texts: list[str]) -> list[Any]:
        return [data, text, either, anything, texts]

    asked = [str(tmp_path / "file"), url, url, url, [url]]
    assert learn(*asked) == [tmp_path / "file", url, url, url, [url]]
    assert not cache.exists()


def test_a_path_that_a_flow_made_of_a_url_is_an_error_that_says_so(cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn(data: Path = Path("s3://bucket/data")) -> None: ...

    with pytest.raises(pos3.InvalidURLError, match="s3:/bucket/data"):
        learn()


@pytest.mark.parametrize("kind", ["async", "generator", "async generator"])
async def test_functions_of_all_kinds_get_it(kind: str, site: S3Site, cache: Path) -> None:
    mirrored, url = pos3_flow(cache_root=cache), site.url("data")

    @mirrored
    async def learn(data: Path) -> str:
        return await asyncio.to_thread((data / "a").read_text)

    @mirrored
    def generate(data: Path) -> Iterator[str]:
        yield (data / "a").read_text()

    @mirrored
    async def agenerate(data: Path) -> AsyncIterator[str]:
        yield await asyncio.to_thread((data / "a").read_text)

    if kind == "async":
        got = await learn(url)  # type: ignore[arg-type]
    elif kind == "generator":
        got = await asyncio.to_thread(lambda: next(iter(list(generate(url)))))  # type: ignore[arg-type]
    else:
        (got,) = [item async for item in agenerate(url)]  # type: ignore[arg-type]
    assert got == "one"


def test_many_urls_come_side_by_side_and_each_once(
    site: S3Site, cache: Path, proxied: Callable[..., Proxy], mirrors: Mirrors
) -> None:
    site.put_all({f"many/{number}": str(number).encode() for number in range(20)})

    @task
    def total(paths: list[Path]) -> int:
        return sum(int(path.read_text()) for path in paths)

    @pos3_flow(cache_root=cache)
    def count(paths: list[Path]) -> int:
        return total(paths) + total.submit(paths).result()

    @pos3_flow(cache_root=cache)
    def learn(url: str) -> int:
        return count([f"{url}/many/{number}" for number in range(20)])  # type: ignore[list-item]

    proxy = proxied(site)
    assert learn(site.url()) == 380
    assert proxy.count("GET") == 20
    assert len(mirrors.opened) == 1


def test_a_url_at_which_nothing_is_fails_the_run_and_its_retry_finds_it(site: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache, retries=1)
    def learn(data: Path) -> str:
        return data.read_text()

    with pytest.raises(pos3.RemoteNotFoundError, match=site.url("missing")):
        learn(site.url("missing"))  # type: ignore[arg-type]

    def put_and_go_on(flow: Any, run: Any, state: Any) -> None:
        site.put("later", b"late")

    assert learn.with_options(on_running=[put_and_go_on])(site.url("later")) == "late"  # type: ignore[arg-type]


def test_the_schema_says_that_a_url_will_do_and_nothing_else_changes() -> None:
    def learn(data: Path, more: list[Path] | None = None, epochs: int = 3) -> None:
        """Learns.

        Args:
            more: what else there is
        """

    mirrored, plain = pos3_flow(learn), flow(learn)
    for made in (mirrored, mirrored.with_options(retries=1)):
        schema = made.parameters.model_dump()
        assert schema["properties"]["data"] | {"position": 0, "title": "data"} == {
            "type": "string",
            "format": "path",
            "title": "data",
            "position": 0,
            "description": (
                "A local path, or a URL such as s3://bucket/data, which is downloaded before the flow begins."
            ),
            "examples": ["s3://bucket/data"],
        }
        assert "s3://bucket/data" in str(schema["properties"]["more"])
        assert schema["properties"]["more"]["description"] == "what else there is"
        assert schema["properties"]["epochs"] == plain.parameters.model_dump()["properties"]["epochs"]
        assert schema["required"] == ["data"]
        assert inspect.signature(made.fn) == inspect.signature(plain.fn)
        deployed = RunnerDeployment.from_flow(made, name="x")
        assert deployed._parameter_openapi_schema.model_dump() == schema


def test_a_deployment_takes_a_url_from_whoever_starts_it(site: S3Site, cache: Path, client: SyncPrefectClient) -> None:
    name = "served with parameters"
    serve = f"import deployed_flows; deployed_flows.copy.serve(name={name!r}, print_starting_message=False)"
    with running(cache, "-c", f"import sys; sys.path.insert(0, {str(FLOWS.parent)!r}); {serve}"):
        named = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
        eventually(lambda: client.read_deployments(deployment_filter=named))
        (deployment,) = client.read_deployments(deployment_filter=named)
        assert deployment.parameter_openapi_schema is not None
        assert "s3://bucket/data" in str(deployment.parameter_openapi_schema)
        parameters = {"data": site.url("data"), "to": site.url("out")}
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        eventually(lambda: client.read_flow_run(run.id).state_name == "Completed")
    assert client.read_flow_run(run.id).parameters == parameters
    assert site.objects("out/") == {"a": b"one", "b": b"two"}
