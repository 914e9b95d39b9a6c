"""The local machine: trees of files, temporary files, paths, home directories, private files of this user, threads.

This package knows neither stores nor plans. :mod:`pos3.state` keeps what pos3 remembers between runs.
"""

from pos3.local.encoding import ENCODING_HINT, encoding_problem, is_file_name
from pos3.local.files import (
    BLOCK_BYTES,
    blocks,
    create_file,
    open_file,
    read_at,
    reopen_file,
    write_all,
    write_blocks_at,
)
from pos3.local.home import NO_HOME, expanded
from pos3.local.machines import machine
from pos3.local.own_files import (
    ForeignFileError,
    directory_problem,
    is_trusted,
    make_private,
    open_lock,
    open_own,
    read_settings,
    warn_once,
)
from pos3.local.paths import are_nested, is_below, is_within, is_within_relative, lies_in_cache, relative
from pos3.local.pids import is_running
from pos3.local.state_directory import (
    LOCK_TEST_FILE,
    STATE_DIRECTORY,
    lies_in_state,
    state_directory_around,
    state_directory_of,
)
from pos3.local.temporary import (
    has_temporary_name,
    is_temporary,
    part_at,
    part_of,
    ranges_of,
    remove_abandoned,
    temporary_name,
)
from pos3.local.threads import DeadlineEvent, call_within, clamp_timeout, try_start
from pos3.local.tree import Scan, existing_parent, file_entry, ignores_case, local_entries, max_path_bytes_below
from pos3.local.writers import is_open_for_writing

__all__ = [
    "BLOCK_BYTES",
    "ENCODING_HINT",
    "LOCK_TEST_FILE",
    "NO_HOME",
    "STATE_DIRECTORY",
    "DeadlineEvent",
    "ForeignFileError",
    "Scan",
    "are_nested",
    "blocks",
    "call_within",
    "clamp_timeout",
    "create_file",
    "directory_problem",
    "encoding_problem",
    "existing_parent",
    "expanded",
    "file_entry",
    "has_temporary_name",
    "ignores_case",
    "is_below",
    "is_file_name",
    "is_open_for_writing",
    "is_running",
    "is_temporary",
    "is_trusted",
    "is_within",
    "is_within_relative",
    "lies_in_cache",
    "lies_in_state",
    "local_entries",
    "machine",
    "make_private",
    "max_path_bytes_below",
    "open_file",
    "open_lock",
    "open_own",
    "part_at",
    "part_of",
    "ranges_of",
    "read_at",
    "read_settings",
    "relative",
    "remove_abandoned",
    "reopen_file",
    "state_directory_around",
    "state_directory_of",
    "temporary_name",
    "try_start",
    "warn_once",
    "write_all",
    "write_blocks_at",
]
