"""The paths that pos3 returns, as what Prefect, Dask and pydantic take them for, and in pools of processes."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dask.base import tokenize
from prefect import task
from prefect.serializers import JSONSerializer
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.utilities.hashing import hash_objects
from pydantic import BaseModel, TypeAdapter

import pos3
from pos3.mirrors import is_arriving
from pos3.orchestration import PathSerializer, pos3_flow
from tests.orchestration import travelling_tasks as tasks
from tests.support import S3Site


class Model(BaseModel):
    weights: Path
    more: list[Path] = []


@pytest.fixture
def data(rclone_site: S3Site, cache: Path) -> Path:
    rclone_site.put("data/a", b"one")
    with pos3.mirror(cache, show_progress=False):
        return pos3.download(rclone_site.url("data"))


@pytest.fixture
def loaded(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path as another machine has it before it is used."""
    pickled = pickle.dumps(data)
    monkeypatch.setattr("pos3.mirrors.paths.machine", lambda: "elsewhere 1")
    path: Path = pickle.loads(pickled)
    assert is_arriving(path)
    return path


def test_keys_and_tokens_are_those_of_a_plain_path_before_and_after_it_travels(data: Path, loaded: Path) -> None:
    plain = Path(str(data))
    for value in (data, loaded):
        assert hash_objects({"data": value}) == hash_objects({"data": plain})
        assert hash_objects([value, object]) is not None
        assert tokenize(value) == tokenize(value) == tokenize(data)
        assert JSONSerializer[Any]().loads(JSONSerializer[Any]().dumps({"data": value})) == {"data": plain}
    (data / "later").write_text("x")
    assert tokenize(data) == tokenize(loaded)


def test_pydantic_takes_it_and_writes_it_down_like_any_path(data: Path, loaded: Path) -> None:
    for value in (data, loaded):
        model = Model(weights=value, more=[value])
        assert model.weights is value
        assert json.loads(model.model_dump_json())["weights"] == str(data)
        assert Model.model_validate_json(model.model_dump_json()) == Model(weights=data, more=[data])
        assert model.model_copy(deep=True) == model
        assert TypeAdapter(dict[str, Path]).validate_python({"x": value})["x"] is value


def test_a_result_with_a_path_that_has_not_arrived_is_stored_as_its_url(
    loaded: Path, cache: Path, rclone_site: S3Site
) -> None:
    stored = PathSerializer[Any]().dumps([loaded])
    assert is_arriving(loaded), "nothing was downloaded for it"
    there = cache.with_name("there")
    with pos3.mirror(there, show_progress=False):
        assert PathSerializer[Any]().loads(stored) == [there / "_" / rclone_site.bucket / "data"]


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, lambda: ProcessPoolTaskRunner(max_workers=2)])
def test_in_threads_and_processes_of_one_machine_paths_stay_what_they_are(
    runner: Callable[[], Any], rclone_site: S3Site, cache: Path
) -> None:
    url = rclone_site.url("out")

    @task
    def same(path: Path) -> tuple[Path, int]:
        return path, os.getpid()

    @pos3_flow(cache_root=cache, task_runner=runner())
    def learn() -> dict[str, Any]:
        made = tasks.make_many.submit(url)
        out = pos3.upload(url, interval=None)
        path, _ = same.submit(out / "a").result()
        tasks.write_into.submit(out, "later", "later").wait()
        return {"read": tasks.read_all.submit(made).result(), "path": path, "again": made.result()["split"].train}

    seen = learn()
    assert seen["read"] == list("abcdefg")
    root = cache / "_" / rclone_site.bucket / "out"
    assert (seen["path"], seen["again"]) == (root / "a", root / "b")
    assert set(rclone_site.objects("out/")) == {*"abcdefg", "later"}
