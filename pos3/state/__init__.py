"""State on disk that outlives a process: indexes, locks, claims, journal files, and the cache with its eviction.

:mod:`pos3.state.root_index` shows the layout on disk. :mod:`pos3.jobs` and :mod:`pos3.mirrors` decide how the state is
used.
"""

from pos3.state.cache import (
    CachedRoot,
    cached_bytes,
    check_can_be_emptied,
    empty_root,
    evict_to_limit,
    list_cache,
    verify_cache,
)
from pos3.state.claims import Claim, ClaimList
from pos3.state.file_system import abilities_of
from pos3.state.index import Index
from pos3.state.journal_file import HEADER_TYPES, READABLE_VERSIONS, VERSION, JournalFile, JournalOwner
from pos3.state.journal_scan import (
    SUFFIX,
    files_in_journal_directory,
    is_journal_directory_trusted,
    journal_directory,
    journals,
    untrusted_journals,
)
from pos3.state.leftovers import Leftovers
from pos3.state.locks import NoUseLock, UseLock
from pos3.state.ownership import ActiveClaim, Claims, NoClaim, RegistrationClaim
from pos3.state.part_file import PartFile, has_part_of, remove_part
from pos3.state.root_index import Place, RootIndex, root_indexes

__all__ = [
    "HEADER_TYPES",
    "READABLE_VERSIONS",
    "SUFFIX",
    "VERSION",
    "ActiveClaim",
    "CachedRoot",
    "Claim",
    "ClaimList",
    "Claims",
    "Index",
    "JournalFile",
    "JournalOwner",
    "Leftovers",
    "NoClaim",
    "NoUseLock",
    "PartFile",
    "Place",
    "RegistrationClaim",
    "RootIndex",
    "UseLock",
    "abilities_of",
    "cached_bytes",
    "check_can_be_emptied",
    "empty_root",
    "evict_to_limit",
    "files_in_journal_directory",
    "has_part_of",
    "is_journal_directory_trusted",
    "journal_directory",
    "journals",
    "list_cache",
    "remove_part",
    "root_indexes",
    "untrusted_journals",
    "verify_cache",
]
