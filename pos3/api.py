"""The public functions, and how they find the mirror that they belong to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, get_type_hints

from pos3.jobs import as_transfer_plan
from pos3.mirrors import Mirror, MirrorLike, Patterns, activate, current_mirror, mirror, with_mirror
from pos3.options import StrPath
from pos3.plan import Compare, TransferPlan
from pos3.profiles import Profile

P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "Mirror",
    "MirrorLike",
    "activate",
    "current_mirror",
    "download",
    "fingerprint",
    "flush",
    "ls",
    "mirror",
    "plan_download",
    "plan_upload",
    "publish",
    "reference",
    "report",
    "restore",
    "sync",
    "upload",
    "url_of",
    "with_mirror",
]


def _of_current_mirror(method: Callable[Concatenate[Mirror, P], R]) -> Callable[P, R]:
    """A function that calls the method of :func:`current_mirror`, with its signature and docstring."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        made: R = getattr(current_mirror(), method.__name__)(*args, **kwargs)
        return made

    # Evaluated where they were written: pydantic and IDEs would look their names up in this module.
    hints = get_type_hints(method)
    signature = inspect.signature(method)
    parameters = [item.replace(annotation=hints[name]) for name, item in signature.parameters.items() if name != "self"]
    call.__name__ = call.__qualname__ = method.__name__
    call.__doc__ = inspect.cleandoc(method.__doc__ or "").replace(":meth:", ":func:")
    call.__annotations__ = hints
    call.__signature__ = inspect.Signature(parameters, return_annotation=hints["return"])  # type: ignore[attr-defined]
    return call


download = _of_current_mirror(Mirror.download)
upload = _of_current_mirror(Mirror.upload)
sync = _of_current_mirror(Mirror.sync)
publish = _of_current_mirror(Mirror.publish)
ls = _of_current_mirror(Mirror.ls)
flush = _of_current_mirror(Mirror.flush)
report = _of_current_mirror(Mirror.report)
fingerprint = _of_current_mirror(Mirror.fingerprint)
url_of = _of_current_mirror(Mirror.url_of)
reference = _of_current_mirror(Mirror.reference)
restore = _of_current_mirror(Mirror.restore)


def plan_download(
    remote: str,
    local: StrPath | None = None,
    exclude: Patterns = None,
    profile: str | Profile | None = None,
    *,
    include: Patterns = None,
    compare: Compare = "auto",
    delete: bool = True,
    max_delete: int | str | None = None,
    missing_ok: bool = False,
    adopt: bool = False,
    require_marker: str | None = None,
) -> TransferPlan:
    """What :func:`download` would do now. Nothing is transferred, deleted or created.

    Where :func:`download` would raise :class:`PlanRefusedError` (``max_delete``, a directory that needs ``adopt``), the
    plan is returned, and its ``refusal`` says why.

    Args:
        remote, local, exclude, profile, include, compare, delete, max_delete, missing_ok, adopt, require_marker: as for
            :func:`download`.

    Raises:
        InvalidURLError: ``remote`` is a local path. Further errors as for :func:`download`.
    """
    wanted, plan = current_mirror().plan_download(
        remote,
        local,
        exclude,
        profile,
        include=include,
        compare=compare,
        delete=delete,
        max_delete=max_delete,
        missing_ok=missing_ok,
        adopt=adopt,
        require_marker=require_marker,
    )
    return as_transfer_plan(wanted, plan)


def plan_upload(
    remote: str,
    local: StrPath | None = None,
    exclude: Patterns = None,
    profile: str | Profile | None = None,
    overwrite: Patterns = None,
    *,
    include: Patterns = None,
    compare: Compare = "auto",
    delete: bool = True,
    max_delete: int | str | None = None,
    upload_last: Patterns = None,
    follow_symlinks: bool = True,
) -> TransferPlan:
    """What the final push of :func:`upload` would do now; an empty plan if there is no local side.

    Nothing is transferred, deleted or created. Where that push would raise :class:`PlanRefusedError` (``max_delete``),
    the plan's ``refusal`` says why; what could not be pushed is in its ``problems``.

    Args:
        remote, local, exclude, profile, include, compare, delete, max_delete, upload_last, overwrite, follow_symlinks:
            as for :func:`upload`.

    Raises:
        InvalidURLError: ``remote`` is a local path. Further errors as for :func:`upload`.
    """
    wanted, plan = current_mirror().plan_upload(
        remote,
        local,
        exclude,
        profile,
        overwrite,
        include=include,
        compare=compare,
        delete=delete,
        max_delete=max_delete,
        upload_last=upload_last,
        follow_symlinks=follow_symlinks,
    )
    return as_transfer_plan(wanted, plan)
