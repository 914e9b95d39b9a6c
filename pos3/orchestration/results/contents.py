"""``S3Contents``: a task is skipped as long as the objects that it reads are the same."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect.cache_policies import CachePolicy, CompoundCachePolicy, Inputs, TaskSource
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.utilities.collections import visit_collection
from prefect.utilities.hashing import hash_objects

import pos3
from pos3.orchestration.results.reading import mirror_for_reading
from pos3.orchestration.ui import say

_UNKNOWN = "pos3: cannot tell whether the inputs have changed, so the task is run"
Patterns = str | list[str] | tuple[str, ...] | None
_URLS = ("s3://", "s3a://", "s3n://")


@dataclass
class S3Contents(CachePolicy):
    """A cache policy: a task is skipped exactly when its code, its inputs and the objects behind them are unchanged.

    Inputs are searched, at any depth, for ``s3://`` URLs and for paths that have a URL. Of each, the keys, sizes and
    ETags of the objects count; modification times do not. A path counts as its URL, so that a worker with another cache
    finds the same results. All other inputs count by their values, and the code as in Prefect's ``TASK_SOURCE``.

    A task is run, and not skipped, if nothing is at a URL, if a path holds what was not uploaded yet, or if the store
    cannot be asked.

    Costs a listing of each URL that the flow run's mirror has not registered; what it has costs no request. The URL of
    what a task writes is no input: leave it out, ``S3Contents() - "out"``. Composes with other policies by "+".

    Args:
        include, exclude: globs of the objects that count, relative to each URL.
        without: names of the task's parameters that do not count.
    """

    include: Patterns = field(default=None, kw_only=True)
    exclude: Patterns = field(default=None, kw_only=True)
    without: tuple[str, ...] = field(default=(), kw_only=True)

    def __sub__(self, other: str) -> S3Contents:
        if not isinstance(other, str):
            raise TypeError("only the name of a parameter can be subtracted from a cache policy")
        return replace(self, without=(*self.without, other))

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        left_out = {*self.without, *_left_out_elsewhere(task_ctx)}
        counting = {name: value for name, value in (inputs or {}).items() if name not in left_out}
        contents = None
        try:
            contents = self._contents(counting)
        except pos3.Pos3Error as error:
            say(get_run_logger(), logging.WARNING, f"{_UNKNOWN}: %s", error)
        if contents is None:
            # Not None: a compound policy would go by its other parts alone.
            return uuid.uuid4().hex
        plain, fingerprints = contents
        code = TaskSource().compute_key(task_ctx, inputs, flow_parameters)
        return hash_objects(code, Inputs().compute_key(task_ctx, plain, {}), fingerprints, raise_on_failure=True)

    def _contents(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]] | None:
        """The inputs with URLs in place of paths, and each URL's fingerprint; None if one of them has none."""
        addresses = _addresses(inputs)
        if not addresses:
            return inputs, []
        urls: dict[Path, str] = {}
        fingerprints: dict[str, str] = {}
        with mirror_for_reading() as mirror:
            for address in addresses:
                url = address if isinstance(address, str) else mirror.url_of(address)
                if url is None:
                    continue
                if isinstance(address, Path):
                    urls[address] = url
                fingerprint = mirror.fingerprint(address, include=self.include, exclude=self.exclude)
                if fingerprint is None:
                    return None
                fingerprints[url] = fingerprint
        return _with_urls(inputs, urls), sorted(fingerprints.items())


def _addresses(inputs: dict[str, Any]) -> list[str | Path]:
    """The URLs and the paths in the inputs, each once."""
    found: dict[str | Path, None] = {}

    def note(value: Any) -> None:
        if isinstance(value, Path) or (isinstance(value, str) and value.startswith(_URLS)):
            found[value] = None

    visit_collection(inputs, note)
    return list(found)


def _with_urls(inputs: dict[str, Any], urls: dict[Path, str]) -> dict[str, Any]:
    def replaced(value: Any) -> Any:
        # Still a path: the models that hold it may look at the type.
        return Path(urls[value]) if isinstance(value, Path) and value in urls else value

    made: dict[str, Any] = visit_collection(inputs, replaced, return_data=True)
    return made


def _left_out_elsewhere(task_ctx: TaskRunContext) -> Iterator[str]:
    """``S3Contents() + INPUTS - "x"`` is Prefect's to take apart, and tells only ``INPUTS`` of it."""
    policy = task_ctx.task.cache_policy
    if isinstance(policy, CompoundCachePolicy):
        for part in policy.policies:
            if isinstance(part, Inputs):
                yield from part.exclude
