"""PURE. Makes plans from listings: which files would be copied and deleted, each with its reason.

The package merges three streams: the local listing, the remote listing, and the records of the last sync. Each is
sorted by path in code-point order, which is the byte order of UTF-8, the order in which S3 lists. Memory grows with the
number of differences, not with the number of files, because consecutive files that are unchanged are skipped as a
whole.

The table in :mod:`pos3.plan.changes` says what counts as changed.
"""

from pos3.plan.actions import Action, Actions
from pos3.plan.deletes import check_max_delete, delete_refusal, parse_max_delete
from pos3.plan.downloads import plan_download
from pos3.plan.merge import merge_listings
from pos3.plan.model import EMPTIED, LOST, NEW, Compare, Direction, Plan, Policy, TransferPlan, TwoWayPlan
from pos3.plan.path_rules import IN_STATE, segment_problem
from pos3.plan.pushes import plan_push
from pos3.plan.uploads import plan_upload

__all__ = [
    "EMPTIED",
    "IN_STATE",
    "LOST",
    "NEW",
    "Action",
    "Actions",
    "Compare",
    "Direction",
    "Plan",
    "Policy",
    "TransferPlan",
    "TwoWayPlan",
    "check_max_delete",
    "delete_refusal",
    "merge_listings",
    "parse_max_delete",
    "plan_download",
    "plan_push",
    "plan_upload",
    "segment_problem",
]
