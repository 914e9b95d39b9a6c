"""``run_dir``: a directory of a flow run's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import Scheduled
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

import pos3
from pos3.orchestration import Pos3Mirror, pos3_flow, run_dir
from tests.orchestration.conftest import Mirrors
from tests.orchestration.travelling_tasks import write_output
from tests.support import S3Site


def place(flow_name: str, run_id: str | UUID) -> str:
    return f"outputs/{flow_name}/{run_id}"


def test_each_run_has_directories_of_its_own_in_s3_and_on_disk(rclone_site: S3Site, cache: Path) -> None:
    root = rclone_site.url("outputs")

    @task
    def evaluate() -> Path:
        (run_dir("scores") / "score").write_text("1")
        return run_dir("model")

    @pos3_flow(cache_root=cache, output_root=root)
    def learn(text: str) -> tuple[str, Path]:
        model = run_dir("model")
        assert list(model.iterdir()) == []
        (model / text).write_text(text)
        assert evaluate() == evaluate.submit().result() == model
        return flow_run.get_id() or "", model

    runs = [learn("first"), learn("second")]
    assert runs[0][1] != runs[1][1]
    for text, (run_id, path) in zip(("first", "second"), runs, strict=True):
        assert path == cache / "_" / rclone_site.bucket / place("learn", run_id) / "model"
        expected = {f"model/{text}": text.encode(), "scores/score": b"1"}
        assert rclone_site.objects(f"{place('learn', run_id)}/") == expected
    assert len(rclone_site.keys("outputs/")) == 4


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, lambda: ProcessPoolTaskRunner(max_workers=1)])
def test_tasks_write_to_it_wherever_they_run(
    runner: Callable[[], Any], rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    root = rclone_site.url("outputs")

    @pos3_flow(cache_root=cache, task_runner=runner(), output_root=root)
    def learn() -> tuple[str, list[Path]]:
        made = write_output.map(["a", "b"]).result()
        return flow_run.get_id() or "", [run_dir("model"), *made]

    run_id, paths = learn()
    assert len(set(paths)) == 1
    assert rclone_site.objects(f"{place('learn', run_id)}/") == {"model/a": b"a", "model/b": b"b"}
    assert len(mirrors.opened) == 1


def test_a_retry_finds_what_its_run_has_left_and_another_run_does_not(rclone_site: S3Site, cache: Path) -> None:
    root = rclone_site.url("outputs")
    seen: list[list[str]] = []

    @pos3_flow(cache_root=cache, output_root=root, retries=1)
    def learn() -> None:
        model = run_dir("model")
        seen.append(sorted(file.name for file in model.iterdir()))
        (model / f"try-{flow_run.run_count}").write_text("x")
        if flow_run.run_count == 1:
            raise RuntimeError("a bad day")

    learn()
    learn()
    assert seen == [[], ["try-1"]] * 2
    assert [key.rpartition("/")[2] for key in rclone_site.keys("outputs/")] == ["try-1", "try-2"] * 2


def test_the_same_run_on_another_machine_finds_what_was_pushed(rclone_site: S3Site, cache: Path) -> None:
    root = rclone_site.url("outputs")
    seen: list[list[str]] = []

    def learn() -> None:
        model = run_dir("model", sync_on_error=True)
        seen.append(sorted(file.name for file in model.iterdir()))
        (model / f"file-{len(seen)}").write_text("x")
        if len(seen) == 1:
            raise RuntimeError("a bad day")

    here, there = (
        pos3_flow(name="learn", cache_root=root_of_cache, output_root=root)(learn)
        for root_of_cache in (cache, cache.with_name("there"))
    )
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(here)
        run_flow(here, flow_run=run, return_type="state")
        client.set_flow_run_state(run.id, Scheduled(), force=True)
        run_flow(there, flow_run=client.read_flow_run(run.id), return_type="state")
        assert client.read_flow_run(run.id).state_name == "Completed"
    assert seen == [[], ["file-1"]]
    assert set(rclone_site.keys()) == {f"{place('learn', run.id)}/model/file-{n}" for n in (1, 2)}


def test_a_subflow_has_its_own_and_uses_the_root_of_its_parent(
    rclone_site: S3Site, cache: Path, mirrors: Mirrors
) -> None:
    root = rclone_site.url("outputs")

    @pos3_flow
    def child() -> str:
        (run_dir("model.pt") / "file").write_text("child")
        return flow_run.get_id() or ""

    @pos3_flow(cache_root=cache, output_root=root)
    def parent() -> list[str]:
        (run_dir("model.pt") / "file").write_text("parent")
        return [flow_run.get_id() or "", child()]

    parent_id, child_id = parent()
    assert rclone_site.objects("outputs/") == {
        f"parent/{parent_id}/model.pt/file": b"parent",
        f"child/{child_id}/model.pt/file": b"child",
    }
    assert len(mirrors.opened) == 1


WAYS: dict[str, Callable[[str, pytest.MonkeyPatch], dict[str, Any]]] = {
    "the decorator": lambda root, _: {"output_root": root},
    "a dict": lambda root, _: {"mirror": {"output_root": root}},
    "a block": lambda root, _: {"mirror": Pos3Mirror(output_root=root)},
    "the environment": lambda root, patch: patch.setenv("POS3_OUTPUT_ROOT", root) or {},  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("give", WAYS.values(), ids=WAYS)
def test_the_output_root_is_given_like_any_option_of_the_mirror(
    give: Callable[[str, pytest.MonkeyPatch], dict[str, Any]],
    rclone_site: S3Site,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @pos3_flow(**{"cache_root": cache, **give(f"{rclone_site.url('outputs')}/", monkeypatch)})
    def learn() -> str:
        (run_dir("x") / "file").write_text("x")
        return flow_run.get_id() or ""

    run_id = learn()
    assert set(rclone_site.keys()) == {f"{place('learn', run_id)}/x/file"}


def test_a_local_output_root_is_used_in_place(tmp_path: Path, cache: Path) -> None:
    @pos3_flow(cache_root=cache, output_root=tmp_path / "outputs")
    def learn() -> tuple[str, Path]:
        (run_dir("x") / "file").write_text("x")
        return flow_run.get_id() or "", run_dir("x")

    run_id, path = learn()
    assert path == tmp_path / place("learn", run_id) / "x"
    assert (path / "file").read_text() == "x"


def test_without_an_output_root_the_error_says_what_to_set(cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> None:
        run_dir("x")

    with pytest.raises(pos3.InvalidArgumentError, match=r"POS3_OUTPUT_ROOT=.*output_root=") as failure:
        learn()
    assert failure.value.argument == "output_root"


@pytest.mark.parametrize("name", ["", " ", "a/b", "/a", ".", "..", "a\x00", 3], ids=repr)
def test_a_name_that_is_none_of_a_directory_is_refused(name: Any) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match="without a slash"):
        run_dir(name)


def test_outside_of_a_mirrored_run_the_error_says_so(cache: Path) -> None:
    with (
        pos3.mirror(cache, show_progress=False, output_root="s3://bucket/x"),
        pytest.raises(pos3.NoMirrorError, match="pos3_flow"),
    ):
        run_dir("x")
    with pytest.raises(pos3.NoMirrorError):
        flow(lambda: run_dir("x"), name="plain")()


@pytest.mark.parametrize("root", ["", "  ", "s3:/bucket/x", 3], ids=repr)
def test_an_output_root_that_cannot_be_one_is_refused(root: Any, cache: Path) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match="output_root") as failure:
        pos3.mirror(cache, output_root=root).__enter__()
    assert failure.value.argument == "output_root"
