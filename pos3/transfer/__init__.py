"""Carries out a plan: first copies, then ``upload_last`` and directory objects, then deletes, then empty directories.

A download is written beside its target, verified, and renamed over it. So a reader sees either the old bytes or the new
bytes. Files are deleted only if every copy succeeded.
"""

from pos3.transfer.executor import execute, growth_bytes
from pos3.transfer.local_errors import explaining_read_errors, explaining_write_errors
from pos3.transfer.progress import (
    LogProgress,
    OpenProgress,
    Progress,
    Tell,
    above_bars,
    choose_progress,
    choose_tell,
    silent,
    unsaid,
)
from pos3.transfer.rate import Rates
from pos3.transfer.resuming import clear_unfinished
from pos3.transfer.terms import Markers, Outcome, Pair, Terms

__all__ = [
    "LogProgress",
    "Markers",
    "OpenProgress",
    "Outcome",
    "Pair",
    "Progress",
    "Rates",
    "Tell",
    "Terms",
    "above_bars",
    "choose_progress",
    "choose_tell",
    "clear_unfinished",
    "execute",
    "explaining_read_errors",
    "explaining_write_errors",
    "growth_bytes",
    "silent",
    "unsaid",
]
