"""Opens the mirror of a notebook or an interactive session, which has no single block of code."""

from __future__ import annotations

import threading
from dataclasses import fields

from pos3.errors import InvalidArgumentError
from pos3.mirrors.context import default_mirror, set_default_mirror
from pos3.mirrors.verbs import Mirror
from pos3.options import MirrorOptions, OfflineChoice, StrPath
from pos3.profiles import Profile

_lock = threading.Lock()


def open_mirror(
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
) -> Mirror:
    """Opens a mirror for a notebook or an interactive session. All later calls use it, until its ``close()``.

    ``close()`` pushes everything that is registered for upload, and deletes stale objects. The end of a ``with``
    statement does the same. If the kernel stops or restarts before ``close()``, nothing is deleted. The exit pushes as
    much as it can, and ``pos3 recover`` pushes the rest.

    All cells, threads and asyncio tasks use the same mirror. Inside ``with pos3.mirror():`` and inside a flow run,
    calls use the mirror of that block or run. A second call with the same options returns the open mirror, so you can
    run a cell again.

    The arguments are the same as for :func:`pos3.mirror`.

    Raises:
        InvalidArgumentError: an option is wrong, or this function has opened a mirror with other options that is still
            open. Nothing was changed.
        ProfileError: the profile is not known. Nothing was changed.
    """
    options = MirrorOptions(
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
    ).or_environment()
    with _lock:
        present = default_mirror()
        if isinstance(present, Mirror) and not present.is_forked_child:
            _check_same_options(present.options, options)
            return present
        opened = Mirror(options).open()
        set_default_mirror(opened)
        return opened


def _check_same_options(present: MirrorOptions, asked: MirrorOptions) -> None:
    names = (item.name for item in fields(MirrorOptions))
    differing = next((name for name in names if getattr(present, name) != getattr(asked, name)), None)
    if differing is not None:
        raise InvalidArgumentError(
            f"{differing}={getattr(asked, differing)!r}: a mirror with {differing}={getattr(present, differing)!r} is "
            "open; close() it first, or use 'with pos3.mirror(...):' for another one",
            argument=differing,
        )
