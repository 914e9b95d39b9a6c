"""PURE. Globs, and what of a tree takes part in a transfer.

A pattern is what users write in ``include`` and ``exclude``. This package turns patterns into fast predicates of
relative paths; it knows neither disks nor stores. Which patterns a call has, and what is done with what they choose,
is for :mod:`pos3.jobs`.
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
