"""Emits Prefect assets: a download is a reference, and a push is a materialization.

The key of an asset is the URL without the profile, as in ``@materialize("s3://bucket/key")``. The endpoint is only in
the metadata. URLs that Prefect does not accept as keys are left out.

An asset depends on what was downloaded by the task runs, or by the flow's own code, that registered it for upload, and
on downloads that are among their arguments. What is synced depends on these as well, but is no source of others: it is
the state of its task, such as a checkpoint.

Prefect itself emits the assets of ``@materialize``, when the task ends. By then they are pushed, and here they are left
out.

It relies on Prefect's AssetContext, which has the assets that the running task materializes, those on which it depends,
and their metadata, and on the context variable of TaskRunContext. ``tests/orchestration/test_internals.py`` pins them.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from prefect.assets import Asset
from prefect.context import AssetContext, TaskRunContext
from prefect.events import emit_event

import pos3
from pos3.orchestration.ui.current_run import RunHere, run_here

REFERENCED = "prefect.asset.referenced"
MATERIALIZED = "prefect.asset.materialization.succeeded"
_PROFILE = re.compile(r"://[^/]*@")
_HADOOP = re.compile(r"^s3[an]://")
# By default, a server refuses events with more related resources than this.
_MAX_RELATED = 80
_MAX_EVENTS = 200
_MAX_RUNS = 2000
_MAX_ARGUMENTS = 100


def add_reference(address: object) -> None:
    """Makes a downloaded URL a dependency of what the running task materializes, and of the tasks after it.

    It never raises. An address that cannot be an asset is left out.
    """
    context = AssetContext.get()
    if context is None:
        return
    asset = _asset(_plain(str(address)))
    if asset is None or asset in context.direct_asset_dependencies or asset in context.downstream_assets:
        return
    context.direct_asset_dependencies.add(asset)
    context.update_tracked_assets()


def materialized_here() -> tuple[str, ...]:
    """The keys of the assets that the running task materializes."""
    context = AssetContext.get()
    return tuple(asset.key for asset in context.downstream_assets) if context is not None else ()


def metadata_writer() -> Callable[[Mapping[str, Mapping[str, Any]]], None]:
    """A function that adds metadata to assets that the running task materializes. It may be called in any thread."""
    context = AssetContext.get()

    def add(metadata: Mapping[str, Mapping[str, Any]]) -> None:
        for key, known in metadata.items():
            with contextlib.suppress(Exception):
                if context is not None:
                    # What the user has added wins.
                    given = context.materialization_metadata.get(key, {})
                    context.add_asset_metadata(key, {**known, **given})

    return add


@contextlib.contextmanager
def _outside_of_tasks() -> Iterator[None]:
    """Says to Prefect that events belong to no task run.

    Prefect's thread for events keeps the context in which it was started, which may be that of a task run. It gives
    events the task run of that context, unless theirs says that there is none.
    """
    task_run: ContextVar[Any] = TaskRunContext.__var__
    token = task_run.set(None)
    try:
        yield
    finally:
        task_run.reset(token)


class Lineage:
    """Which downloads each upload of a mirror depends on, by the runs that have registered them.

    Args:
        arguments_here: the paths and URLs among the arguments of the run of this context.
    """

    def __init__(self, arguments_here: Callable[[], Iterable[str]]):
        self._arguments_here = arguments_here
        self._lock = threading.Lock()
        self._seen: set[tuple[RunHere | None, str, str]] = set()
        self._read: dict[RunHere | None, set[str]] = {}
        self._written: dict[RunHere | None, set[str]] = {}
        self._arguments: dict[RunHere | None, set[str]] = {}
        self._announced: set[str] = set()
        self._pushed_since: set[str] = set()

    def registered(self, kind: str, url: str) -> None:
        """Notes a registration of the run of this context. Only its first call for a run costs more than a look."""
        run = run_here()
        key = replace(run, arguments=()) if run is not None and run.arguments else run
        with self._lock:
            if (key, kind, url) in self._seen:
                return
            self._seen.add((key, kind, url))
            (self._read if kind == "download" else self._written).setdefault(key, set()).add(url)
            if key in self._arguments or len(self._arguments) >= _MAX_RUNS:
                return
            self._arguments[key] = set()
        arguments = run.arguments if run is not None and run.arguments else self._arguments_here()
        with self._lock:
            self._arguments[key] = set(itertools.islice(arguments, _MAX_ARGUMENTS))

    def pushed(self, url: str) -> None:
        with self._lock:
            self._pushed_since.add(url)

    def announced(self, urls: Iterable[str]) -> None:
        """Notes that Prefect emits the materialization of these URLs, with what was pushed until now."""
        with self._lock:
            self._announced.update(urls)
            self._pushed_since.difference_update(urls)

    def emit(self, registrations: Sequence[pos3.Registered]) -> None:
        """Emits what a flow run has read and pushed. It returns at once, because Prefect sends events in a thread."""
        read = [item for item in registrations if item.kind != "upload" and not item.failure and _asset(item.url)]
        written = [item for item in registrations if _is_written(item) and _asset(item.url)]
        with self._lock:
            sources = self._sources(registrations)
            written = [item for item in written if item.url not in self._announced or item.url in self._pushed_since]
        with _outside_of_tasks():
            self._emit(read, written, sources)

    def _emit(
        self,
        read: Sequence[pos3.Registered],
        written: Sequence[pos3.Registered],
        sources: Mapping[str, set[str]],
    ) -> None:
        for item in read[:_MAX_EVENTS]:
            emit_event(event=REFERENCED, resource=_resource(item), payload=metadata_of(item))
        known = {item.url: item for item in read}
        for item in written[:_MAX_EVENTS]:
            urls = sorted(sources.get(item.url, set()) & known.keys() - {item.url})
            related = [
                {"prefect.resource.id": url, "prefect.resource.role": "asset"} for url in urls[: _MAX_RELATED // 2]
            ]
            related += self._writers(item.url)[: _MAX_RELATED // 2]
            related.append({"prefect.resource.id": "pos3", "prefect.resource.role": "asset-materialized-by"})
            emit_event(event=MATERIALIZED, resource=_resource(item), related=related, payload=metadata_of(item))

    def _writers(self, url: str) -> list[dict[str, str]]:
        """The task runs that have registered an upload, as related resources."""
        with self._lock:
            runs = [run for run, urls in self._written.items() if url in urls and run is not None]
        return [
            {"prefect.resource.id": f"prefect.task-run.{run.task_run_id}", "prefect.resource.role": "task-run"}
            for run in runs
            if run.task_run_id is not None
        ]

    def _sources(self, registrations: Sequence[pos3.Registered]) -> dict[str, set[str]]:
        downloads = _Places(item for item in registrations if item.kind == "download")
        uploads = _Places(item for item in registrations if item.kind != "download")
        sources: dict[str, set[str]] = {}
        for run in {*self._read, *self._written}:
            arguments = self._arguments.get(run, set())
            read, written = self._read.get(run, set()), self._written.get(run, set())
            if read:
                # A task that gets the path of an upload of its flow writes there.
                written = written | uploads.overlapping(arguments)
            if written:
                read = read | downloads.overlapping(arguments)
            for url in written:
                sources.setdefault(url, set()).update(read)
        return sources


class _Places:
    """Finds registrations by addresses above, at or below their URLs and local paths."""

    def __init__(self, registrations: Iterable[pos3.Registered]):
        self._at: dict[str, set[str]] = {}
        self._below: dict[str, set[str]] = {}
        for item in registrations:
            for address in (_plain(item.url), item.local):
                self._at.setdefault(address, set()).add(item.url)
                for above in _ancestors(address):
                    self._below.setdefault(above, set()).add(item.url)

    def overlapping(self, addresses: Iterable[str]) -> set[str]:
        """The URLs of the registrations that one of the addresses overlaps."""
        found: set[str] = set()
        for address in map(_plain, addresses):
            found |= self._below.get(address, set())
            for above in (address, *_ancestors(address)):
                found |= self._at.get(above, set())
        return found


def _ancestors(address: str) -> Iterator[str]:
    """The directories above a path, or above a URL's key and bucket."""
    while True:
        address, _, _ = address.rpartition("/")
        if not address or address.endswith("/"):
            return
        yield address


def _plain(address: str) -> str:
    return _HADOOP.sub("s3://", _PROFILE.sub("://", address)).rstrip("/")


def _is_written(item: pos3.Registered) -> bool:
    return not item.failure and bool(item.report.uploaded_files or item.report.deleted_remote)


def _asset(url: str) -> Any:
    with contextlib.suppress(ValueError, TypeError):
        return Asset(key=url) if not url.startswith("file:") else None
    return None


def _resource(item: pos3.Registered) -> dict[str, str]:
    return {"prefect.resource.id": item.url}


def metadata_of(item: pos3.Registered) -> dict[str, Any]:
    known = {"files": item.files, "bytes": item.size_bytes, "etag": item.etag, "endpoint": item.endpoint}
    return {name: value for name, value in known.items() if value not in ("", None)}
