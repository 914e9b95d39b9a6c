"""PURE. From listings to a plan: what would be copied and deleted, each with its reason.

Three streams, each sorted by path in code-point order (which is also the byte order of UTF-8, S3's own), are
walked at once: the local listing, the remote listing, and the records of the last sync. Memory grows with
what differs, not with what exists, and stretches in which all three agree are passed over as a whole.

What counts as changed is a table in :mod:`pos3.plan.changes`.
"""

from pos3.plan.downloads import plan_download
from pos3.plan.limits import check_max_delete, delete_refusal, parse_max_delete
from pos3.plan.merge import march
from pos3.plan.model import EMPTIED, LOST, NEW, Action, Compare, Direction, Plan, Policy, TransferPlan, TwoWayPlan
from pos3.plan.path_rules import IN_STATE, segment_problem
from pos3.plan.pushes import plan_push
from pos3.plan.uploads import plan_upload

__all__ = [
    "EMPTIED",
    "IN_STATE",
    "LOST",
    "NEW",
    "Action",
    "Compare",
    "Direction",
    "Plan",
    "Policy",
    "TransferPlan",
    "TwoWayPlan",
    "check_max_delete",
    "delete_refusal",
    "march",
    "parse_max_delete",
    "plan_download",
    "plan_push",
    "plan_upload",
    "segment_problem",
]
