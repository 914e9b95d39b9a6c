"""Mirrors: the objects that users hold, the ways to open one, and the lookup of a call's mirror.

A mirror keeps registrations, each place once, and pushes them in the background and at its end. :mod:`pos3.jobs` does
the work of one registration. Pickled paths name :func:`pos3.mirrors.arrived`, so it must stay importable.
"""

from pos3.mirrors.context import ListFunction, MirrorLike, activate, current_mirror
from pos3.mirrors.function_kinds import of_same_kind
from pos3.mirrors.network import network_of
from pos3.mirrors.opening import open_mirror
from pos3.mirrors.paths import (
    MirroredPath,
    arrive,
    arrived,
    arriving_reference,
    as_mirrored,
    has_arriving,
    is_arriving,
    origin_of_foreign,
    path_of_url,
    reference_to_travel,
)
from pos3.mirrors.verbs import Mirror
from pos3.mirrors.with_block import mirror, with_mirror

__all__ = [
    "ListFunction",
    "Mirror",
    "MirrorLike",
    "MirroredPath",
    "activate",
    "arrive",
    "arrived",
    "arriving_reference",
    "as_mirrored",
    "current_mirror",
    "has_arriving",
    "is_arriving",
    "mirror",
    "network_of",
    "of_same_kind",
    "open_mirror",
    "origin_of_foreign",
    "path_of_url",
    "reference_to_travel",
    "with_mirror",
]
