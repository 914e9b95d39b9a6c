"""The state machine of the tests, with many seeds."""

from __future__ import annotations

import traceback

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from soak.place import Corner

from tests.model.machine import histories_on

EXAMPLES, STEPS = 5, 40


def a_seed(corner: Corner) -> int:
    """How many steps were made; a violation ends the case and is told with the history that led to it."""
    machine = histories_on(corner.site, corner.proxy, corner.cache)
    try:
        run_state_machine_as_test(
            hypothesis.seed(corner.dice.randrange(1 << 32))(machine),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
                database=None,
            ),
        )
    except Exception as error:  # noqa: BLE001 - a finding, whatever it is
        corner.wrong(["".join(traceback.format_exception(error))])
    return machine.steps
