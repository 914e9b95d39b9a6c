"""``S3Contents``, a cache policy that skips a task while the objects that it reads are unchanged."""

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
from pos3.mirrors import arriving_reference
from pos3.orchestration.results.reading import mirror_for_reading
from pos3.orchestration.ui import log_safely

_UNKNOWN = "pos3: cannot tell whether the inputs have changed, so the task is run"
Patterns = str | list[str] | tuple[str, ...] | None
_URLS = ("s3://", "s3a://", "s3n://", "part+s3://")


@dataclass
class S3Contents(CachePolicy):
    """A cache policy that skips a task only if its code, its inputs and the objects of its inputs are unchanged.

    - It looks for ``s3://`` URLs, for parts, and for paths that have a URL, at any depth of the inputs. It compares the
      keys, sizes and ETags of their objects, but not the modification times.
    - A path counts as its URL, so workers with different caches find the same results.
    - Other inputs are compared by value, and the code is compared as by Prefect's ``TASK_SOURCE``.
    - A task is not skipped if nothing is at a URL, or if the store cannot be reached. It is also not skipped if a path
      has files that were not uploaded yet.
    - Each URL costs a listing, unless the mirror of the flow run has registered it.
    - A URL to which the task writes is not an input. Leave it out with ``S3Contents() - "out"``, where "out" is the
      parameter.
    - The policy can be combined with other policies by "+".

    Args:
        include, exclude: globs of the objects that count, relative to each URL.
        without: names of parameters of the task that do not count.
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
            log_safely(get_run_logger(), logging.WARNING, f"{_UNKNOWN}: %s", error)
        if contents is None:
            # With None, a compound policy would use its other parts only.
            return uuid.uuid4().hex
        plain, fingerprints = contents
        code = TaskSource().compute_key(task_ctx, inputs, flow_parameters)
        return hash_objects(code, Inputs().compute_key(task_ctx, plain, {}), fingerprints, raise_on_failure=True)

    def _contents(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]] | None:
        """The inputs with URLs in place of paths, and each URL's fingerprint; None if one of them has none."""
        inputs = _with_texts_of_parts(inputs)
        addresses = _addresses(inputs)
        if not addresses:
            return inputs, []
        urls: dict[Path, str] = {}
        fingerprints: dict[str, str] = {}
        with mirror_for_reading() as mirror:
            for address in addresses:
                arriving = arriving_reference(address) if isinstance(address, Path) else None
                # A path that has not arrived from another machine has no content here yet, so its URL is asked.
                asked = arriving.url if arriving is not None else address
                url = asked if isinstance(asked, str) else mirror.url_of(asked)
                if url is None:
                    continue
                if isinstance(address, Path):
                    urls[address] = url
                fingerprint = mirror.fingerprint(asked, include=self.include, exclude=self.exclude)
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


def _with_texts_of_parts(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with texts in place of parts. The URL in a part stands for more than the part."""
    made: dict[str, Any] = visit_collection(
        inputs, lambda value: str(value) if isinstance(value, pos3.Part) else value, return_data=True
    )
    return made


def _with_urls(inputs: dict[str, Any], urls: dict[Path, str]) -> dict[str, Any]:
    def replaced(value: Any) -> Any:
        # The value stays a path, because models that contain it may check the type.
        return Path(urls[value]) if isinstance(value, Path) and value in urls else value

    made: dict[str, Any] = visit_collection(inputs, replaced, return_data=True)
    return made


def _left_out_elsewhere(task_ctx: TaskRunContext) -> Iterator[str]:
    """The parameters that a compound policy excludes. Of ``S3Contents() + INPUTS - "x"``, only INPUTS gets "x"."""
    policy = task_ctx.task.cache_policy
    if isinstance(policy, CompoundCachePolicy):
        for part in policy.policies:
            if isinstance(part, Inputs):
                yield from part.exclude
