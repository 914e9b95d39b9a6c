"""Assets: a download is a reference, a push a materialization.

The key of an asset is the URL without the profile, as in ``@materialize("s3://bucket/key")``. It says nothing of the
endpoint, which is metadata. URLs that Prefect does not take for a key are left out.

``note_reference`` relies on Prefect's AssetContext, which keeps the assets that the running task depends on;
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
# A server refuses an event with more related resources than this, unless it is told otherwise.
_MOST_RELATED = 80
_MOST_EVENTS = 200


def note_reference(address: object) -> None:
    """Makes what the running task has downloaded a dependency of what it materializes, and of the tasks after it.

    Never fails; an address that is no asset's is left out.
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
    """Emits what a flow run has read, and what it has pushed out of it. Returns at once; Prefect sends in a thread."""
    read = [item for item in registrations if item.kind != "upload" and not item.failure and _asset(item.url)]
    written = [item for item in registrations if _is_written(item) and _asset(item.url)]
    for item in read[:_MOST_EVENTS]:
        emit_event(event=REFERENCED, resource=_resource(item), payload=_metadata(item))
    for item in written[:_MOST_EVENTS]:
        sources = [each for each in read if each.url != item.url]
        related = [{**_resource(each), "prefect.resource.role": "asset"} for each in sources[:_MOST_RELATED]]
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
