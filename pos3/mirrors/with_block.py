"""Opens and closes mirrors: the ``with`` statement :class:`mirror`, and the decorator :func:`with_mirror`."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from pos3.errors import InvalidArgumentError
from pos3.mirrors.context import active_mirror, enter, leave
from pos3.mirrors.function_kinds import of_same_kind
from pos3.mirrors.signals import sigterm_raises
from pos3.mirrors.verbs import Mirror
from pos3.options import MirrorOptions, OfflineChoice, StrPath
from pos3.profiles import Profile

P = ParamSpec("P")
R = TypeVar("R")


class mirror(contextlib.AbstractContextManager[Mirror]):  # noqa: N801 - reads as the verb that it is
    """Opens a mirror for the body of a ``with`` statement.

    If the body ends without an exception, everything that is registered for upload is pushed, and a failed push raises
    an error. If the body ends with an exception of any kind, only registrations with ``sync_on_error`` are pushed, and
    nothing is deleted.

    Mirrors can be nested. Threads, asyncio tasks and flow runs can each have their own mirror. If no other code handles
    SIGTERM, the signal ends the body like an exception.

    Options that are not given come from the environment: ``cache_root`` from ``POS3_CACHE_ROOT``, and so on.

    Args:
        cache_root: the directory for all data without an explicit local path.
        show_progress: show a bar on a terminal or in a notebook. Elsewhere, log lines about transfers that take 2 s or
            more. False shows nothing.
        max_workers: the most requests of one transfer at the same time. If it is not given, here or in the environment,
            pos3 finds a good number from 1 to 256 for S3. For other stores, it uses 10.
        default_profile: a profile or its name, for URLs that name no profile.
        max_upload_bytes_per_second: the most bytes a second of all uploads together. None means no limit.
        max_download_bytes_per_second: the most bytes a second of all downloads together. None means no limit.
        cache_limit: the most bytes in the cache, as a number or as a size such as "50GB". The mirror removes the least
            recently used data when it opens, after each download, and when it closes. It never removes data that is in
            use, changed or not pushed.
        shutdown_timeout: when the process is told to stop, the seconds for the pushes of ``sync_on_error``.
        output_root: the URL below which each flow run has its own directories. Only :func:`pos3.orchestration.run_dir`
            uses it.
        offline: with True, no request is sent. A download returns data that the cache holds completely, and raises an
            :class:`OfflineError` otherwise. Uploads are kept for the next mirror that can reach the store, or for
            ``pos3 recover``. With "auto", the mirror works in this way only while it cannot reach the endpoint.

    Raises:
        InvalidArgumentError, ProfileError: an option is wrong; nothing was changed.
    """

    def __init__(
        self,
        cache_root: StrPath = MirrorOptions.cache_root,
        show_progress: bool = MirrorOptions.show_progress,
        max_workers: int = MirrorOptions.max_workers,
        default_profile: str | Profile | None = MirrorOptions.default_profile,
        max_upload_bytes_per_second: float | None = MirrorOptions.max_upload_bytes_per_second,
        *,
        cache_limit: int | str | None = MirrorOptions.cache_limit,
        shutdown_timeout: float = MirrorOptions.shutdown_timeout,
        output_root: StrPath | None = MirrorOptions.output_root,
        max_download_bytes_per_second: float | None = MirrorOptions.max_download_bytes_per_second,
        offline: OfflineChoice = MirrorOptions.offline,
    ):
        if callable(cache_root):
            raise InvalidArgumentError(
                f"cache_root={cache_root!r}: expected a directory; as a decorator, write @pos3.with_mirror",
                argument="cache_root",
            )
        self._options = MirrorOptions(
            cache_root,
            show_progress,
            max_workers,
            default_profile,
            max_upload_bytes_per_second,
            cache_limit,
            shutdown_timeout,
            output_root,
            max_download_bytes_per_second,
            offline,
        )
        self._entered: dict[Mirror, contextlib.ExitStack] = {}

    def __enter__(self) -> Mirror:
        opened = Mirror(self._options.or_environment()).open()
        self._entered[opened] = stack = contextlib.ExitStack()
        stack.enter_context(sigterm_raises())
        stack.callback(leave, enter(opened))
        return opened

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorates a function, as :func:`with_mirror` does."""
        decorated = of_same_kind(function, _InMirror(function, self._new_block))
        return functools.wraps(function)(decorated)

    def _new_block(self) -> mirror:
        return mirror.of(self._options)

    @classmethod
    def of(cls, options: MirrorOptions) -> mirror:
        """The block of a mirror with these options. Options that were not given come from the environment."""
        block = cls()
        block._options = options
        return block

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened = self._innermost()
        try:
            opened.close(error)
        finally:
            self._entered.pop(opened).close()

    def _innermost(self) -> Mirror:
        """The mirror of this context if this object has opened it, else the mirror that this object opened last."""
        active = active_mirror()
        return active if isinstance(active, Mirror) and active in self._entered else list(self._entered)[-1]


