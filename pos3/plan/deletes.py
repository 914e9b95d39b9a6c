"""PURE. Decides whether the deletes of a plan are carried out.

These are the reasons why a run does not delete something. Where somebody has asked for deletes, ``kept`` of the report
names most of what stays, with its reason. What ``include`` and ``exclude`` hide takes no part, and is not named.

=================================================  ==================================================================
reason                                             where it is decided
=================================================  ==================================================================
``delete`` is off, or the run ended abnormally     the request; :meth:`pos3.Mirror.close`
the source is empty, or some of it cannot be       :func:`reason_to_keep_all`, here
read or uploaded
``max_delete``                                     :func:`check_max_delete`, here
something failed before, or was cancelled          :mod:`pos3.transfer`: deletes come last
an object that another writer put there, or that   :mod:`pos3.jobs.kept_objects`
only ``upload_exclude`` shows to the push
an object whose local file cannot be read          :mod:`pos3.plan.uploads`
an object that this mirror has not put there,      :mod:`pos3.plan.pushes`
in a background push
an object that was replaced since it was listed    :meth:`pos3.jobs.Job.without_replaced`
a local file that somebody else writes             :mod:`pos3.jobs.local_writers`
a local file whose object is archived              :mod:`pos3.jobs.archived`
a FIFO, a device or a broken link                  :mod:`pos3.plan.downloads`
a directory that pos3 has never filled             :mod:`pos3.jobs.adoption`: the run is refused
a local file whose object the store has lost       :class:`pos3.jobs.Job`, in its policy
there is no local side                             :meth:`pos3.jobs.Job.plan_upload`: nothing is pushed
a local file that ``upload_exclude`` hides         :class:`pos3.jobs.Job`
a file of ``bisync`` that has changed              :mod:`pos3.jobs.bisync_job`
unfinished files, and pos3's own state             :mod:`pos3.jobs.sources`
=================================================  ==================================================================
"""

from __future__ import annotations

from pos3.errors import InvalidArgumentError, PlanRefusedError
from pos3.plan.model import Plan


def reason_to_keep_all(*, has_problems: bool, has_unreadable: bool, source_files: int) -> str:
    """The reason why nothing is deleted by this plan, or "".

    Args:
        has_problems: some local files cannot be objects.
        has_unreadable: some local files or directories cannot be read.
        source_files: how many files the source has.
    """
    if has_problems:
        # A file that cannot be uploaded may be a renamed one, whose old object would be deleted.
        return "some files cannot be uploaded"
    if has_unreadable:
        return "some files cannot be read"
    return "" if source_files else "the source is empty"


def check_max_delete(plan: Plan, max_delete: int | str | None, where: str) -> None:
    """Returns if the plan does not delete more than ``max_delete`` allows.

    Args:
        max_delete: a count of files, a share of the destination such as "50%", or None for no limit.
        where: the URL and the local path, for the message.

    Raises:
        PlanRefusedError: the plan deletes more; the message has the numbers.
        InvalidArgumentError: the limit is none of the three.
    """
    deletes, files = (*plan.deletes, *plan.lost), plan.destination_files + len(plan.lost)
    limit = parse_max_delete(max_delete, files)
    if limit is not None and len(deletes) > limit:
        examples = ", ".join(repr(action.path) for action in deletes[:3])
        raise PlanRefusedError(
            f"{where}: the {plan.direction} would delete {len(deletes)} of {files} files, such as {examples}, and copy "
            f"{plan.copy_files}. max_delete={max_delete!r} allows {limit} deletes, so nothing was deleted. Check why "
            "the source has so few files, or raise max_delete."
        )


def delete_refusal(plan: Plan, max_delete: int | str | None, where: str) -> str:
    """The message of the error that :func:`check_max_delete` would raise, or ""."""
    try:
        check_max_delete(plan, max_delete, where)
    except PlanRefusedError as refusal:
        return str(refusal)
    return ""


def parse_max_delete(max_delete: int | str | None, destination_files: int) -> int | None:
    """The largest number of deletes that ``max_delete`` allows; None for no limit."""
    if max_delete is None:
        return None
    if isinstance(max_delete, int) and not isinstance(max_delete, bool) and max_delete >= 0:
        return max_delete
    if isinstance(max_delete, str):
        text = max_delete.strip()
        if text.isascii() and text.isdigit():
            return int(text)
        share = text[:-1].replace(".", "", 1)
        if text.endswith("%") and share.isascii() and share.isdigit() and float(text[:-1]) <= 100:
            return int(destination_files * float(text[:-1]) / 100)
    raise InvalidArgumentError(
        f"max_delete={max_delete!r}: expected a count such as 100 or a share such as '50%'", argument="max_delete"
    )
