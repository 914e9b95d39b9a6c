"""``pos3_flow`` gives a real flow, whichever way it is made, changed and run."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import cloudpickle
import pytest
from prefect import Flow, flow, task
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect.flow_engine import run_flow
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.visualization import GraphvizExecutableNotFoundError, TaskVizTracker
from pydantic import BaseModel, Field

import pos3
from pos3.orchestration import download_task, pos3_flow
from pos3.orchestration.runtime.flow_options import FlowOptions
from tests.orchestration.conftest import Mirrors
from tests.support import Latency, S3Site, on


class Settings(BaseModel):
    rate: float


SLOW = Settings(rate=0.1)


@dataclass
class Point:
    x: int


@pos3_flow
def typed(settings: Settings, point: Point, when: int | None = None, *, path: Path = Path("here")) -> object:
    """Takes all kinds of things."""
    return settings, point, when, path


def put(site: S3Site, key: str = "out/file") -> pos3.Mirror:
    prefix, _, name = key.rpartition("/")
    (pos3.upload(site.url(prefix)) / name).write_text("x")
    return pos3.current_mirror()


def test_parameters_are_validated_although_annotations_are_strings() -> None:
    assert typed({"rate": "0.5"}, {"x": "3"}, "4", path="there") == (Settings(rate=0.5), Point(3), 4, Path("there"))
    with pytest.raises(ParameterTypeError):
        typed({"rate": "fast"}, {"x": 3})


def test_the_flow_has_the_name_signature_doc_and_place_of_its_function() -> None:
    plain = flow(typed.fn.__wrapped__)
    assert isinstance(typed, Flow)
    assert typed.name == "typed"
    assert typed.description == "Takes all kinds of things."
    assert inspect.signature(typed.fn) == inspect.signature(plain.fn)
    schema = typed.parameters.model_dump()
    assert {"description", "examples"} <= set(schema["properties"]["path"]), "a path may be given as a URL"
    for name in ("description", "examples"):
        del schema["properties"]["path"][name]
    assert schema == plain.parameters.model_dump()
    assert typed.version == plain.version
    assert typed._entrypoint == plain._entrypoint == f"{__name__}:typed"
    assert inspect.getsourcefile(typed.fn) == __file__
    assert typed.fn.__globals__ is globals()


def positional(first: int, /, second: Literal["a", "b"], *, third: list[Settings], **more: float) -> None: ...


def described(url: str = "s3://bucket/data", steps: Annotated[int, Field(gt=0, description="how many")] = 1) -> None:
    """Learns.

    Args:
        url: where from
    """


def of_a_day(when: datetime, point: Point | None = None, settings: Settings = SLOW) -> None: ...


async def nothing() -> None: ...


def several(*urls: str) -> Generator[str, None, None]:
    yield from urls


@pytest.mark.parametrize("function", [positional, described, of_a_day, nothing, several])
def test_the_parameters_schema_is_that_of_a_plain_flow(function: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        # Prefect says of /-parameters that they cannot be passed by name.
        warnings.simplefilter("ignore")
        mirrored, plain = pos3_flow(function), flow(function)
    assert mirrored.parameters == plain.parameters
    assert (mirrored.isasync, mirrored.isgenerator) == (plain.isasync, plain.isgenerator)


def test_every_option_of_a_flow_is_one_of_a_mirrored_flow() -> None:
    hook = [lambda *_: None]
    options: dict[str, Any] = {
        "name": "all",
        "version": "7",
        "flow_run_name": "run-{count}",
        "retries": 2,
        "retry_delay_seconds": 3,
        "task_runner": ThreadPoolTaskRunner(max_workers=5),
        "description": "Everything.",
        "timeout_seconds": 60,
        "validate_parameters": False,
        "persist_result": True,
        "result_storage": None,
        "result_serializer": "json",
        "cache_result_in_memory": False,
        "log_prints": True,
        "on_completion": hook,
        "on_failure": hook,
        "on_cancellation": hook,
        "on_crashed": hook,
        "on_running": hook,
    }
    assert set(options) == set(FlowOptions.__annotations__)
    assert set(options) == set(inspect.signature(Flow.__init__).parameters) - {"self", "fn"}

    def learn(count: int) -> None: ...

    mirrored, plain = pos3_flow(**options)(learn), flow(**options)(learn)
    over, over_plain = pos3_flow(**options)(flow(learn)), flow(learn).with_options(**options)
    for ours, theirs in [(mirrored, plain), (over, over_plain)]:
        assert ours.task_runner == theirs.task_runner
        assert {**vars(ours), "fn": 0, "task_runner": 0} == {**vars(theirs), "fn": 0, "task_runner": 0}


def test_a_traceback_leads_to_the_function() -> None:
    @pos3_flow
    def learn() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        learn()
    lines = [(frame.name, frame.line) for frame in traceback.extract_tb(caught.tb) if frame.filename == __file__]
    assert lines[-2:] == [("learn", "@pos3_flow"), ("learn", 'raise ValueError("mine")')]


def test_with_options_keeps_the_mirror(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    attempts = []

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        attempts.append(1)
        put(rclone_site)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    other = learn.with_options(name="other", retries=1, task_runner=ThreadPoolTaskRunner(max_workers=2))
    again = other.with_options(description="again")
    assert again.name == "other"
    assert again.task_runner == ThreadPoolTaskRunner(max_workers=2)
    again()
    assert len(attempts) == 2
    assert len(mirrors.opened) == 1
    assert not mirrors.still_open
    assert set(rclone_site.keys()) == {"out/file"}


def test_an_existing_flow_gets_a_mirror_and_is_not_changed(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @flow(name="existing", retries=3)
    def learn() -> None:
        put(rclone_site)

    mirrored = pos3_flow(cache_root=cache, description="mirrored")(learn)
    assert (mirrored.name, mirrored.retries, mirrored.description) == ("existing", 3, "mirrored")
    mirrored()
    assert set(rclone_site.keys()) == {"out/file"}
    with pytest.raises(pos3.NoMirrorError):
        learn.with_options(retries=0)()
    assert len(mirrors.opened) == 1


def test_a_flow_that_is_mirrored_twice_has_one_mirror(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    once = pos3_flow(name="twice", cache_root=cache / "other")(put)
    twice = pos3_flow(cache_root=cache)(once)
    state = twice(rclone_site, return_state=True)
    assert state.is_completed()
    assert [mirror.cache_root for mirror in mirrors.opened] == [str(cache.resolve())]


def test_a_run_that_a_worker_starts_has_its_mirror(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache)
    def learn(bucket: str, count: int) -> None:
        for number in range(count):
            (pos3.upload(f"s3://{bucket}/out") / f"{number}").write_text("x")

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(learn, parameters={"bucket": rclone_site.bucket, "count": 2})
    run_flow(learn, flow_run=run)
    assert set(rclone_site.keys()) == {"out/0", "out/1"}
    assert len(mirrors.opened) == 1
    assert not mirrors.still_open


def test_a_pickled_flow_has_its_mirror(rclone_site: S3Site, cache: Path) -> None:
    url = rclone_site.url("out")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        (pos3.upload(url) / "file").write_text("x")

    cloudpickle.loads(cloudpickle.dumps(learn))()
    assert set(rclone_site.keys()) == {"out/file"}


def test_methods_can_be_flows(rclone_site: S3Site, cache: Path) -> None:
    class Trainer:
        name = "method"

        @pos3_flow(cache_root=cache)
        def learn(self, key: str) -> None:
            put(rclone_site, f"{key}-{self.name}")

        @pos3_flow(cache_root=cache)
        @classmethod
        def learn_as_class(cls, key: str) -> None:
            put(rclone_site, f"{key}-{cls.name}")

        @pos3_flow(cache_root=cache)
        @staticmethod
        def learn_alone(key: str) -> None:
            put(rclone_site, key)

    Trainer().learn("instance/1")
    Trainer.learn_as_class("class/2")
    Trainer.learn_alone("static/3")
    assert set(rclone_site.keys()) == {"instance/1-method", "class/2-method", "static/3"}


def test_with_options_keeps_a_method_bound_to_its_object(rclone_site: S3Site, cache: Path) -> None:
    class Trainer:
        def __init__(self, name: str):
            self.name = name

        @pos3_flow(cache_root=cache)
        def learn(self, key: str) -> str:
            put(rclone_site, f"{key}-{self.name}")
            return self.name

        @pos3_flow(cache_root=cache)
        @classmethod
        def learn_as_class(cls, key: str) -> str:
            put(rclone_site, key)
            return cls.__name__

        @pos3_flow(cache_root=cache)
        @staticmethod
        def learn_alone(key: str) -> str:
            put(rclone_site, key)
            return "alone"

        renamed = learn.with_options(name="renamed")
        renamed_class = learn_as_class.with_options(name="renamed-class")

    one, two = (Trainer(name).learn.with_options(name="x", mirror={"max_workers": 2}) for name in ("one", "two"))
    assert (one("one/1"), two("two/1"), one("again/1")) == ("one", "two", "one")
    assert Trainer.learn_as_class.with_options(name="y")("class/2") == "Trainer"
    assert Trainer.learn_alone.with_options(name="z")("static/3") == "alone"
    assert Trainer("three").renamed("renamed/1") == "three"
    assert Trainer.renamed_class("renamed/2") == "Trainer"
    assert pos3_flow(name="over")(Trainer("four").learn)("over/1") == "four"
    written = {"one/1-one", "two/1-two", "again/1-one", "class/2", "static/3"}
    assert set(rclone_site.keys()) == written | {"renamed/1-three", "renamed/2", "over/1-four"}


def test_flow_fn_has_a_mirror_for_the_call(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> str:
        put(rclone_site)
        return "done"

    assert learn.fn() == "done"
    assert set(rclone_site.keys()) == {"out/file"}
    assert len(mirrors.opened) == 1
    assert not mirrors.still_open


async def test_flow_fn_of_async_functions_and_generators_has_a_mirror(rclone_site: S3Site, cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    async def learn() -> str:
        put(rclone_site, "async/file")
        return "done"

    @pos3_flow(cache_root=cache)
    def steps():
        put(rclone_site, "generator/file")
        yield 1

    @pos3_flow(cache_root=cache)
    async def asteps():
        put(rclone_site, "async-generator/file")
        yield 1

    assert await learn.fn() == "done"
    assert list(steps.fn()) == [1]
    assert [item async for item in asteps.fn()] == [1]
    assert set(rclone_site.keys()) == {"async/file", "generator/file", "async-generator/file"}


def test_flow_fn_inside_a_mirrored_run_is_a_plain_call(rclone_site: S3Site, cache: Path, mirrors: Mirrors) -> None:
    @pos3_flow(cache_root=cache)
    def inner() -> pos3.Mirror:
        return put(rclone_site)

    @pos3_flow(cache_root=cache)
    def outer() -> tuple[pos3.Mirror, pos3.Mirror]:
        return inner.fn(), pos3.current_mirror()

    inside, outside = outer()
    assert inside is outside
    assert len(mirrors.opened) == 1


def test_flow_fn_needs_no_server(rclone_site: S3Site, tmp_path: Path) -> None:
    script = f"""
