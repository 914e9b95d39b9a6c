"""A plan as those who ask for one see it: pairs of URLs and paths."""

from __future__ import annotations

import os

from pos3.jobs.registration import Registration
from pos3.plan import Plan, TransferPlan


def as_transfer_plan(wanted: Registration, plan: Plan) -> TransferPlan:
    """A plan as pairs of URLs and paths."""

    def here(path: str) -> str:
        return os.path.join(wanted.local, path) if path else wanted.local

    source, destination = (
        (wanted.location.child, here) if plan.direction == "download" else (here, wanted.location.child)
    )
    copies = list(plan.every_copy())
    lost = {here(action.path): action.reason for action in plan.lost}
    return TransferPlan(
        [(source(action.path), destination(action.path)) for action in copies],
        [*(destination(action.path) for action in plan.deletes if not action.path.endswith("/")), *lost],
        {destination(action.path): action.reason for action in (*copies, *plan.deletes)} | lost,
        plan.refusal,
        plan.not_pushed,
        plan.kept,
    )
