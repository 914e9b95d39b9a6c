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
    # In one pass, and each text once: there may be millions.
    to_copy: list[tuple[str, str]] = []
    reasons: dict[str, str] = {}
    for action in plan.every_copy():
        target = destination(action.path)
        to_copy.append((source(action.path), target))
        reasons[target] = action.reason
    to_delete: list[str] = []
    for action in plan.deletes:
        target = destination(action.path)
        reasons[target] = action.reason
        if not action.path.endswith("/"):
            to_delete.append(target)
    for action in plan.lost:
        target = local_path_of(action.path)
        reasons[target] = action.reason
        to_delete.append(target)
    return TransferPlan(to_copy, to_delete, reasons, plan.refusal, plan.not_pushed, plan.kept)
