"""Finds the mirror to which a call of a public function belongs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any, Protocol

from pos3 import frameworks
from pos3.errors import NoMirrorError
from pos3.jobs import Reference
from pos3.mirrors.paths import restore_with
from pos3.mirrors.verbs import Mirror, open_mirrors
from pos3.parts import Part
from pos3.plan import TransferPlan, TwoWayPlan
from pos3.reports import Report


class MirrorLike(Protocol):
    """The interface that the public functions need: a :class:`Mirror`, or a proxy for one of another process.

    The methods take the same arguments as those of :class:`Mirror`.
    """

    @property
    def is_open(self) -> bool: ...

    @property
    def download(self) -> Callable[..., Path]: ...

    @property
    def upload(self) -> Callable[..., Path]: ...

    @property
    def sync(self) -> Callable[..., Path]: ...

    @property
    def bisync(self) -> Callable[..., Path]: ...

    @property
    def publish(self) -> Callable[..., Path]: ...

    @property
    def ls(self) -> Callable[..., list[Any]]: ...

    @property
    def flush(self) -> Callable[..., Report]: ...

    @property
    def report(self) -> Callable[[], Report]: ...

    @property
    def fingerprint(self) -> Callable[..., str | None]: ...

    @property
    def partition(self) -> Callable[..., list[Part]]: ...

    @property
    def url_of(self) -> Callable[..., str | None]: ...

    @property
    def reference(self) -> Callable[..., Reference | None]: ...

    @property
    def restore(self) -> Callable[..., Path]: ...

    @property
    def plan_download(self) -> Callable[..., TransferPlan]: ...

    @property
    def plan_upload(self) -> Callable[..., TransferPlan]: ...

    @property
    def plan_bisync(self) -> Callable[..., TwoWayPlan]: ...


_active: ContextVar[MirrorLike | None] = ContextVar("pos3_active_mirror", default=None)
# It does not depend on the context: notebooks run each cell in a context or a task of its own.
_default: MirrorLike | None = None


def current_mirror() -> MirrorLike:
    """The mirror of this context, else the one that a framework gives for this call, else that of the whole program.

    That is the one that :func:`pos3.open_mirror` has opened, else the only open one.

    A framework is asked if it is loaded and an entry point of the group ``pos3.mirrors`` has the name of its package.
    The entry point is a function that returns a mirror or None.

    Raises:
        NoMirrorError: no mirror is open, or several are and this thread belongs to none of them.
    """
    here = _mirror_of_context()
    if here is not None:
        return here
    default = default_mirror()
    if default is not None:
        return default
    candidates = open_mirrors()
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise NoMirrorError(
            f"{len(candidates)} mirrors are open and this thread belongs to none of them; start the thread with "
            "contextvars.copy_context().run, or use the object that 'with pos3.mirror() as m:' gives"
        )
    raise NoMirrorError(
        "no mirror is open; call this inside 'with pos3.mirror():', or in a notebook after 'pos3.open_mirror()'"
    )


def _mirror_of_context() -> MirrorLike | None:
    """The mirror of this context, else the one that a framework gives for this call, or None."""
    active = active_mirror()
    if active is not None:
        return active
    for find_mirror in frameworks.functions_of(frameworks.MIRRORS):
        found: MirrorLike | None = find_mirror()
        if found is not None:
            return found
    return None


def _mirror_for_arrival(in_context: bool) -> MirrorLike | None:
    try:
        return _mirror_of_context() if in_context else current_mirror()
    except NoMirrorError:
        return None


restore_with(_mirror_for_arrival)


def active_mirror() -> MirrorLike | None:
    """The mirror of this context, if it is open."""
    active = _active.get()
    return active if active is not None and active.is_open else None


def default_mirror() -> MirrorLike | None:
    """The mirror of calls that belong to no other, if it is open."""
    return _default if _default is not None and _default.is_open else None


def set_default_mirror(opened: MirrorLike) -> None:
    """From now on, ``opened`` is the mirror of calls that belong to no other. This keeps it alive."""
    global _default
    _default = opened


@contextlib.contextmanager
def activate(opened: MirrorLike) -> Iterator[MirrorLike]:
    """Inside the block, the calls of this context use this open mirror. It is neither opened nor closed here."""
    token = enter(opened)
    try:
        yield opened
    finally:
        leave(token)


def enter(opened: MirrorLike) -> Token[MirrorLike | None]:
    """Makes ``opened`` the mirror of this context until :func:`leave`."""
    return _active.set(opened)


def leave(token: Token[MirrorLike | None]) -> None:
    """Undoes :func:`enter`."""
    try:
        _active.reset(token)
    except ValueError:
        # Generators and async fixtures may enter in one context and leave in another.
        _active.set(None)


__all__ = [
    "Mirror",
    "MirrorLike",
    "activate",
    "active_mirror",
    "current_mirror",
    "default_mirror",
    "enter",
    "leave",
    "set_default_mirror",
]
