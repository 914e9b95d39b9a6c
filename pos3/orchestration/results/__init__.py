"""Paths in the results of flows and tasks, and a cache policy that compares the objects behind paths and URLs.

A path of a mirror is stored as its URL. Where the result is loaded, it becomes a local path with the same content.
Stored results contain the name of the function :func:`restored`, so it must stay importable as
``pos3.orchestration.results.restored``. Other packages have the mirrors, and decide when results are persisted.
"""

from pos3.orchestration.results.contents import S3Contents
from pos3.orchestration.results.paths import PathSerializer, default_serializer, restored

__all__ = [
    "PathSerializer",
    "S3Contents",
    "default_serializer",
    "restored",
]
