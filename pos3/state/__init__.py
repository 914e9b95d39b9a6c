"""What is remembered on this machine, and outlives a process: indexes, locks, claims, journals as files, the cache.

:mod:`pos3.state.root_index` draws the layout on disk. Who uses what is remembered, and for what, is for
:mod:`pos3.jobs` and :mod:`pos3.mirrors`.
"""

from pos3.state.cache import (
    Cached,
    bound_cache,
    cached_bytes,
    check_can_be_emptied,
    empty_root,
    list_cache,
    verify_cache,
)
from pos3.state.claims import Claim, ClaimList
from pos3.state.index import Index
from pos3.state.journal_file import HEAD, READABLE_VERSIONS, VERSION, HeldFile, Keeper
from pos3.state.journal_scan import SUFFIX, journal_directory, left_alone, may_be_carried_out, paths_in_directory
from pos3.state.leftovers import Leftovers
from pos3.state.locks import NoMark, UseMark
from pos3.state.ownership import Claims, Held, HeldClaim, NoClaim
from pos3.state.root_index import Place, RootIndex

__all__ = [
    "HEAD",
    "READABLE_VERSIONS",
    "SUFFIX",
    "VERSION",
    "Cached",
    "Claim",
    "ClaimList",
    "Claims",
    "Held",
    "HeldClaim",
    "HeldFile",
    "Index",
    "Keeper",
    "Leftovers",
    "NoClaim",
    "NoMark",
    "Place",
    "RootIndex",
    "UseMark",
    "bound_cache",
    "cached_bytes",
    "check_can_be_emptied",
    "empty_root",
    "journal_directory",
    "left_alone",
    "list_cache",
    "may_be_carried_out",
    "paths_in_directory",
    "verify_cache",
]