@overload
def with_mirror(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def with_mirror(
    cache_root: StrPath = ...,
    show_progress: bool = ...,
    max_workers: int = ...,
    default_profile: str | Profile | None = ...,
    max_upload_bytes_per_second: float | None = ...,
    *,
    cache_limit: int | str | None = ...,
    shutdown_timeout: float = ...,
    output_root: StrPath | None = ...,
    max_download_bytes_per_second: float | None = ...,
    offline: OfflineChoice = ...,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def with_mirror(
    cache_root: StrPath | Callable[..., Any] = MirrorOptions.cache_root,
    show_progress: bool = MirrorOptions.show_progress,
    max_workers: int = MirrorOptions.max_workers,
    default_profile: str | Profile | None = MirrorOptions.default_profile,
    max_upload_bytes_per_second: float | None = MirrorOptions.max_upload_bytes_per_second,
    *,
    cache_limit: int | str | None = MirrorOptions.cache_limit,
    shutdown_timeout: float = MirrorOptions.shutdown_timeout,
    output_root: StrPath | None = MirrorOptions.output_root,
    max_download_bytes_per_second: float | None = MirrorOptions.max_download_bytes_per_second,
    offline: OfflineChoice = MirrorOptions.offline,
) -> Any:
    """Decorates a function so that each call runs in a mirror of its own.

    It works with and without parentheses, for sync and async functions, and for sync and async generators. The
    arguments are the same as for :func:`mirror`. They are checked at each call.
    """
    if not isinstance(cache_root, (str, os.PathLike)) and callable(cache_root):
        return mirror()(cache_root)
    return mirror(
        cache_root,
        show_progress,
        max_workers,
        default_profile,
        max_upload_bytes_per_second,
        cache_limit=cache_limit,
        shutdown_timeout=shutdown_timeout,
        output_root=output_root,
        max_download_bytes_per_second=max_download_bytes_per_second,
        offline=offline,
    )


class _InMirror:
    """Runs a function in a mirror of its own, each time it is called."""

    def __init__(self, function: Callable[..., Any], new_block: Callable[[], mirror]):
        self._function = function
        self._new_block = new_block

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._new_block():
            return self._function(*args, **kwargs)

    async def await_(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        async with _closed_in_thread(self._new_block()):
            return await self._function(*args, **kwargs)

    def generate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]:
        with self._new_block():
            return (yield from self._function(*args, **kwargs))

    async def agenerate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]:
        async with _closed_in_thread(self._new_block()):
            async for item in self._function(*args, **kwargs):
                yield item


class _closed_in_thread(contextlib.AbstractAsyncContextManager[Mirror]):  # noqa: N801
    """A mirror whose final push runs in a thread, so that the other tasks of the event loop go on."""

    def __init__(self, inner: mirror):
        self._inner = inner

    async def __aenter__(self) -> Mirror:
        self._opened = self._inner.__enter__()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        if not threading.main_thread().is_alive():
            # The interpreter is exiting, so the loop cannot start a thread any more.
            self._inner.__exit__(kind, error, traceback)
            return
        closing = asyncio.ensure_future(asyncio.to_thread(self._opened.close, error))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            # The push is finished first. The cancellation takes effect directly after it.
            await asyncio.wait([closing])
            raise
        finally:
            self._inner.__exit__(kind, error, traceback)
