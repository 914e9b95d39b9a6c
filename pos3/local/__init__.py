"""This machine: trees of files, temporary files, names and homes, files that belong to this user alone, threads.

It knows nothing of stores and plans. What pos3 remembers between runs is in :mod:`pos3.state`.
"""

from pos3.local.encoding import NARROW, encoding_problem, is_file_name
from pos3.local.files import BLOCK_BYTES, blocks, create_file, open_file, read_at, write_all, write_blocks_at
from pos3.local.home import NO_HOME, expanded
from pos3.local.own_files import (
    ForeignFileError,
    directory_problem,
    is_trusted,
    make_private,
    open_lock,
    open_own,
    read_settings,
    tell_once,
)
from pos3.local.paths import are_nested, is_below, is_within, is_within_relative, lies_in_cache, relative
from pos3.local.pids import is_running
from pos3.local.state_directory import LOCKS, STATE_DIRECTORY, lies_in_state, state_directory_around, state_directory_of
from pos3.local.temporary import has_temporary_name, is_temporary, remove_abandoned, temporary_name
from pos3.local.threads import StopAt, bounded, call_within, can_start
from pos3.local.tree import Scan, existing_parent, ignores_case, local_entries, path_room_bytes

__all__ = [
    "BLOCK_BYTES",
    "LOCKS",
    "NARROW",
    "NO_HOME",
    "STATE_DIRECTORY",
    "ForeignFileError",
    "Scan",
    "StopAt",
    "are_nested",
    "blocks",
    "bounded",
    "call_within",
    "can_start",
    "create_file",
    "directory_problem",
    "encoding_problem",
    "existing_parent",
    "expanded",
    "has_temporary_name",
    "ignores_case",
    "is_below",
    "is_file_name",
    "is_running",
    "is_temporary",
    "is_trusted",
    "is_within",
    "is_within_relative",
    "lies_in_cache",
    "lies_in_state",
    "local_entries",
    "make_private",
    "open_file",
    "open_lock",
    "open_own",
    "path_room_bytes",
    "read_at",
    "read_settings",
    "relative",
    "remove_abandoned",
    "state_directory_around",
    "state_directory_of",
    "tell_once",
    "temporary_name",
    "write_all",
    "write_blocks_at",
]
