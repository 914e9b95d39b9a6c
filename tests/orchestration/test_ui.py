"""What Prefect's API, and so its UI, shows of a flow run's mirror."""

from __future__ import annotations

import functools
import json
import logging
import operator
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact
from prefect.logging.handlers import APILogHandler
from prefect.states import State
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

import pos3
from pos3.orchestration import pos3_flow
from pos3.orchestration.remote.address import MirrorAddress
from pos3.orchestration.remote.proxies import BrokeredMirror
from pos3.orchestration.runtime.run import RunMirror
from pos3.orchestration.ui.artifacts import RunArtifacts
from tests.orchestration.elsewhere_tasks import materializing, read, read_elsewhere
from tests.support import Latency, Proxy, S3Site, Status, on, write_tree

pytest.importorskip("prefect.assets", reason="this Prefect knows no assets")
from prefect.assets import materialize

T = Any
PutBefore = Callable[..., Proxy]


def polled(ask: Callable[[], T], is_enough: Callable[[T], bool]) -> T:
    """What ``ask`` returns, as soon as it is enough; the API stores logs and events some time after they are sent."""
    deadline = time.monotonic() + 60
    while not is_enough(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def run_id(learn: Flow[..., Any], *args: Any) -> UUID:
    """Runs the flow, whatever becomes of it."""
    state: State[Any] = learn(*args, return_state=True)
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def artifacts(run: UUID) -> list[Artifact]:
    """Those of the run that are shown; results have no key."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run])))
    return [artifact for artifact in found if artifact.key]


def log_lines(run: UUID, *wanted: str) -> list[str]:
    """The run's lines about pos3, when all that are wanted are there."""

    def ask() -> list[str]:
        with get_client(sync_client=True) as client:
            logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
        return [log.message for log in logs if "pos3" in log.message or log.name == "pos3"]

    return polled(ask, lambda lines: all(any(text in line for line in lines) for text in wanted))


def asset_events(run: UUID, count: int) -> list[dict[str, Any]]:
    def ask() -> list[dict[str, Any]]:
        wanted = {"event": {"prefix": ["prefect.asset."]}, "related": {"id": [f"prefect.flow-run.{run}"]}}
        with get_client(sync_client=True) as client:
            return client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"]

    return sorted(
        polled(ask, lambda events: len(events) >= count), key=lambda each: each["resource"]["prefect.resource.id"]
    )


def test_a_run_that_moved_something_has_a_table_log_lines_and_lineage(rclone_site: S3Site, cache: Path) -> None:
    rclone_site.put_all({"data/a": b"12345", "data/b": b"1", "odd name/x": b"1", "model.pt": b"weights"})
    data, model, out = (rclone_site.url(key) for key in ("data", "model.pt", "out"))

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        for _ in range(2):
            pos3.download(data)
        pos3.download(rclone_site.url("odd name"))
        pos3.download(model)
        write_tree(pos3.upload(out, interval=None), {"x": b"123", "y/z": b"4"})

    run = run_id(learn)
    (table,) = artifacts(run)
    assert (table.key, table.type) == ("pos3-transfers-learn", "table")
    rows = {row["URL"]: row for row in json.loads(table.data)}
    assert list(rows) == [data, rclone_site.url("odd name"), model, out]
    assert (rows[data]["downloaded"], rows[data]["uploaded"]) == ("2 (6 B)", "")
    assert (rows[out]["direction"], rows[out]["uploaded"], rows[out]["failed"]) == ("here → S3", "2 (4 B)", 0)
    assert "4 downloaded (14 B), 2 uploaded (4 B)" in table.description

    lines = log_lines(
        run, f"download {data}: 2 downloaded (6 B)", "final push: 2 uploaded", "in this run: 4 downloaded"
    )
    assert len([line for line in lines if data in line]) == 1
    assert not [line for line in lines if "mirror closed" in line]

    events = asset_events(run, 3)
    assert [(each["event"], each["resource"]["prefect.resource.id"]) for each in events] == [
        ("prefect.asset.referenced", data),
        ("prefect.asset.referenced", model),
        ("prefect.asset.materialization.succeeded", out),
    ]
    assert [each["payload"] for each in events] == [
        {"files": 2, "bytes": 6},
        {"files": 1, "bytes": 7, "etag": rclone_site.keys()["model.pt"].etag},
        {"files": 2, "bytes": 4},
    ]
    roles = {each["prefect.resource.id"]: each["prefect.resource.role"] for each in events[2]["related"]}
    assert (roles[data], roles[model], roles["pos3"]) == ("asset", "asset", "asset-materialized-by")
    again = run_id(learn.with_options(mirror={"max_workers": 2}))
    assert artifacts(again) == []


def test_a_run_that_failed_shows_what_failed(rclone_site: S3Site, cache: Path, proxied: PutBefore) -> None:
    proxied(rclone_site, Status(code=403, error_code="AccessDenied", match=on("PUT", key="^out/b")))

    @pos3_flow(cache_root=cache, retries=1)
    def learn() -> None:
        write_tree(pos3.upload(rclone_site.url("out"), interval=None), {"a": b"1", "b": b"2"})
        pos3.download(rclone_site.url("missing"), missing_ok=True)
        with pytest.raises(FileNotFoundError):
            pos3.download(rclone_site.url("nothing"))

    run = run_id(learn)
    (table,) = artifacts(run)
    rows = json.loads(table.data)
    assert [row["URL"] for row in rows] == [rclone_site.url(key) for key in ("out", "nothing", "missing")]
    assert [row["failed"] for row in rows] == [1, 1, 0]
    assert rows[0]["uploaded"] == "1 (1 B)"
    assert f"- `{rclone_site.url('out')}`: " in table.description
    assert "AccessDenied" in table.description or "denied" in table.description
    assert asset_events(run, 0) == []


def test_a_task_that_downloads_depends_on_what_it_downloads(
    rclone_site: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone_site.put("data/a", b"1")
    data, model = rclone_site.url("data"), rclone_site.url("model")

    @task
    def load() -> Path:
        return pos3.download(data)

    @materialize(model)
    def train(path: Path) -> None:
        pos3.upload(model, interval=None).joinpath("weights").write_bytes(path.joinpath("a").read_bytes())

    @materialize(rclone_site.url("direct"))
    def train_directly() -> None:
        pos3.download(data)

    @materialize(rclone_site.url("elsewhere"))
    def train_elsewhere(address: MirrorAddress) -> None:
        BrokeredMirror(address).download(f"{data.replace('://', '://lab@')}/")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        train(load())
        train_directly()
        here = RunMirror.current()
        assert here is not None
        train_elsewhere(here.address)

    server = rclone_site.server
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    monkeypatch.setattr("pos3.profiles.registry._PROFILES", {"lab": pos3.Profile("lab", server.endpoint_url, **keys)})
    run = run_id(learn)
    events = asset_events(run, 7)
    sources = {
        each["resource"]["prefect.resource.id"]: {item["prefect.resource.id"] for item in each["related"]}
        for each in events
        if each["event"] == "prefect.asset.materialization.succeeded"
        and any(item["prefect.resource.id"].startswith("prefect.task-run") for item in each["related"])
    }
    assert set(sources) == {model, rclone_site.url("direct"), rclone_site.url("elsewhere")}
    assert all(data in related for related in sources.values())


def materializations(events: list[dict[str, Any]]) -> dict[str, tuple[set[str], str | None]]:
    """For each asset, the assets that it depends on, and the name of the task run; each asset has one event."""
    found = [each for each in events if each["event"] == "prefect.asset.materialization.succeeded"]
    made = {}
    for each in found:
        related = [(item["prefect.resource.role"], item["prefect.resource.id"]) for item in each["related"]]
        tasks = {name for role, name in related if role == "task-run"}
        with get_client(sync_client=True) as client:
            names = {client.read_task_run(UUID(name.rpartition(".")[2])).name.rpartition("-")[0] for name in tasks}
        made[each["resource"]["prefect.resource.id"]] = (
            {name.rpartition("/")[2] for role, name in related if role == "asset"},
            ", ".join(sorted(names)) or None,
        )
    assert len(made) == len(found)
    return made


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, ProcessPoolTaskRunner])
def test_what_a_task_materializes_is_one_event_after_the_push(
    rclone_site: S3Site, cache: Path, runner: type[TaskRunner[Any]]
) -> None:
    rclone_site.put("data/a", b"weights")
    url = rclone_site.url()

    learn = materializing.with_options(task_runner=runner(max_workers=1), mirror={"cache_root": cache})  # type: ignore[call-arg]
    state: State[Any] = learn(url, return_state=True)
    assert state.result() == [f"{url}/model/weights"]
    assert rclone_site.objects("model/") == {"weights": b"weights"}
    assert state.state_details.flow_run_id is not None
    events = asset_events(state.state_details.flow_run_id, 3)
    assert materializations(events) == {f"{url}/model": ({"data"}, "materialize_model")}
    (made,) = [each for each in events if each["resource"]["prefect.resource.id"] == f"{url}/model"]
    assert made["payload"] == {"files": 1, "bytes": 7, "note": "mine"}


