"""Paths in results: what is stored, and what they are where they are loaded."""

from __future__ import annotations

import base64
import json
import os
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from prefect import Flow, flow, task
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore
from prefect.serializers import Serializer
from prefect.settings import PREFECT_RESULTS_DEFAULT_SERIALIZER, temporary_settings
from prefect.states import State
from prefect.task_runners import ProcessPoolTaskRunner
from pydantic import BaseModel

import pos3
from pos3.orchestration import PathSerializer, pos3_flow
from tests.orchestration.elsewhere_tasks import choose
from tests.support import Proxy, S3Site, contents

PutBefore = Callable[..., Proxy]


@dataclass
class Split:
    name: str
    train: Path


class Model(BaseModel):
    weights: Path
    notes: list[Path]


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({"data/a/one.csv": b"1", "data/a/two.csv": b"22", "data/b/three.csv": b"333"})
    return rclone_site


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The cache of another worker."""
    return tmp_path / "elsewhere"


class _S3Results(WritableFileSystem):
    """Results in S3, as a block that a worker may have."""

    bucket: str
    endpoint_url: str

    def _client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.endpoint_url)

    def read_path(self, path: str, **_options: Any) -> bytes:
        body: bytes = self._client().get_object(Bucket=self.bucket, Key=f"results/{path}")["Body"].read()
        return body

    def write_path(self, path: str, content: bytes, **_options: Any) -> None:
        self._client().put_object(Bucket=self.bucket, Key=f"results/{path}", Body=content)


def loaded(state: State[Any]) -> Any:
    """The result as a process that has never seen it loads it."""
    metadata = state.data.metadata
    store = ResultStore(result_storage=None, serializer=metadata.serializer)
    return store.read(metadata.storage_key).result


def test_a_cached_task_gives_a_path_that_is_valid_on_the_worker_that_asks(
    site: S3Site, cache: Path, elsewhere: Path, proxied: PutBefore
) -> None:
    runs = []

    @task(cache_policy=INPUTS)
    def prepare(url: str) -> dict[str, Any]:
        runs.append(url)
        data = pos3.download(url)
        return {"one": data / "a" / "one.csv", "split": Split("x", data / "b"), "all": [(data / "a",)], "n": 1}

    def flow_in(root: Path) -> Flow[[], dict[str, Any]]:
        @pos3_flow(cache_root=root)
        def learn() -> dict[str, Any]:
            return prepare(site.url("data"))

        return learn

    proxy = proxied(site)
    first = flow_in(cache)()
    proxy.clear()
    assert flow_in(cache)() == first
    assert proxy.count("GET") == 0, "the same worker has it"
    there = flow_in(elsewhere)()
    assert len(runs) == 1
    assert there["one"] == elsewhere / "_" / site.bucket / "data" / "a" / "one.csv"
    assert there["one"].read_bytes() == b"1"
    assert there["split"].train == elsewhere / "_" / site.bucket / "data" / "b"
    assert contents(there["split"].train) == {"three.csv": b"333"}
    assert contents(there["all"][0][0]) == {"one.csv": b"1", "two.csv": b"22"}
    assert there["n"] == 1

    for key in ("one.csv", "two.csv"):
        site.delete(f"data/a/{key}")
    flow_in(elsewhere.with_name("third"))()
    assert len(runs) == 2, "what is gone is made again"


def test_an_uploaded_path_is_downloaded_by_the_run_of_another_worker(
    site: S3Site, cache: Path, elsewhere: Path
) -> None:
    runs = []

    @task(cache_policy=INPUTS)
    def train(url: str) -> Model:
        runs.append(url)
        out = pos3.upload(url)
        (out / "model.pt").write_text("weights")
        (out / "log").write_text("fine")
        return Model(weights=out / "model.pt", notes=[out / "log", Path("relative")])

    @task
    def evaluate(model: Model, url: str) -> str:
        # The second registration of the same place, or the first if train was skipped.
        (pos3.sync(url) / "score").write_text("1")
        return model.weights.read_text()

    def flow_in(root: Path) -> Flow[[], str]:
        @pos3_flow(cache_root=root)
        def learn() -> str:
            model = train(site.url("run"))
            assert model.notes[1] == Path("relative")
            return evaluate(model, site.url("run2")) + model.notes[0].read_text()

        return learn

    assert flow_in(cache)() == "weightsfine"
    assert flow_in(elsewhere)() == "weightsfine"
    assert len(runs) == 1
    assert site.objects("run/") == {"model.pt": b"weights", "log": b"fine"}


def test_a_stored_flow_result_is_loaded_by_whoever_asks(
    site: S3Site, cache: Path, elsewhere: Path, tmp_path: Path
) -> None:
    @pos3_flow(cache_root=cache, persist_result=True, name="learn")
    def learn() -> Path:
        return pos3.download(site.url("data")) / "a"

    state = learn(return_state=True)
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    stored = Path(state.data.metadata.storage_key).read_text()
    assert not any(os.environ[name] in stored for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))

    local = cache / "_" / site.bucket / "data" / "a"
    assert loaded(state) == local, "outside of a mirror it is the copy of this machine"
    with pos3.mirror(elsewhere, show_progress=False):
        assert loaded(state) == elsewhere / "_" / site.bucket / "data" / "a"

    # Another process, which knows of pos3 only that it is installed.
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys\n"
        "from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client:\n"
        "    state = client.read_flow_run(sys.argv[1]).state\n"
        "print(state.data.serializer.type, 'pos3' in sys.modules)\n"
        "print(state.result())\n"
    )
    with get_client(sync_client=True) as client:
        environment = {**os.environ, "PREFECT_API_URL": str(client.api_url)}
    asked = [sys.executable, str(script), str(run_id)]
    answer = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=100, check=True)
    assert answer.stdout.splitlines() == ["pickle False", str(local)]

    cache.rename(tmp_path / "moved")
    with pytest.raises(pos3.NoMirrorError, match=r"flow run .* returned .*s3://.*with pos3.mirror"):
        loaded(state)
    for key in site.keys("data/a/"):
        site.delete(key)
    with (
        pos3.mirror(elsewhere.with_name("third"), show_progress=False),
        pytest.raises(FileNotFoundError, match=rf"flow run .* returned .*{site.url('data/a/')}, which is gone"),
    ):
        loaded(state)


def test_results_that_are_stored_in_s3_are_loaded_too(site: S3Site, cache: Path, elsewhere: Path) -> None:
    _S3Results.register_type_and_schema()
    block = _S3Results(bucket=site.bucket, endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    block.save(f"results-{site.bucket}")
    runs = []

    @task(cache_policy=INPUTS)
    def prepare(url: str) -> Path:
        runs.append(url)
        return pos3.download(url)

    def flow_in(root: Path) -> Flow[[], Path]:
        @pos3_flow(cache_root=root, result_storage=block)
        def learn() -> Path:
            return prepare(site.url("data/b"))

        return learn

    assert flow_in(cache)() == cache / "_" / site.bucket / "data" / "b"
    assert site.keys("results/")
    assert contents(flow_in(elsewhere)()) == {"three.csv": b"333"}
    assert len(runs) == 1


def test_a_task_in_another_process_stores_and_loads_them_too(site: S3Site, cache: Path, elsewhere: Path) -> None:
    site.put("in/file", b"x")
    url = site.url("in")

    @pos3_flow(cache_root=cache, task_runner=ProcessPoolTaskRunner(max_workers=1))
    def learn() -> list[dict[str, Any]]:
        return [choose.submit(url).result() for _ in range(2)]

    first, again = learn()
    assert first["pid"] != os.getpid()
    assert again == first == {"path": cache / "_" / site.bucket / "in" / "file", "pid": first["pid"]}
    there = pos3_flow(cache_root=elsewhere)(lambda: choose(url))()
    assert there == {"path": elsewhere / "_" / site.bucket / "in" / "file", "pid": first["pid"]}
    assert there["path"].read_bytes() == b"x"


def test_stored_results_name_the_function_that_results_of_older_versions_name(site: S3Site, cache: Path) -> None:
    function = pickle.loads(b"cpos3.orchestration.results\nrestored\n.")
    with pos3.mirror(cache_root=cache):
        data = pos3.download(site.url("data"))
        stored = PathSerializer[Any]().dumps([data / "a"])
        assert PathSerializer[Any]().loads(stored) == [data / "a"]
    names = [text for _, text, _ in pickletools.genops(base64.decodebytes(stored)) if isinstance(text, str)]
    at = names.index("restored")
    assert (names[at - 1], function.__qualname__) == ("pos3.orchestration.results", "restored")


def test_the_serializer_is_used_where_none_is_chosen_and_changes_nothing_else() -> None:
    def learn() -> None: ...

    plain = pos3_flow(learn)
    for made in (plain, plain.with_options(retries=1), pos3_flow(flow(learn)), pos3_flow(retries=1)(plain)):
        assert isinstance(made.result_serializer, PathSerializer)
        assert made.persist_result is None
    assert pos3_flow(persist_result=False)(learn).with_options(name="x").persist_result is False
    chosen = pos3_flow(result_serializer="json")(learn)
    assert chosen.result_serializer == "json"
    assert chosen.with_options(retries=1).result_serializer == "json"
    assert chosen.persist_result is True
    assert plain.with_options(result_serializer="json").result_serializer == "json"
    with temporary_settings({PREFECT_RESULTS_DEFAULT_SERIALIZER: "json"}):
        assert pos3_flow(learn).result_serializer is None


def test_whatever_prefect_can_pickle_can_be_stored() -> None:
    factor = 3

    class Local:
        path = Path("/not/of/a/mirror")

    serializer = PathSerializer[Any]()
    double, made, error = serializer.loads(serializer.dumps((lambda n: n * factor, Local, ValueError("mine"))))
    assert double(2) == 6
    assert made.path == Path("/not/of/a/mirror")
    assert repr(error) == "ValueError('mine')"
    # As it travels to another process, and as it is written down.
    store = ResultStore(serializer=serializer)
    assert isinstance(ResultStore(**store.model_dump(serialize_as_any=True)).serializer, PathSerializer)
    assert json.loads(serializer.model_dump_json())["type"] == "pickle"
    assert type(Serializer(type="pos3")) is PathSerializer
