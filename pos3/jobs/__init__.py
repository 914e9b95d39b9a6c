"""One request at work: what was asked, both sides and what is remembered of them, and what is done about it.

A registration says what one call asked for. A link is a registration at work: it lists both sides, makes plans
(:mod:`pos3.plan`), checks them, and has them carried out (:mod:`pos3.transfer`). Complete sets, recovery after a crash
and the journal are here as well. Which registrations a mirror has, and when they are pushed, is for
:mod:`pos3.mirrors`.
"""

from pos3.jobs.adoption import check_adoption, check_target
from pos3.jobs.complete_sets import Publication, complete_job
from pos3.jobs.disk_space import Room
from pos3.jobs.fingerprints import fingerprint_of_objects
from pos3.jobs.guards import Additive, Changed, Closed, Cursor, Guard, Left, Manner, Own, Shared
from pos3.jobs.job import Job
from pos3.jobs.journal import Journal, settle
from pos3.jobs.manifest import check_marker
from pos3.jobs.observer import Observer, Registered, Unobserved
from pos3.jobs.recovery import Recovered, recover, recover_with
from pos3.jobs.references import Reference, refer
from pos3.jobs.registration import (
    Registration,
    build_filter,
    check_conflicts,
    check_flag,
    check_interval,
    check_local,
    check_outside_state,
    check_patterns,
    check_timeout,
    checked,
    difference,
    is_coherent,
    local_root,
    merged,
    names_a_directory,
)
from pos3.jobs.remote_listing import list_local, list_remote
from pos3.jobs.runner import Runner
from pos3.jobs.transfer_plan import as_transfer_plan

__all__ = [
    "Additive",
    "Changed",
    "Closed",
    "Cursor",
    "Guard",
    "Job",
    "Journal",
    "Left",
    "Manner",
    "Observer",
    "Own",
    "Publication",
    "Recovered",
    "Reference",
    "Registered",
    "Registration",
    "Room",
    "Runner",
    "Shared",
    "Unobserved",
    "as_transfer_plan",
    "build_filter",
    "check_adoption",
    "check_conflicts",
    "check_flag",
    "check_interval",
    "check_local",
    "check_marker",
    "check_outside_state",
    "check_patterns",
    "check_target",
    "check_timeout",
    "checked",
    "combined",
    "complete_job",
    "difference",
    "fingerprint_of_objects",
    "is_coherent",
    "list_local",
    "list_remote",
    "local_root",
    "merged",
    "names_a_directory",
    "recover",
    "recover_with",
    "refer",
    "settle",
]
