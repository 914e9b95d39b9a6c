"""PURE. Limits the number of deletes in a plan."""

from __future__ import annotations

from pos3.errors import InvalidArgumentError, PlanRefusedError
from pos3.plan.model import Plan


def check_max_delete(plan: Plan, max_delete: int | str | None) -> None:
    """Returns if the plan does not delete more than ``max_delete`` allows.

    Args:
        max_delete: a count of files, a share of the destination such as "50%", or None for no limit.

    Raises:
        PlanRefusedError: the plan deletes more; the message has the numbers.
        InvalidArgumentError: the limit is none of the three.
    """
    deletes, files = (*plan.deletes, *plan.lost), plan.destination_files + len(plan.lost)
    limit = parse_max_delete(max_delete, files)
    if limit is not None and len(deletes) > limit:
        examples = ", ".join(repr(action.path) for action in deletes[:3])
        raise PlanRefusedError(
            f"the {plan.direction} would delete {len(deletes)} of {files} files "
            f"(among them {examples}) and copy {plan.copy_files}, but max_delete={max_delete!r} allows {limit}; "
            "nothing was deleted. Raise max_delete, or find out why the source has so few files."
        )


def delete_refusal(plan: Plan, max_delete: int | str | None) -> str:
    """The message of the error that :func:`check_max_delete` would raise, or ""."""
    try:
        check_max_delete(plan, max_delete)
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
