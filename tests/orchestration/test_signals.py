"""A flow's process that is told to stop, or dies: what asks for it is pushed, and nothing is deleted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from tests.orchestration.conftest import environment_of_children, eventually
from tests.support import Latency, Proxy, S3Site, on
from tests.support.forks import ForkServer

SCRIPT = """
import asyncio, inspect, os, sys, time
import pos3
from prefect import task
from prefect.runtime import flow_run
from pos3.orchestration import pos3_flow

url, cache, kind = sys.argv[1:]

def write():
    for name in ("out", "other"):
        (pos3.upload(f"{url}/{name}") / "new").write_text("new")
    (pos3.upload(f"{url}/log", sync_on_error=True) / "new").write_text("new")

def say_ready():
    print(flow_run.id, flush=True)

@pos3_flow(cache_root=cache)
def body():
    write()
    say_ready()
    time.sleep(60)

@pos3_flow(cache_root=cache)
async def abody():
    write()
    say_ready()
    await asyncio.sleep(60)

@pos3_flow(cache_root=cache)
def steps():
    write()
    say_ready()
    yield time.sleep(60)

@task
def work():
    write()
    say_ready()
    time.sleep(60)

@pos3_flow(cache_root=cache)
def in_task():
    work()

@pos3_flow(cache_root=cache)
def unawaited():
    work.submit()

@pos3_flow(cache_root=cache, retries=1, retry_delay_seconds=60)
def delay():
    write()
    say_ready()
    raise RuntimeError("not yet")

@pos3_flow(cache_root=cache, retries=1, retry_delay_seconds=60)
async def adelay():
    write()
    say_ready()
    raise RuntimeError("not yet")

@pos3_flow(cache_root=cache)
def push():
    write()
    say_ready()

@pos3_flow(cache_root=cache)
async def apush():
    write()
    say_ready()

@pos3_flow(cache_root=cache)
def dies():
    write()
    say_ready()
    os._exit(3)

@pos3_flow
def child():
    write()
    say_ready()
    time.sleep(60)

@pos3_flow(cache_root=cache)
def subflow():
    child()

ran = globals()[kind]()
if inspect.iscoroutine(ran):
    asyncio.run(ran)
list(ran)
"""

STALE = {"out/stale", "other/stale", "log/stale"}


class Child:
    """A process that runs one of the flows of the script."""

    def __init__(self, programs: ForkServer, site: S3Site, folder: Path, kind: str):
        self.cache = folder / "cache"
        self._log = folder / "log"
        command = ["-c", SCRIPT, site.url(), str(self.cache), kind]
        self._said, told = os.pipe()
        with self._log.open("wb") as log, os.fdopen(told, "wb") as stdout:
            self._process = programs.start(command, environment_of_children(), stdout, log)

    def wait_until_ready(self) -> None:
        """Until the flow has written its files."""
        with os.fdopen(self._said) as said:
            self._flow_run_id = said.readline().strip()
        assert self._flow_run_id, self._log.read_text()

    @property
    def state(self) -> str | None:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(self._flow_run_id)).state_name

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(timeout=60)

    def end(self) -> None:
        self._process.kill()
        self._process.wait(60)


Start = Callable[[str], Child]


@pytest.fixture
def start(programs: ForkServer, rclone_site: S3Site, tmp_path: Path) -> Iterator[Start]:
    """Starts one flow of the script; every prefix that it pushes to holds a stale object."""
    rclone_site.put_all(dict.fromkeys(STALE, b"old"))
    with ExitStack() as stack:

        def start_one(kind: str) -> Child:
            child = Child(programs, rclone_site, tmp_path, kind)
            stack.callback(child.end)
            return child

        yield start_one


def unfinished(cache: Path) -> list[Path]:
    return list(cache.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("body", signal.SIGTERM),
        ("abody", signal.SIGTERM),
        ("in_task", signal.SIGTERM),
        ("subflow", signal.SIGTERM),
        ("delay", signal.SIGTERM),
        ("adelay", signal.SIGINT),
        ("steps", signal.SIGINT),
    ],
)
def test_a_signal_pushes_sync_on_error_and_deletes_nothing(
    rclone_site: S3Site, start: Start, kind: str, number: signal.Signals
) -> None:
    child = start(kind)
    child.wait_until_ready()
    if "delay" in kind:
        eventually(lambda: child.state == "AwaitingRetry")
    child.send(number)
    assert child.wait() != 0
    assert set(rclone_site.keys()) == STALE | {"log/new"}
    assert child.state == "Crashed"
    assert not unfinished(child.cache)


@pytest.mark.parametrize("kind", ["push", "apush"])
def test_a_signal_during_the_final_push_stops_it_before_it_deletes(
    rclone_site: S3Site, proxied: Callable[..., Proxy], start: Start, kind: str
) -> None:
    # Registrations are pushed side by side: none is done when the signal comes.
    proxy = proxied(rclone_site, Latency(seconds=4, match=on("PUT")))
    child = start(kind)
    child.wait_until_ready()
    eventually(lambda: any(request.key == "out/new" and request.method == "PUT" for request in proxy.requests))
    child.send(signal.SIGTERM)
    assert child.wait() != 0
    # The server may have what was on its way.
    assert set(rclone_site.keys()) - {"out/new", "other/new"} == STALE | {"log/new"}
    assert child.state == "Crashed"
    assert not unfinished(child.cache)


def test_what_asks_for_it_is_pushed_before_tasks_that_still_run_are_waited_for(
    rclone_site: S3Site, start: Start
) -> None:
    child = start("unawaited")
    child.wait_until_ready()
    child.send(signal.SIGTERM)
    # The task sleeps for a minute, and whoever sent the signal sends another one long before that.
    eventually(lambda: "log/new" in rclone_site.keys(), within_seconds=20)
    child.send(signal.SIGKILL)
    child.wait()
    assert set(rclone_site.keys()) == STALE | {"log/new"}


def test_further_sigterms_do_not_end_the_push_after_the_first(
    rclone_site: S3Site, proxied: Callable[..., Proxy], start: Start
) -> None:
    proxy = proxied(rclone_site, Latency(seconds=4, match=on("PUT", key="^log/new")))
    child = start("body")
    child.wait_until_ready()
    child.send(signal.SIGTERM)
    # A push that is stopped gives what is on its way two seconds more.
    eventually(lambda: any(request.key == "log/new" and request.method == "PUT" for request in proxy.requests))
    child.send(signal.SIGTERM)
    child.send(signal.SIGTERM)
    assert child.wait() != 0
    assert set(rclone_site.keys()) == STALE | {"log/new"}
    assert child.state == "Crashed"


def test_a_second_interrupt_ends_the_push_after_the_first(
    rclone_site: S3Site, proxied: Callable[..., Proxy], start: Start
) -> None:
    proxy = proxied(rclone_site, Latency(seconds=30, match=on("PUT", key="^log/new")))
    child = start("body")
    child.wait_until_ready()
    child.send(signal.SIGINT)
    eventually(lambda: any(request.key == "log/new" and request.method == "PUT" for request in proxy.requests))
    second_at = time.monotonic()
    child.send(signal.SIGINT)
    assert child.wait() != 0
    assert time.monotonic() - second_at < 15
    assert set(rclone_site.keys()) == STALE


def test_a_process_that_dies_has_deleted_nothing(rclone_site: S3Site, start: Start) -> None:
    child = start("dies")
    child.wait_until_ready()
    assert child.wait() == 3
    assert set(rclone_site.keys()) == STALE
    # Prefect learns of it only through a worker, or by missing heartbeats.
    assert child.state == "Running"
