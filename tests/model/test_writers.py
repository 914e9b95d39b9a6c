"""After any history of several mirrors on two machines, nothing that anybody wrote is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.writers import Writers
from tests.support import S3Site, Server

# More of them, and others each time: make histories.
HISTORIES = int(os.environ.get("POS3_HISTORIES", "3"))


@pytest.mark.timeout(max(300, 4 * HISTORIES))
@pytest.mark.parametrize("name", ["rclone", "moto"])
def test_after_any_history_of_several_mirrors_nothing_that_was_written_is_lost(
    name: str,
    request: pytest.FixtureRequest,
    new_site: Callable[[Server], S3Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    machine = type("Histories", (Writers,), {"site": new_site(request.getfixturevalue(name)), "home": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
    assert machine.steps > 30
