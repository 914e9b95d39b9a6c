"""After any history of both sides, each side holds what a simple model says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import histories_on
from tests.support import Proxy, S3Site, Server

# More of them, and others each time: make histories.
HISTORIES = int(os.environ.get("POS3_HISTORIES", "3"))


@pytest.mark.timeout(max(300, 10 * HISTORIES))
@pytest.mark.parametrize("name", ["rclone", "moto"])
def test_after_any_history_both_sides_hold_what_the_model_says(
    name: str,
    request: pytest.FixtureRequest,
    new_site: Callable[[Server], S3Site],
    tmp_path: Path,
) -> None:
    server: Server = request.getfixturevalue(name)
    with Proxy(server) as proxy:
        machine = histories_on(new_site(server), proxy, tmp_path)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=HISTORIES,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                # To make a history shorter takes longer than to read it.
                phases=[Phase.generate],
            ),
        )
    assert machine.steps > 30
