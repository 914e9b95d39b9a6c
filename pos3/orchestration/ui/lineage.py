"""Emits Prefect assets: a download is a reference, and a push is a materialization.

The key of an asset is the URL without the profile, as in ``@materialize("s3://bucket/key")``. The endpoint is only in
the metadata. URLs that Prefect does not accept as keys are left out.

``add_reference`` relies on Prefect's AssetContext, which has the assets on which the running task depends.
``tests/orchestration/test_internals.py`` pins it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from prefect.assets import Asset
from prefect.context import AssetContext
from prefect.events import emit_event

import pos3

REFERENCED = "prefect.asset.referenced"
MATERIALIZED = "prefect.asset.materialization.succeeded"
_PROFILE = re.compile(r"://[^/]*@")
_HADOOP = re.compile(r"^s3[an]://")
# By default, a server refuses events with more related resources than this.
_MAX_RELATED = 80
_MAX_EVENTS = 200


def add_reference(address: object) -> None:
    """Makes a downloaded URL a dependency of what the running task materializes, and of the tasks after it.

    It never raises. An address that cannot be an asset is left out.
    """
    context = AssetContext.get()
    if context is None:
        return
    asset = _asset(_HADOOP.sub("s3://", _PROFILE.sub("://", str(address)).rstrip("/")))
    if asset is None or asset in context.direct_asset_dependencies or asset in context.downstream_assets:
        return
    context.direct_asset_dependencies.add(asset)
    context.update_tracked_assets()


def emit_lineage(registrations: Sequence[pos3.Registered]) -> None:
    """Emits what a flow run has read and pushed. It returns at once, because Prefect sends the events in a thread."""
    read = [item for item in registrations if item.kind != "upload" and not item.failure and _asset(item.url)]
    written = [item for item in registrations if _is_written(item) and _asset(item.url)]
    for item in read[:_MAX_EVENTS]:
        emit_event(event=REFERENCED, resource=_resource(item), payload=_metadata(item))
    for item in written[:_MAX_EVENTS]:
        sources = [each for each in read if each.url != item.url]
        related = [{**_resource(each), "prefect.resource.role": "asset"} for each in sources[:_MAX_RELATED]]
        related.append({"prefect.resource.id": "pos3", "prefect.resource.role": "asset-materialized-by"})
        emit_event(event=MATERIALIZED, resource=_resource(item), related=related, payload=_metadata(item))


def _is_written(item: pos3.Registered) -> bool:
    return not item.failure and bool(item.report.uploaded_files or item.report.deleted_remote)


def _asset(url: str) -> Any:
    with contextlib.suppress(ValueError, TypeError):
        return Asset(key=url) if not url.startswith("file:") else None
    return None


def _resource(item: pos3.Registered) -> dict[str, str]:
    return {"prefect.resource.id": item.url}


def _metadata(item: pos3.Registered) -> dict[str, Any]:
    known = {"files": item.files, "bytes": item.size_bytes, "etag": item.etag, "endpoint": item.endpoint}
    return {name: value for name, value in known.items() if value not in ("", None)}
