"""Turns a plan into the public form that users see: pairs of URLs and paths."""

from __future__ import annotations

import os

from pos3.jobs.registration import Registration
from pos3.plan import Plan, TransferPlan


def as_transfer_plan(registration: Registration, plan: Plan) -> TransferPlan:
    """The plan of a registration as pairs of URLs and paths."""
    url_of = registration.location.child

    def local_path_of(path: str) -> str:
        return os.path.join(registration.local, path) if path else registration.local

    source, destination = (url_of, local_path_of) if plan.direction == "download" else (local_path_of, url_of)
    copies = list(plan.every_copy())
    lost = {local_path_of(action.path): action.reason for action in plan.lost}
    return TransferPlan(
        [(source(action.path), destination(action.path)) for action in copies],
        [*(destination(action.path) for action in plan.deletes if not action.path.endswith("/")), *lost],
        {destination(action.path): action.reason for action in (*copies, *plan.deletes)} | lost,
        plan.refusal,
        plan.not_pushed,
        plan.kept,
    )