import pos3
from pos3.orchestration import pos3_flow

@pos3_flow(cache_root={str(tmp_path)!r})
def learn():
    (pos3.upload({rclone_site.url("out")!r}) / "file").write_text("x")

learn.fn()
"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PYTHONPATH": str(Path(pos3.__file__).parents[1]),
    }
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)
    assert set(rclone_site.keys()) == {"out/file"}
    assert not list((tmp_path / "prefect").glob("*.db"))


def test_visualizing_a_flow_opens_no_mirror(mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The graph is built, and drawing it fails the same way on each machine.
    monkeypatch.setenv("PATH", str(tmp_path))

    @task
    def train(data: Path) -> Path:
        raise AssertionError("runs the task")

    @pos3_flow
    def learn(url: str) -> None:
        train(download_task(url))

    @pos3_flow
    async def alearn(url: str) -> None:
        train(download_task(url))

    # It writes the graph's source to the working directory before it looks for Graphviz.
    monkeypatch.chdir(tmp_path)
    for each in (learn, alearn):
        with pytest.raises(GraphvizExecutableNotFoundError), pytest.warns(UserWarning, match="visualize"):
            each.visualize("s3://nowhere/data")
    with TaskVizTracker() as tracker:
        learn.fn("s3://nowhere/data")
    assert [seen.name for seen in tracker.tasks] == ["pos3-download-0", "train-0"]
    assert not mirrors.opened


def test_options_that_nobody_knows_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="retriess"):
        pos3_flow(retriess=3)(lambda: None)  # type: ignore[call-overload]


def test_progress_goes_to_the_log_of_the_run(
    rclone_site: S3Site, cache: Path, proxied, caplog: pytest.LogCaptureFixture
) -> None:
    rclone_site.put("data/file", b"x" * 1000)
    proxied(rclone_site, Latency(seconds=2.2, match=on("GET"), times=1))

    @pos3_flow(cache_root=cache, show_progress=True)
    def learn() -> None:
        pos3.download(rclone_site.url("data"))

    learn()
    lines = [record for record in caplog.records if "1/1 files" in record.getMessage()]
    assert [record.name for record in lines] == ["prefect.flow_runs"]
