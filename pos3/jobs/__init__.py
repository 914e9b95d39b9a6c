"""One request at work: what was asked, both sides and what is remembered of them, and what is done about it.

A request holds the arguments of one call, checked. A registration is a request whose places are known. A job is a
registration at work: it lists both sides, makes plans (:mod:`pos3.plan`), checks them, and has them carried out
(:mod:`pos3.transfer`). Complete sets, two-way syncs, recovery after a crash and the journal are here as well. Which
registrations a mirror has, and when they are pushed, is for :mod:`pos3.mirrors`.
"""

from pos3.jobs.adoption import check_adoption, check_target
from pos3.jobs.bisync_job import BothWays, TwoWay
from pos3.jobs.complete_sets import Publication, complete_job
from pos3.jobs.disk_space import Room
from pos3.jobs.fingerprints import fingerprint_of_objects
from pos3.jobs.job import Job
from pos3.jobs.journal import Journal, settle
from pos3.jobs.listings import list_local, list_remote
from pos3.jobs.local_writers import Additive, Changed, Closed, Cursor, Guard, Left, Manner, Own, Shared
from pos3.jobs.manifest import check_marker
from pos3.jobs.observer import Observer, Registered, Unobserved
from pos3.jobs.recovery import Recovered, recover, recover_with
from pos3.jobs.references import Reference, refer
from pos3.jobs.registration import (
    Registration,
    check_conflicts,
    check_outside_state,
    check_patterns,
    is_coherent,
    local_root,
)
from pos3.jobs.requests import (
    REQUESTS,
    BisyncRequest,
    DownloadRequest,
    Patterns,
    PublishRequest,
    Request,
    SyncRequest,
    UploadRequest,
    check_interval,
    check_local,
    check_timeout,
    difference,
    merged,
)
from pos3.jobs.runner import Runner
from pos3.jobs.transfer_plan import as_transfer_plan

__all__ = [
    "REQUESTS",
    "Additive",
    "BisyncRequest",
    "BothWays",
    "Changed",
    "Closed",
    "Cursor",
    "DownloadRequest",
    "Guard",
    "Job",
    "Journal",
    "Left",
    "Manner",
    "Observer",
    "Own",
    "Patterns",
    "Publication",
    "PublishRequest",
    "Recovered",
    "Reference",
    "Registered",
    "Registration",
    "Request",
    "Room",
    "Runner",
    "Shared",
    "SyncRequest",
    "TwoWay",
    "Unobserved",
    "UploadRequest",
    "as_transfer_plan",
    "check_adoption",
    "check_conflicts",
    "check_interval",
    "check_local",
    "check_marker",
    "check_outside_state",
    "check_patterns",
    "check_target",
    "check_timeout",
    "complete_job",
    "difference",
    "fingerprint_of_objects",
    "is_coherent",
    "list_local",
    "list_remote",
    "local_root",
    "merged",
    "recover",
    "recover_with",
    "refer",
    "settle",
]