def test_what_is_pushed_after_a_task_that_materializes_is_another_event(rclone_site: S3Site, cache: Path) -> None:
    url = rclone_site.url("model")
    rclone_site.put("model/stale", b"0")

    @materialize(url)
    def train() -> Path:
        out = pos3.upload(url, interval=None)
        write_tree(out, {"a": b"1"})
        return out

    @pos3_flow(cache_root=cache)
    def learn(goes_on: bool) -> None:
        out = train()
        if goes_on:
            write_tree(out, {"b": b"1"})

    for goes_on, count in ((False, 1), (True, 2)):
        run = run_id(learn, goes_on)
        assert [each["event"] for each in asset_events(run, count)] == [
            "prefect.asset.materialization.succeeded"
        ] * count


def test_an_asset_depends_on_what_the_task_has_read_that_wrote_it(rclone_site: S3Site, cache: Path) -> None:
    rclone_site.put_all({f"{name}/a": b"1" for name in ("data", "ckpt", "other", "direct", "prior")})
    at = rclone_site.url

    @task
    def train(data: Path) -> None:
        pos3.download(at("prior"))
        write_tree(pos3.sync(at("ckpt"), interval=None), {"b": b"1"})
        write_tree(pos3.upload(at("logs"), interval=None), {"a": b"1"})

    @task
    def copy() -> None:
        write_tree(pos3.upload(at("copied"), interval=None), {"a": pos3.download(at("other/a")).read_bytes()})

    @task
    def fill(out: Path) -> None:
        write_tree(out, {"a": (pos3.download(at("direct")) / "a").read_bytes()})

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        out = pos3.upload(at("filled"), interval=None)
        train(pos3.download(at("data")))
        copy()
        fill.submit(out).result()

    events = asset_events(run_id(learn), 9)
    assert materializations(events) == {
        at("logs"): ({"data", "prior"}, "train"),
        at("ckpt"): ({"data", "prior"}, "train"),
        at("copied"): ({"a"}, "copy"),
        at("filled"): ({"data", "direct"}, None),
    }


