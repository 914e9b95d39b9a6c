"""Which mirror a call of the public functions belongs to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Protocol

from pos3 import frameworks
from pos3.errors import NoMirrorError
from pos3.jobs import Reference
from pos3.mirrors.verbs import Mirror, open_mirrors
from pos3.plan import TransferPlan, TwoWayPlan
from pos3.reports import Report


class MirrorLike(Protocol):
    """What the public functions need: a :class:`Mirror`, or what stands for one of another process.

    The methods take the arguments of those of :class:`Mirror`.
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
    def ls(self) -> Callable[..., list[str]]: ...

    @property
    def flush(self) -> Callable[..., Report]: ...

    @property
    def report(self) -> Callable[[], Report]: ...

    @property
    def fingerprint(self) -> Callable[..., str | None]: ...

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


def current_mirror() -> MirrorLike:
    """The mirror of this context; else the one that a framework names for this place; else the only open one.

    A framework is asked if it is loaded and its package has an entry point of the group ``pos3.mirrors``: the name is
    that of the framework's package, the value a function that returns a mirror or None.

    Raises:
        NoMirrorError: no mirror is open, or several are and this thread belongs to none of them.
    """
    here = active_mirror()
    if here is not None:
        return here
    for find in frameworks.functions_of(frameworks.MIRRORS):
        found: MirrorLike | None = find()
        if found is not None:
            return found
    candidates = open_mirrors()
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise NoMirrorError(
            f"{len(candidates)} mirrors are open and this thread belongs to none of them; start the thread with "
            "contextvars.copy_context().run, or use the object that 'with pos3.mirror() as m:' gives"
        )
    raise NoMirrorError("no mirror is open; call this inside 'with pos3.mirror():'")


def active_mirror() -> MirrorLike | None:
    """The mirror of this context, if it is open."""
    here = _active.get()
    return here if here is not None and here.is_open else None


@contextlib.contextmanager
def activate(opened: MirrorLike) -> Iterator[MirrorLike]:
    """Makes an open mirror the one that this context's calls use, without opening or closing it."""
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
        # Entered in one context and left in another, as generators and async fixtures do.
        _active.set(None)


__all__ = ["Mirror", "MirrorLike", "activate", "active_mirror", "current_mirror", "enter", "leave"]
