"""The public functions. Each calls the method of the same name of the current mirror."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, get_type_hints

from pos3.mirrors import Mirror, MirrorLike, activate, current_mirror, mirror, open_mirror, with_mirror

P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "Mirror",
    "MirrorLike",
    "activate",
    "bisync",
    "current_mirror",
    "download",
    "fingerprint",
    "flush",
    "ls",
    "mirror",
    "open_mirror",
    "partition",
    "plan_bisync",
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
    """A function that calls the method of :func:`current_mirror`, with the signature and docstring of the method."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = getattr(current_mirror(), method.__name__)(*args, **kwargs)
        return result

    # The annotations are evaluated in the method's module. Otherwise pydantic and IDEs would look for their names here.
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
partition = _of_current_mirror(Mirror.partition)
url_of = _of_current_mirror(Mirror.url_of)
reference = _of_current_mirror(Mirror.reference)
restore = _of_current_mirror(Mirror.restore)
plan_download = _of_current_mirror(Mirror.plan_download)
plan_upload = _of_current_mirror(Mirror.plan_upload)
bisync = _of_current_mirror(Mirror.bisync)
plan_bisync = _of_current_mirror(Mirror.plan_bisync)
