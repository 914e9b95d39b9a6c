"""One Prefect server for all tests of a run, with a home of its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

# Prefect reads its settings when it is first imported. The directory goes with the interpreter.
os.environ["PREFECT_HOME"] = (_home := tempfile.TemporaryDirectory("-pos3", ignore_cleanup_errors=True)).name
# Before Prefect 3.8.8, children look for results in the user's home whatever PREFECT_HOME says.
os.environ["PREFECT_LOCAL_STORAGE_PATH"] = f"{_home.name}/storage"

import prefect.settings
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

import pos3
from tests.support.forks import ForkServer, transferring


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    # Each attempt ends by waiting up to a second for its heartbeat thread.
    heartbeat = getattr(prefect.settings, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", None)
    quick = {heartbeat: None} if heartbeat is not None else {}
    with prefect_test_harness(server_startup_timeout=120), prefect.settings.temporary_settings(quick):
        yield


@pytest.fixture(autouse=True)
def events_are_sent_outside_of_runs(prefect_server: None) -> None:
    """Prefect's thread for events keeps the context in which it is started, and a test may have stopped it.

    If that context were a task run's, Prefect would name it in events of later runs, such as those of process pools.
    """
    EventsWorker.instance()


def eventually(holds: Callable[[], object], within_seconds: float = 60) -> None:
    """Waits until ``holds()`` is true; fails if that takes too long."""
    began = time.monotonic()
    while not holds():
        waited = time.monotonic() - began
        assert waited < within_seconds, f"not within {within_seconds:g} s"
        # To ask the Prefect server often takes the time that is waited for.
        time.sleep(min(0.5, max(0.05, waited / 10)))


def environment_of_children(**more: str) -> dict[str, str]:
    """What a Python child needs in its environment to use this pos3, this Prefect server and this test's S3."""
    here = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": str(Path(pos3.__file__).parents[1])}
    return {**os.environ, **here, **more}


@pytest.fixture(scope="session")
def programs(prefect_server: None) -> Iterator[ForkServer]:
    """Starts programs that find Prefect imported, which otherwise takes each of them more than a second."""
    engines = ["prefect.flow_engine", "prefect.task_engine", "prefect.runtime", "pos3.orchestration.flow"]
    with contextlib.closing(ForkServer([*transferring(), *engines], environment_of_children())) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache root for this test's mirrors."""
    return tmp_path / "cache"


@dataclass
class Mirrors:
    """All mirrors that were opened in this test, in order."""

    opened: list[pos3.Mirror] = field(default_factory=list)

    @property
    def still_open(self) -> list[pos3.Mirror]:
        return [mirror for mirror in self.opened if mirror.is_open]


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Mirrors:
    """Keeps book of the mirrors that are opened."""
    seen = Mirrors()
    really_open = pos3.Mirror.open

    def note_and_open(mirror: pos3.Mirror) -> pos3.Mirror:
        seen.opened.append(mirror)
        return really_open(mirror)

    monkeypatch.setattr(pos3.Mirror, "open", note_and_open)
    return seen


@pytest.fixture(autouse=True)
def nothing_is_left(mirrors: Mirrors, tmp_path: Path) -> Iterator[None]:
    """However its flow runs end, a test leaves no open mirror, thread, socket or unfinished file of pos3."""
    yield
    assert not mirrors.still_open
    eventually(lambda: not [thread.name for thread in threading.enumerate() if thread.name.startswith("pos3")])
    here = psutil.Process()
    assert not [each.laddr for each in here.net_connections("unix") if "/pos3-" in each.laddr]
    assert not list(tmp_path.rglob(".pos3-*.tmp"))
