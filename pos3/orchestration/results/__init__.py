"""Paths in the results of flows and tasks, and the cache policy that looks at the objects behind them.

A path of a mirror is stored as the URL that it stands for, and becomes a local path with that content where the result
is loaded. Results that users have stored name the function :func:`restored` of this package, so it must stay importable
as ``pos3.orchestration.results.restored``. What a mirror is, and when results are kept, is for the other packages.
"""

from pos3.orchestration.results.contents import S3Contents
from pos3.orchestration.results.paths import PathSerializer, default_serializer, restored

__all__ = [
    "PathSerializer",
    "S3Contents",
    "default_serializer",
    "restored",
]
