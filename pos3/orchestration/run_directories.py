"""``run_dir``, a directory for one flow run, which is pushed to a separate URL for this run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from prefect.runtime import flow_run

import pos3
from pos3.url import is_url

Patterns = str | list[str] | tuple[str, ...] | None


def run_dir(
    name: str,
    *,
    interval: float | None = 300,
    sync_on_error: bool = False,
    include: Patterns = None,
    exclude: Patterns = None,
    extra_args: Mapping[str, Any] | None = None,
) -> Path:
    """Returns a directory for this flow run only. It is pushed to ``<output_root>/<flow>/<flow run id>/<name>``.

    Call it in a flow or in a task, on any machine. All calls of a run with the same name use the same URL. A retry of
    the run finds the files that the run has pushed before, also on another machine. Other runs have other URLs, so the
    directory holds no files of them. A subflow is a run of its own.

    ``output_root`` is an option of the mirror: ``pos3_flow(output_root=...)``, ``Pos3Mirror(output_root=...)``, or
    ``POS3_OUTPUT_ROOT``. If it is a local path, the directory is there, and nothing is pushed.

    Args:
        name: the name of the directory, without a slash.
        interval, sync_on_error, include, exclude, extra_args: as for :func:`pos3.sync`.

    Raises:
        InvalidArgumentError: there is no output root, or ``name`` cannot be the name of a directory.
        NoMirrorError: the call is not in a run of a flow that was made with ``pos3_flow``.
        Pos3Error: further errors as for :func:`pos3.sync`.
    """
    _check_name(name)
    options: pos3.MirrorOptions = cast(Any, pos3.current_mirror()).options
    run_id, flow_name = flow_run.get_id(), flow_run.get_flow_name()
    if not run_id or not flow_name:
        raise pos3.NoMirrorError("run_dir() is for flow runs: call it in a flow made with @pos3_flow, or in its tasks")
    if options.output_root is None:
        raise pos3.InvalidArgumentError(
            "run_dir() needs a place for the output of runs: set POS3_OUTPUT_ROOT=s3://bucket/outputs, or give "
            "@pos3_flow(output_root='s3://bucket/outputs')",
            argument="output_root",
        )
    root = os.fspath(options.output_root)
    # The slash says that it is a directory, even if the name looks like that of a file.
    below = f"{flow_name}/{run_id}/{name}/"
    place = f"{root.rstrip('/')}/{below}" if is_url(root) else os.path.join(os.path.expanduser(root), below)
    return pos3.sync(
        place,
        interval=interval,
        sync_on_error=sync_on_error,
        include=include,
        exclude=exclude,
        extra_args=extra_args,
        # A failed attempt on this machine may have left files that it has not pushed.
        delete_local=False,
    )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name.strip() or "/" in name or "\x00" in name or name in (".", ".."):
        raise pos3.InvalidArgumentError(
            f"name={name!r}: expected the name of a directory without a slash; run_dir('a') / 'b' is one below it",
            argument="name",
        )
