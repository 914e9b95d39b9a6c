"""Finds the mirror to which a call of a public function belongs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from datetime import datetime
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from pos3 import frameworks
from pos3.errors import NoMirrorError
from pos3.jobs import Listed
from pos3.mirrors.paths import restore_with
from pos3.mirrors.verbs import Mirror, open_mirrors
from pos3.options import StrPath
from pos3.parts import Part
from pos3.profiles import Profile

P = ParamSpec("P")
R = TypeVar("R")


def _as_in_mirror(
    method: Callable[Concatenate[Mirror, P], R],
) -> Callable[[Callable[..., object]], Callable[Concatenate[Any, P], R]]:
    """Gives a method the signature and the docstring of a method of :class:`Mirror`, for type checkers too."""

    def with_signature(declared: Callable[..., object]) -> Callable[Concatenate[Any, P], R]:
        functools.update_wrapper(declared, method)
        return cast("Callable[Concatenate[Any, P], R]", declared)

    return with_signature


class ListFunction(Protocol):
    """The signature of :meth:`Mirror.ls`, whose result depends on ``details``."""

    @overload
    def __call__(
        self,
        prefix: StrPath | Part,
        recursive: bool = ...,
        profile: str | Profile | None = ...,
        *,
        as_of: datetime | str | None = ...,
        details: Literal[False] = ...,
    ) -> list[str]: ...

    @overload
    def __call__(
        self,
        prefix: StrPath | Part,
        recursive: bool = ...,
        profile: str | Profile | None = ...,
        *,
        as_of: datetime | str | None = ...,
        details: Literal[True],
    ) -> list[Listed]: ...


class MirrorLike(Protocol):
    """The interface of a mirror, as the public functions use it.

    A :class:`Mirror` has this interface, and so has a proxy of a mirror in another process. The methods take the same
    arguments as the methods of :class:`Mirror`.
    """

    @property
    def is_open(self) -> bool:
        """Whether the mirror is open."""
        ...

    @property
    def ls(self) -> ListFunction:
        """Lists a prefix, as :meth:`Mirror.ls` does."""
        ...

    @_as_in_mirror(Mirror.download)
    def download(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.upload)
    def upload(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.sync)
    def sync(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.bisync)
    def bisync(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.publish)
    def publish(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.flush)
    def flush(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.report)
    def report(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.fingerprint)
    def fingerprint(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.partition)
    def partition(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.url_of)
    def url_of(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.reference)
    def reference(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.restore)
    def restore(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.plan_download)
    def plan_download(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.plan_upload)
    def plan_upload(self, *args: Any, **options: Any) -> Any: ...

    @_as_in_mirror(Mirror.plan_bisync)
    def plan_bisync(self, *args: Any, **options: Any) -> Any: ...


_active: ContextVar[MirrorLike | None] = ContextVar("pos3_active_mirror", default=None)
# It does not depend on the context: notebooks run each cell in a context or a task of its own.
_default: MirrorLike | None = None


def current_mirror() -> MirrorLike:
    """Returns the mirror that the public functions use here. It is the first one of these that exists:

    - the mirror of this context, from ``with pos3.mirror():`` or :func:`pos3.activate`;
    - the mirror that a framework gives for this call, such as the mirror of a Prefect flow run;
    - the mirror that :func:`pos3.open_mirror` has opened;
    - the only open mirror of this process.

    A framework is asked if its package is loaded and an entry point of the group ``pos3.mirrors`` has the name of the
    package. The entry point is a function that returns a mirror or None.

    Raises:
        NoMirrorError: no mirror is open, or several are open and none belongs to this thread.
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
            f"{len(candidates)} mirrors are open, and this thread has none of its own; with the mirror m of "
            "'with pos3.mirror() as m:', call m.download() and so on, or use 'with pos3.activate(m):' in this thread"
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
    """Makes an open mirror the current mirror inside the block. The block neither opens nor closes it."""
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
