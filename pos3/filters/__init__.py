"""PURE. Glob patterns, which choose the files that take part in a transfer.

Users write patterns in ``include`` and ``exclude``. This package turns patterns into fast predicates of relative paths.
It knows neither disks nor stores. :mod:`pos3.jobs` knows the patterns of a call, and applies the predicates.
"""

from pos3.filters.matching import Filter, as_patterns, check_relative, entry_matcher, everything, matcher, nothing

__all__ = [
    "Filter",
    "as_patterns",
    "check_relative",
    "entry_matcher",
    "everything",
    "matcher",
    "nothing",
]