def test_a_long_transfer_has_a_progress_artifact_in_the_background_too(
    rclone_site: S3Site, cache: Path, proxied: PutBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pos3.orchestration.ui.progress._SHOWN_AFTER_SECONDS", 0.2)
    monkeypatch.setattr("pos3.orchestration.ui.progress._UPDATED_EVERY_SECONDS", 0.2)
    rclone_site.put_all({f"data/{number}": bytes(300_000) for number in range(4)})
    proxied(rclone_site, Latency(seconds=0.6, match=on("GET", "PUT")))
    seen: list[float] = []

    def watch(run: UUID, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            seen.extend(float(each.data) for each in artifacts(run) if each.type == "progress")

    @pos3_flow(cache_root=cache, show_progress=True, max_workers=1)
    def learn() -> None:
        from prefect.runtime import flow_run

        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(UUID(flow_run.id), ended))
        watcher.start()
        pos3.download(rclone_site.url("data"))
        ended.set()
        watcher.join()
        out = pos3.upload(rclone_site.url("out"), interval=0.1)
        for count in (1, 2):
            write_tree(out, {f"{count}": b"1"})
            polled(lambda: len(rclone_site.keys("out/")), functools.partial(operator.eq, count))

    run = run_id(learn)
    progress, pushed = sorted((each for each in artifacts(run) if each.type == "progress"), key=lambda each: each.key)
    assert pushed.key == "pos3-progress-learn-2"
    assert (float(pushed.data), "1 of 1 files" in pushed.description) == (100.0, True)
    assert progress.key == "pos3-progress-learn-1"
    assert float(progress.data) == 100.0
    assert "4 of 4 files, 1.1 MiB of 1.1 MiB" in progress.description
    assert [each for each in seen if 0 < each < 100]
    log_lines(run, f"Downloading {rclone_site.url('data')}: 4/4 files")


def test_what_threads_of_a_mirror_log_is_in_the_log_of_the_right_run(
    rclone_site: S3Site, cache: Path, proxied: PutBefore
) -> None:
    proxied(rclone_site, Status(code=403, error_code="AccessDenied", match=on("PUT")))
    handlers = list(logging.getLogger("pos3").handlers)

    @task
    def register(key: str) -> pos3.Mirror:
        write_tree(pos3.upload(rclone_site.url(key), interval=0.2, delete=False), {"a": b"1"})
        return pos3.current_mirror()

    @pos3_flow(cache_root=cache)
    def learn(key: str) -> None:
        mirror = register.submit(key).result()
        polled(lambda: mirror.registrations()[0].failure, bool)
        raise RuntimeError("enough")

    runs: dict[str, UUID] = {}
    both = [threading.Thread(target=lambda key=key: runs.update({key: run_id(learn, key)})) for key in ("one", "two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    for key, other in (("one", "two"), ("two", "one")):
        lines = log_lines(runs[key], "background push of")
        assert [line for line in lines if f"/{key}" in line and "background push of" in line]
        assert not [line for line in lines if f"/{other}" in line]
    assert logging.getLogger("pos3").handlers == handlers


def test_what_a_task_transfers_is_in_the_log_of_that_task(rclone_site: S3Site, cache: Path) -> None:
    rclone_site.put_all({"a/file": b"1", "b/file": b"2", "c/file": b"3"})

    @task
    def write() -> None:
        write_tree(pos3.upload(rclone_site.url("out"), interval=0.1), {"a": b"1"})
        polled(lambda: rclone_site.keys("out/"), bool)

    @pos3_flow(cache_root=cache)
    def learn() -> tuple[str, str, UUID]:
        inner: State[Any] = read_elsewhere(rclone_site.url("b"), return_state=True)
        assert inner.state_details.flow_run_id is not None
        write.submit().result()
        pos3.download(rclone_site.url("c"))
        return read.submit(rclone_site.url("a")).result(), inner.result(), inner.state_details.flow_run_id

    state: State[Any] = learn(return_state=True)
    run, (*_, inner) = state.state_details.flow_run_id, state.result()
    assert run is not None

    def tasks_of_lines() -> dict[tuple[str, str], str | None]:
        """For each transfer, the name of the task run that its line belongs to."""
        with get_client(sync_client=True) as client:
            found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run, inner])))
            lines = [(log.message.split(), log.task_run_id) for log in found if log.message.startswith("pos3 ")]
            return {
                (words[1], words[2].rstrip(":").rpartition("/")[2]): task_run
                and client.read_task_run(task_run).name.rpartition("-")[0]
                for words, task_run in lines
                if words[1] in ("download", "upload")
            }

    names = polled(tasks_of_lines, lambda found: len(found) >= 4)
    assert names == {
        ("download", "a"): "read",
        ("download", "b"): "read",
        ("download", "c"): None,
        ("upload", "out"): "write",
    }


