"""When a task with the cache policy ``S3Contents`` is skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE, CachePolicy

import pos3
from pos3.orchestration import S3Contents, pos3_flow
from tests.support import Proxy, S3Site, Status, on

PutBefore = Callable[..., Proxy]


@dataclass(frozen=True)
class Dataset:
    name: str
    splits: dict[str, list[str | Path]]


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({"data/a/one": b"1", "data/b/two": b"2", "data/log": b"x"})
    return rclone_site


@dataclass
class Pipeline:
    """A flow of one task, which counts how often the task really ran."""

    root: Path
    policy: CachePolicy
    before: Callable[[], Any] = lambda: None
    runs: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        """Whether the task ran, and was not skipped."""

        @task(cache_policy=self.policy)
        def consume(dataset: Any, out: str = "", factor: int = 1) -> int:
            self.runs += 1
            return factor

        @pos3_flow(cache_root=self.root)
        def learn() -> int:
            self.before()
            return consume.submit(*args, **kwargs).result()

        before = self.runs
        learn()
        return self.runs > before


def test_a_task_is_skipped_exactly_when_the_objects_are_the_same(site: S3Site, cache: Path) -> None:
    pipeline = Pipeline(cache, S3Contents(exclude="log"))
    url = site.url("data")
    nested = Dataset("x", {"train": [f"{url}/a", url], "none": []})
    assert pipeline(url)
    assert not pipeline(url)
    assert pipeline(nested)
    assert not pipeline(nested)
    assert not list(cache.rglob("one")), "nothing was downloaded"

    site.put("data/a/one", b"1")
    site.put("data/log", b"y")
    assert not pipeline(url), "written again with the same content, and a log that is left out"
    assert not pipeline(nested)
    site.put("data/a/one", b"!")
    assert pipeline(url), "another content of the same size"
    assert pipeline(nested)
    site.delete("data/b/two")
    site.put("data/b/three", b"2")
    assert pipeline(url), "another key for the same content"
    assert not pipeline(url)
    site.delete("data/b/three")
    assert pipeline(url), "an object less"
    assert pipeline(url, factor=2), "another input"
    assert not pipeline(url, factor=2)


@pytest.mark.parametrize("is_text", [False, True], ids=["part", "text"])
def test_a_part_counts_as_its_own_objects_alone(site: S3Site, cache: Path, is_text: bool) -> None:
    with pos3.mirror(cache, show_progress=False):
        parts = pos3.partition(site.url("data"), parts=3)
    first, second, _ = map(str, parts) if is_text else parts
    pipeline = Pipeline(cache, S3Contents())
    nested = Dataset("x", {"train": [first]})  # type: ignore[list-item]
    for dataset in (first, second, nested):
        assert pipeline(dataset)
        assert not pipeline(dataset)
    site.put("data/a/one", b"!")
    assert pipeline(first), "another content"
    assert pipeline(nested)
    assert not pipeline(second), "what has changed lies in another part"


def test_another_code_is_another_task(site: S3Site, cache: Path) -> None:
    ran = []

    def run(body: Callable[[str], None]) -> None:
        @pos3_flow(cache_root=cache)
        def learn() -> None:
            task(body, cache_policy=S3Contents(), name="step")(site.url("data"))

        learn()

    def body(url: str) -> None:
        ran.append("old")

    run(body)
    run(body)

    def body(url: str) -> None:  # type: ignore[no-redef]
        ran.append("new")

    run(body)
    assert ran == ["old", "new"]


def test_a_path_counts_as_what_was_downloaded_on_whichever_worker(
    site: S3Site, cache: Path, tmp_path: Path, proxied: PutBefore
) -> None:
    def run(root: Path) -> bool:
        @task(cache_policy=S3Contents())
        def consume(dataset: Dataset) -> None:
            nonlocal ran
            ran = True

        @pos3_flow(cache_root=root)
        def learn() -> None:
            data = pos3.download(site.url("data"))
            asked = proxy.count()
            consume(Dataset("x", {"train": [data / "a" / "one"], "test": [data / "b"]}))
            assert proxy.count() == asked, "what the mirror has registered costs no request"

        ran = False
        learn()
        return ran

    proxy = proxied(site)
    assert run(cache)
    assert not run(cache)
    assert not run(tmp_path / "elsewhere")
    site.put("data/log", b"is not read")
    assert not run(cache)
    site.put("data/b/new", b"3")
    assert run(tmp_path / "elsewhere")
    assert not run(cache)


def test_what_was_not_uploaded_yet_is_never_taken_for_what_is_in_the_store(site: S3Site, cache: Path) -> None:
    url = site.url("features")
    seen = []

    @task
    def prepare(value: str, *, flush: bool) -> Path:
        out = pos3.upload(url)
        (out / "file").write_text(value)
        if flush:
            pos3.flush(out)
        return out

    @task(cache_policy=S3Contents())
    def train(features: Path) -> None:
        seen.append((features / "file").read_text())

    @pos3_flow(cache_root=cache)
    def learn(value: str, *, flush: bool) -> None:
        train(prepare(value, flush=flush))

    learn("1", flush=True)
    learn("1", flush=True)
    assert seen == ["1"]
    learn("2", flush=False)
    learn("2", flush=True)
    assert seen == ["1", "2", "2"]
    learn("2", flush=True)
    assert seen == ["1", "2", "2"]


@pytest.mark.parametrize(
    "policy",
    [
        S3Contents() - "out",
        S3Contents(without=("out",)) + TASK_SOURCE,
        S3Contents() + INPUTS - "out",
        INPUTS + S3Contents() - "out",
    ],
    ids=["minus", "without", "plus-inputs", "inputs-plus"],
)
def test_a_parameter_can_be_left_out(policy: CachePolicy, site: S3Site, cache: Path) -> None:
    pipeline = Pipeline(cache, policy)
    assert pipeline(site.url("data"), site.url("out"))
    site.put("out/model", b"1")
    assert not pipeline(site.url("data"), site.url("out"))
    assert not pipeline(site.url("data"), "elsewhere")
    site.put("data/new", b"1")
    assert pipeline(site.url("data"), site.url("out"))


def test_a_policy_that_is_added_counts_as_well(site: S3Site, cache: Path) -> None:
    pipeline = Pipeline(cache, S3Contents() + RUN_ID)
    assert pipeline(site.url("data"))
    assert pipeline(site.url("data")), "another run"


def test_where_nothing_is_or_the_store_cannot_be_asked_a_task_is_not_skipped(
    site: S3Site, cache: Path, proxied: PutBefore, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(cache, TASK_SOURCE + S3Contents() + INPUTS)
    assert pipeline(site.url("nothing"))
    assert pipeline(site.url("nothing"))
    assert pipeline(site.url("data"))
    assert not pipeline(site.url("data"))
    assert pipeline(f"s3://{site.bucket}-x/data")
    proxied(site, Status(403, "AccessDenied", match=on("LIST")))
    caplog.clear()
    assert pipeline(site.url("data"))
    assert "cannot tell whether the inputs have changed" in caplog.text
    assert "Traceback" not in caplog.text


def test_it_works_in_any_flow_and_for_async_tasks(site: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POS3_CACHE_ROOT", str(cache))
    ran = []

    @task(cache_policy=S3Contents())
    async def consume(url: str) -> None:
        ran.append(url)

    @flow
    async def plain() -> None:
        await consume(site.url("data"))

    import asyncio

    for _ in range(2):
        asyncio.run(plain())
    assert len(ran) == 1
    site.put("data/new", b"1")
    asyncio.run(plain())
    assert len(ran) == 2
