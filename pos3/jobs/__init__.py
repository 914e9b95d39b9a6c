"""Jobs: each does the work of one request, from its checked arguments to the report of its transfers.

A request holds the arguments of one call, checked. A registration is a request with its location, profile and local
path. A job is a registration at work: it lists both sides, makes plans (:mod:`pos3.plan`), checks them, and has them
carried out (:mod:`pos3.transfer`). Complete sets, two-way syncs, the journal and the recovery of dead processes are
here as well. :mod:`pos3.mirrors` decides which registrations a mirror has, and when they are pushed.
"""

from pos3.jobs.adoption import check_adoption, check_target
from pos3.jobs.bisync_job import BisyncJob, BisyncPlans
from pos3.jobs.comparison import Mismatch, mismatches_of
from pos3.jobs.complete_sets import Publication, complete_job
from pos3.jobs.disk_space import DiskSpace
from pos3.jobs.disk_usage import DirectoryUsage, local_usage, remote_usage, usage_by_directory
from pos3.jobs.fingerprints import fingerprint_of_objects
from pos3.jobs.job import Job
from pos3.jobs.journal import Journal, remove_pushed_entries
from pos3.jobs.known_roots import ReceivedRoot, RegisteredRoot, reference_of, remember
from pos3.jobs.listings import (
    Listed,
    describe_all_buckets,
    describe_local,
    describe_part,
    describe_remote,
    list_all_buckets,
    list_local,
    list_part,
    list_remote,
    list_versions,
)
from pos3.jobs.local_writers import (
    AdditiveWriter,
    DeadWriter,
    DeletingUpload,
    OnChange,
    OwnDownload,
    OwnPush,
    ParentWriter,
    RecordLookup,
    Writer,
)
from pos3.jobs.observer import Observer, Registered, Unobserved
from pos3.jobs.offline import check_nothing_unpushed, check_synced, offline_store, take_cached
from pos3.jobs.open_mirrors import OpenUpload, open_uploads
from pos3.jobs.partitions import check_division, parts_of
from pos3.jobs.recovery import Recovered, push_kept_offline, recover, recover_with
from pos3.jobs.references import Reference, find_reference, with_profile_name
from pos3.jobs.registration import (
    Registration,
    check_outside_state,
    check_patterns,
    local_root,
)
from pos3.jobs.registration_conflicts import check_conflicts, maps_the_same_objects
from pos3.jobs.requests import (
    REQUESTS,
    BisyncRequest,
    DownloadRequest,
    Patterns,
    PublishRequest,
    Request,
    SyncRequest,
    UploadRequest,
    check_timeout,
    difference,
    merged,
    patterns_of,
)
from pos3.jobs.run_outputs import RunOutput, list_runs, remove_run
from pos3.jobs.runner import Runner
from pos3.jobs.similar_names import near_buckets, near_urls
from pos3.jobs.transfer_plan import as_transfer_plan
from pos3.jobs.url_beginnings import url_completions

__all__ = [
    "REQUESTS",
    "AdditiveWriter",
    "BisyncJob",
    "BisyncPlans",
    "BisyncRequest",
    "DeadWriter",
    "DeletingUpload",
    "DirectoryUsage",
    "DiskSpace",
    "DownloadRequest",
    "Job",
    "Journal",
    "Listed",
    "Mismatch",
    "Observer",
    "OnChange",
    "OpenUpload",
    "OwnDownload",
    "OwnPush",
    "ParentWriter",
    "Patterns",
    "Publication",
    "PublishRequest",
    "ReceivedRoot",
    "RecordLookup",
    "Recovered",
    "Reference",
    "Registered",
    "RegisteredRoot",
    "Registration",
    "Request",
    "RunOutput",
    "Runner",
    "SyncRequest",
    "Unobserved",
    "UploadRequest",
    "Writer",
    "as_transfer_plan",
    "check_adoption",
    "check_conflicts",
    "check_division",
    "check_nothing_unpushed",
    "check_outside_state",
    "check_patterns",
    "check_synced",
    "check_target",
    "check_timeout",
    "complete_job",
    "describe_all_buckets",
    "describe_local",
    "describe_part",
    "describe_remote",
    "difference",
    "find_reference",
    "fingerprint_of_objects",
    "list_all_buckets",
    "list_local",
    "list_part",
    "list_remote",
    "list_runs",
    "list_versions",
    "local_root",
    "local_usage",
    "maps_the_same_objects",
    "merged",
    "mismatches_of",
    "near_buckets",
    "near_urls",
    "offline_store",
    "open_uploads",
    "parts_of",
    "patterns_of",
    "push_kept_offline",
    "recover",
    "recover_with",
    "reference_of",
    "remember",
    "remote_usage",
    "remove_pushed_entries",
    "remove_run",
    "take_cached",
    "url_completions",
    "usage_by_directory",
    "with_profile_name",
]
