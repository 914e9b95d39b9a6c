"""The workloads: each yields its cases one by one, with their data prepared, and removes that afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.speed.bench import Bench
from benchmarks.speed.contest import Case
from benchmarks.speed.workloads import bodies, lists, programs, real, reruns

# In order of importance: what no time is left for, is what comes last.
WORKLOADS: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "small-down": bodies.small_down,
    "small-up": bodies.small_up,
    "large": bodies.large,
    "large-many": bodies.large_many,
    "dataset": bodies.dataset,
    "rerun": reruns.rerun,
    "changed": reruns.changed,
    "push": reruns.pushes,
    "list": lists.listing,
    "start": programs.start,
    "flow": programs.flow,
    "delete": lists.delete,
    "real": real.real,
    "million": reruns.million,
}
