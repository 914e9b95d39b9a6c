"""Remembers which local paths of this process mirror which URLs, also after the mirrors that said so have ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from pos3.jobs.references import Reference, reference_in, with_local_state
from pos3.jobs.registration import Registration
from pos3.local import relative
from pos3.profiles import Profile

# This limits the memory of a process that runs for weeks.
_MAX_ROOTS = 10_000


@dataclass(frozen=True)
class RegisteredRoot:
    """The local path of a registration. ``is_open`` tells whether its mirror still pushes what is written there."""

    registration: Registration
    cache_root: str
    default_profile: Profile | None
    is_open: Callable[[], bool]

    @property
    def is_pushed(self) -> bool:
        return self.registration.pushes and self.is_open()

    def is_same(self, other: Root) -> bool:
        return (
            isinstance(other, RegisteredRoot)
            and self.registration is other.registration
            and self.is_open is other.is_open
        )

    def reference(self, path: str) -> Reference | None:
        return reference_in(
            self.registration, path, self.cache_root, self.default_profile, _no_endpoint, is_open=self.is_open()
        )


@dataclass(frozen=True)
class ReceivedRoot:
    """The local path of a reference that has come from another process of this machine."""

    root: Reference

    @property
    def is_pushed(self) -> bool:
        return self.root.upload is not None

    def is_same(self, other: Root) -> bool:
        return self == other

    def reference(self, path: str) -> Reference | None:
        return replace(self.root, path=relative(path, self.root.root))


Root = RegisteredRoot | ReceivedRoot
_roots: dict[str, Root] = {}
_lock = threading.Lock()


def remember(local: str, root: Root) -> None:
    """Remembers a local path. A path that a mirror pushes stays one while that mirror is open."""
    known = _roots.get(local)
    if known is not None and known.is_same(root):
        return
    with _lock:
        known = _roots.pop(local, None)
        _roots[local] = known if known is not None and known.is_pushed and not root.is_pushed else root
        if len(_roots) > _MAX_ROOTS:
            del _roots[next(iter(_roots))]


def reference_of(path: str) -> Reference | None:
    """The reference of a local path, from the innermost known path that contains it, or None."""
    absolute = os.path.abspath(path)
    return _reference_of(absolute) or _reference_of(os.path.realpath(absolute))


def _reference_of(path: str) -> Reference | None:
    at = path
    while True:
        root = _roots.get(at)
        if root is not None:
            reference = root.reference(path)
            return with_local_state(reference) if reference is not None else None
        above = os.path.dirname(at)
        if above == at:
            return None
        at = above


def _no_endpoint(_scheme: str, _profile: Profile | None) -> None:
    """The endpoint of a reference that travels is looked up where it arrives."""
