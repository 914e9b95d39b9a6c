"""One Prefect server for all tests of a run, with a home of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Prefect reads its settings when it is first imported. The directory goes with the interpreter.
os.environ["PREFECT_HOME"] = (_home := tempfile.TemporaryDirectory("-pos3", ignore_cleanup_errors=True)).name

import prefect.settings
from prefect.testing.utilities import prefect_test_harness

import pos3


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    # Each attempt ends by waiting up to a second for its heartbeat thread.
    heartbeat = getattr(prefect.settings, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", None)
    quick = {heartbeat: None} if heartbeat is not None else {}
    with prefect_test_harness(server_startup_timeout=120), prefect.settings.temporary_settings(quick):
        yield


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