def test_lines_are_not_doubled_where_the_user_has_pos3_sent_to_the_api(rclone_site: S3Site, cache: Path) -> None:
    handler = APILogHandler()
    logging.getLogger("pos3").addHandler(handler)
    try:

        @pos3_flow(cache_root=cache)
        def learn() -> None:
            logging.getLogger("pos3").warning("said once")

        run = run_id(learn)
        log_lines(run, "said once")
        handler.flush()
        assert log_lines(run, "said once") == ["said once"]
    finally:
        logging.getLogger("pos3").removeHandler(handler)


def test_an_api_that_cannot_make_artifacts_fails_nothing(
    rclone_site: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pos3.orchestration.ui.view._TABLE_SECONDS", 0.5)

    hangs, release = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        hangs.set()
        release.wait()

    monkeypatch.setattr("pos3.orchestration.ui.artifacts.RunArtifacts.put", hang)

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        write_tree(pos3.upload(rclone_site.url("out"), interval=None), {"a": b"1"})

    try:
        assert learn(return_state=True).is_completed()
        assert hangs.is_set()
    finally:
        release.set()
    assert set(rclone_site.keys()) == {"out/a"}


def test_artifacts_and_lineage_can_be_switched_off(
    rclone_site: S3Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POS3_ARTIFACTS", "0")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        write_tree(pos3.upload(rclone_site.url("out"), interval=None), {"a": b"1"})

    run = run_id(learn)
    log_lines(run, "final push: 1 uploaded")
    assert artifacts(run) == []
    assert asset_events(run, 0) == []


def test_the_last_pushes_of_many_registrations_are_told_in_the_log_while_they_last(
    rclone_site: S3Site,
    cache: Path,
    proxied: PutBefore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pos3.mirrors.parallel_pushes._LOG_INTERVAL_SECONDS", 0.3)
    proxied(rclone_site, Latency(seconds=0.05))
    names = [f"part-{number}" for number in range(100)]
    logger = logging.getLogger("pos3")

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        for name in names:
            write_tree(pos3.upload(rclone_site.url(name), interval=None), {"f": name.encode()})

    run = run_id(learn)
    assert rclone_site.objects() == {f"{name}/f": name.encode() for name in names}
    lines = log_lines(run, "of 100 registrations are done", "final push: 100 uploaded")
    done = [int(line.split()[3]) for line in lines if "registrations are done" in line]
    assert done == sorted(done)
    assert 0 < done[0] <= done[-1] < 100
    assert (logger.level, logger.filters) == (logging.NOTSET, [])


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_a_level_that_the_user_has_set_for_pos3_stays(rclone_site: S3Site, cache: Path, level: int) -> None:
    logger = logging.getLogger("pos3")
    logger.setLevel(level)
    try:

        @pos3_flow(cache_root=cache)
        def learn() -> None:
            assert logger.level == level
            logger.info("a detail")
            logger.warning("the end")

        lines = log_lines(run_id(learn), "the end")
    finally:
        logger.setLevel(logging.NOTSET)
    assert ("a detail" in lines) == (level == logging.DEBUG)


def test_each_flow_has_a_key_for_its_table_and_few_for_progress() -> None:
    made = RunArtifacts(None, "My flow: größer_2")
    assert made.key_of("transfers") == "pos3-transfers-my-flow-gr-er-2"
    assert RunArtifacts(None, "x" * 300).key_of("transfers") == f"pos3-transfers-{'x' * 105}"
    assert RunArtifacts(None, "学习").key_of("transfers") == RunArtifacts(None).key_of("transfers") == "pos3-transfers"
    keys = [made.progress_key(f"Downloading {number}") for number in range(10)]
    assert keys == [f"pos3-progress-my-flow-gr-er-2-{number}" for number in range(1, 11)]
    assert made.progress_key("Downloading 3") == keys[3]
    assert made.progress_key("one too many") is None
    made.end_progress("Downloading 7")
    assert made.progress_key("Uploading") == keys[7]
    assert made.progress_key("Downloading 7") is None


@pytest.mark.parametrize("where", ["a flow", "a task", "an async task", "the final push"])
def test_an_error_of_pos3_ends_at_the_users_line(
    rclone_site: S3Site, cache: Path, proxied: PutBefore, where: str
) -> None:
    proxied(rclone_site, Status(code=403, error_code="AccessDenied", match=on("PUT")))
    url = rclone_site.url("missing")

    @task
    def read() -> None:
        pos3.download(url)

    @task
    async def aread() -> None:
        pos3.download(url)

    @pos3_flow(cache_root=cache)
    def learn() -> None:
        if where == "a task":
            read.submit().wait()
        if where == "an async task":
            aread.submit().wait()
        if where == "a flow":
            pos3.download(url)
        write_tree(pos3.upload(rclone_site.url("out"), interval=None), {"a": b"1"})

    run = run_id(learn)
    with get_client(sync_client=True) as client:
        logs = polled(
            lambda: client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))),
            lambda found: any("Traceback" in log.message for log in found),
        )
    (shown, *_) = [log.message for log in logs if "Traceback" in log.message]
    frames = [line.strip() for line in shown.splitlines() if line.startswith("  File ")]
    ours = [line for line in frames if "/pos3/" in line and __file__ not in line]
    assert [line.rpartition(" in ")[2] for line in ours] == ([] if "task" in where else ["call"])
    frames = [line for line in frames if line not in ours]
    assert __file__ in frames[-1]
    line = "@pos3_flow(cache_root=cache)" if where == "the final push" else "pos3.download(url)"
    assert line in shown.splitlines()[shown.splitlines().index(f"  {frames[-1]}") + 1]
    assert ("AccessDenied" in shown or "denied" in shown) if where == "the final push" else url in shown


def test_an_error_that_is_not_of_pos3_keeps_its_traceback(cache: Path) -> None:
    @pos3_flow(cache_root=cache)
    def learn() -> None:
        pos3.download("s3://b/x", no_such=1)  # type: ignore[call-arg]

    with pytest.raises(TypeError) as caught:
        learn()
    assert caught.traceback[-1].path != Path(__file__)
