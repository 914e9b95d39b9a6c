"""What users hold: a mirror with its verbs, the block that opens one, and which mirror a call belongs to.

A mirror has registrations, keeps each of them once, pushes in the background and at its end. How one registration does
its work is for :mod:`pos3.jobs`.
"""

from pos3.mirrors.context import MirrorLike, activate, current_mirror
from pos3.mirrors.function_kinds import of_same_kind
from pos3.mirrors.verbs import Mirror
from pos3.mirrors.with_block import mirror, with_mirror

__all__ = [
    "Mirror",
    "MirrorLike",
    "activate",
    "current_mirror",
    "mirror",
    "of_same_kind",
    "with_mirror",
]
