"""Paths that are handed to tasks on other machines, and that come from there."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from prefect import Flow
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

import pos3
from pos3.orchestration import S3Contents, pos3_flow, run_dir
from tests.orchestration import travelling_tasks as tasks
from tests.orchestration.conftest import environment_of_children, eventually
from tests.orchestration.machines import Machines, in_own_tmp, two_machines
from tests.orchestration.test_task_workers import result_of
from tests.support import S3Site

# The machines import Prefect before the first test can begin.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[], Machines]]:
    """Starts the machines when the first test asks for them, and gives them to all.

    Their environment is that of the first test. It is the same for all tests that take the same S3 server.
    """
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(two_machines()))


@pytest.fixture
def machines(rclone_site: S3Site, started: Callable[[], Machines]) -> Iterator[Machines]:
    machines = started()
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: machines.shared / "results"}):
        try:
            yield machines
        except BaseException as error:
            for log in machines.shared.glob("*.log"):
                error.add_note(log.read_text(errors="replace")[-5000:])
            raise


def on(name: str) -> Any:
    """Tasks that are submitted in this context run on the machine of this name."""
    return dask.annotate(workers=[name], allow_other_workers=False)


def mirrored(cache: Path, machines: Machines) -> Any:
    return pos3_flow(cache_root=cache, task_runner=machines.runner())


def test_a_path_of_the_flow_is_valid_on_another_machine_after_one_download(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    rclone_site.put_all({"data/a": b"one", "data/sub/b": b"two"})
    url = rclone_site.url("data")

    @mirrored(cache, machines)
    def learn() -> tuple[list[dict[str, Any]], str]:
        data = pos3.download(url)
        with on("first"):
            whole = [tasks.read.submit(data) for _ in range(3)]
            below = tasks.read.submit(data / "sub")
            text = tasks.aread.submit(data / "a")
        with on("second"):
            part = tasks.read.submit(data / "sub" / "b")
        return [each.result() for each in (*whole, below, part)], text.result()

    (*whole, below, part), text = learn()
    assert len({os.readlink("/proc/self/ns/mnt"), whole[0]["here"], part["here"]}) == 3
    assert [each["files"] for each in whole] == [{"a": "one", "b": "two"}] * 3
    assert below["files"] == part["files"] == {"b": "two"}
    assert text == "one"
    downloads = [each["downloads"] for each in (*whole, below)]
    assert sum(downloads) == 2, downloads
    assert part["downloads"] == 1


def test_results_travel_from_machine_to_machine_and_to_the_flow_however_they_are_held(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    url = rclone_site.url("out")

    @mirrored(cache, machines)
    def learn() -> dict[str, Any]:
        with on("first"):
            made = tasks.make_many.submit(url)
            fetched = tasks.fetch.submit(url, wait_for=[made])
        with on("second"):
            by_future = tasks.read_all.submit(made)
            as_value = tasks.read_all.submit(made.result())
            whole = tasks.read.submit(fetched)
        values = made.result()
        here = [values["plain"].path, values["split"].train, values["model"].weights, *values["keys"], *values["set"]]
        return {
            "seen": [by_future.result(), as_value.result()],
            "whole": whole.result()["files"],
            "here": [path.read_text() for path in here],
            "texts": [str(path) for path in here],
        }

    seen = learn()
    assert seen["seen"] == [["a", "b", "c", "d", "e", "f", "g"]] * 2
    assert seen["whole"] == {name: name for name in "abcdefg"}
    assert seen["here"] == ["a", "b", "c", "e", "f"]
    root = cache / "_" / rclone_site.bucket / "out"
    assert seen["texts"] == [str(root / name) for name in "abcef"]


def test_what_tasks_elsewhere_write_into_the_flows_upload_is_pushed_and_comes_back(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    rclone_site.put("out/stale", b"x")
    url = rclone_site.url("out")

    @mirrored(cache, machines)
    def learn() -> tuple[list[str], str, list[str]]:
        out = pos3.upload(url, interval=None)
        with on("first"):
            one = tasks.write_into.submit(out, "one", "1")
            two = tasks.write_as.submit(out / "sub-two", "2")
        with on("second"):
            three = tasks.write_into.submit(out, "three", "3")
        [each.wait() for each in (one, three)]
        text = two.result().read_text()
        return [one.result(), three.result()], text, pos3.ls(url)

    places, text, listed = learn()
    assert len({*places, tasks.here()}) == 3
    assert text == "2"
    assert listed == [rclone_site.url(f"out/{name}") for name in ("one", "stale", "sub-two", "three")]
    assert rclone_site.objects("out/") == {"one": b"1", "sub-two": b"2", "three": b"3"}


def test_what_the_flow_has_written_is_pushed_before_a_task_elsewhere_gets_it(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    url = rclone_site.url("out")

    @mirrored(cache, machines)
    def learn() -> list[dict[str, str]]:
        out = pos3.upload(url, interval=None)
        seen = []
        for number in range(2):
            (out / "file").write_text(f"version {number}")
            with on("first"):
                seen.append(tasks.read.submit(out / "file").result()["files"])
        # A path that others have made of it, and that pos3 knows nothing of.
        (out / "more").write_text("more")
        with on("second"):
            seen.append(tasks.read.submit([Path(os.path.join(str(out), "more"))][0]).result()["files"])
        return seen

    assert learn() == [{"file": "version 0"}, {"file": "version 1"}, {"more": "more"}]


@pytest.mark.parametrize("reader", ["first", "second"])
def test_what_is_pushed_while_another_task_of_the_run_works_elsewhere_is_seen_by_the_next_one_and_stays(
    rclone_site: S3Site, cache: Path, machines: Machines, reader: str
) -> None:
    url, events = rclone_site.url("out"), str(machines.shared / f"events-{reader}")
    os.mkdir(events)

    @mirrored(cache, machines)
    def learn() -> tuple[dict[str, str], str]:
        out = pos3.upload(url, interval=None)
        (out / "file").write_text("version 0")
        with on("first"):
            longer = tasks.write_and_wait.submit(out / "file", out / "mine", events)
        eventually(lambda: os.path.exists(f"{events}/begun"))
        (out / "file").write_text("version 1")
        with on(reader):
            seen = tasks.read.submit(out / "file").result()["files"]
        open(f"{events}/end", "w").close()
        return seen, longer.result()

    assert learn() == ({"file": "version 1"}, "version 1" if reader == "first" else "version 0")
    assert rclone_site.objects("out/") == {"file": b"version 1", "mine": b"mine"}


def test_a_path_that_no_other_machine_can_have_is_an_error_that_names_its_task(
    rclone_site: S3Site, cache: Path, machines: Machines, tmp_path: Path
) -> None:
    @mirrored(cache, machines)
    def learn(mine: Path) -> list[Any]:
        with on("first"):
            scratch = tasks.make_scratch.submit()
            same = tasks.read_one.submit(scratch)
        with on("second"):
            other = tasks.read_one.submit(scratch)
            made = tasks.make_directory.submit(mine)
        assert same.result() == "x"
        assert made.result() == str(mine)
        try:
            scratch.result().read_text()
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("it is on the other machine")
        other.wait()
        return [other.state, str(scratch.result())]

    mine = tmp_path / "exists-here-only"
    mine.mkdir()
    state, scratch = learn(mine)
    with pytest.raises(pos3.RemoteNotFoundError) as failure:
        state.result()
    message = str(failure.value)
    assert scratch in message
    assert "task run 'make_scratch-" in message
    assert "pos3.upload" in message


def test_the_flow_gets_the_same_error_for_a_path_that_it_cannot_have(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    @mirrored(cache, machines)
    def learn() -> str:
        return tasks.make_scratch.submit().result().read_text()

    with pytest.raises(pos3.RemoteNotFoundError, match=r"task run 'make_scratch-.*in no mirror"):
        learn()


def test_what_is_gone_by_then_fails_the_task_that_needs_it_with_both_names(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    bucket, url = rclone_site.bucket, rclone_site.url("out")

    @mirrored(cache, machines)
    def learn() -> Any:
        with on("first"):
            made = tasks.make.submit(url, "file", "x").result()
        remove(bucket, "out/file")
        with on("second"):
            failed = tasks.read.submit(made)
        failed.wait()
        return failed.state

    with pytest.raises(pos3.RemoteNotFoundError, match=r"task run 'make-.* passed .*out/file.*gone"):
        learn(return_state=True).result()


def remove(bucket: str, key: str) -> None:
    import boto3

    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).delete_object(Bucket=bucket, Key=key)


def test_persisted_results_travel_as_well(rclone_site: S3Site, cache: Path, machines: Machines) -> None:
    url = rclone_site.url("kept")

    @mirrored(cache, machines)
    def learn() -> tuple[str, dict[str, str]]:
        with on("first"):
            kept = tasks.keep.submit(url)
        with on("second"):
            seen = tasks.read.submit(kept)
        return kept.result().read_text(), seen.result()["files"]

    assert learn() == ("kept", {"kept": "kept"})


def test_tasks_on_several_machines_share_the_directory_of_their_run(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    root = rclone_site.url("outputs")

    @pos3_flow(cache_root=cache, task_runner=machines.runner(), output_root=root)
    def learn() -> tuple[list[Path], list[str]]:
        (run_dir("model") / "mine").write_text("mine")
        with on("first"):
            first = tasks.write_output.submit("first")
        with on("second"):
            second = tasks.write_output.submit("second", wait_for=[first])
        paths = [first.result(), second.result(), run_dir("model")]
        return paths, sorted(file.name for file in paths[1].iterdir())

    paths, names = learn()
    assert len(set(paths)) == 1
    assert "mine" in names
    assert sorted(key.rpartition("/")[2] for key in rclone_site.keys("outputs/")) == ["first", "mine", "second"]
    assert len({key.rpartition("/")[0] for key in rclone_site.keys("outputs/")}) == 1


def test_a_background_task_on_another_machine_gets_and_gives_paths(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    rclone_site.put("data/a", b"one")
    url = rclone_site.url()

    # ``delay`` makes a task persist its results from then on, so the other tests get others.
    read, make, write_into = (each.with_options() for each in (tasks.read, tasks.make, tasks.write_into))

    @pos3_flow(cache_root=cache)
    def learn() -> tuple[dict[str, str], str, dict[str, str], str]:
        data = pos3.download(f"{url}/data")
        out = pos3.upload(f"{url}/out", interval=None)
        (out / "mine").write_text("mine")
        first = result_of(read.delay([data][0]))
        made = result_of(make.delay(f"{url}/made", "x", "made"))
        mine = result_of(read.delay(out / "mine"))
        place = result_of(write_into.delay(out, "theirs", "theirs"))
        return first["files"], made.read_text(), mine["files"], place

    log = machines.shared / "task-worker.log"
    root = machines.shared / "third"
    root.mkdir()
    more = {
        "HOME": "/tmp",
        "PREFECT_HOME": "/tmp/prefect",
        "PREFECT_LOCAL_STORAGE_PATH": str(machines.shared / "results"),
    }
    command = [sys.executable, "-c", f"import {tasks.__name__} as tasks; tasks.serve_all()"]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            in_own_tmp(command, root), env=environment_of_children(**more), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        *seen, place = learn()
    finally:
        worker.terminate()
        worker.wait(30)
    assert seen == [{"a": "one"}, "made", {"mine": "mine"}]
    assert place != tasks.here()
    assert rclone_site.objects("out/") == {"mine": b"mine", "theirs": b"theirs"}


def test_a_path_counts_as_its_content_in_keys_wherever_the_task_runs(
    rclone_site: S3Site, cache: Path, machines: Machines
) -> None:
    rclone_site.put("data/a", b"one")
    url = rclone_site.url("data")
    read = tasks.read.with_options(cache_policy=S3Contents(), persist_result=True)

    def flow_in(root: Path) -> Flow[[], list[str]]:
        @pos3_flow(cache_root=root, task_runner=machines.runner())
        def learn() -> list[str]:
            data = pos3.download(url)
            with on("first"):
                one = read.submit(data)
            with on("second"):
                two = read.submit(data, wait_for=[one])
            return [one.result()["here"], two.result()["here"]]

        return learn

    first, second = flow_in(cache)()
    assert first == second != tasks.here()
    assert flow_in(cache.with_name("another"))() == [first, first]
