"""pos3 makes S3 as simple as local files.

>>> import pos3
>>> with pos3.mirror():                                               # doctest: +SKIP
...     data = pos3.download("s3://bucket/data")                      # a pathlib.Path with the files of S3
...     logs = pos3.upload("s3://bucket/logs/run-7", interval=30)     # pushed every 30 s, and at the end

``pos3.mirror`` opens a mirror. The functions that copy, list or plan need an open mirror:

- ``download``, ``upload``, ``sync``, ``bisync`` and ``publish`` copy files between a local path and a URL.
- ``ls``, ``fingerprint`` and ``partition`` read the store and change nothing.
- ``plan_download``, ``plan_upload`` and ``plan_bisync`` return what a call would do, and change nothing.

``help(pos3.download)`` explains one function, and ``pos3 --help`` explains the command line. The documentation is
README.md and the directory ``docs`` of the source. The source distribution contains both.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from pos3.api import (
        Mirror,
        MirrorLike,
        activate,
        bisync,
        current_mirror,
        download,
        fingerprint,
        flush,
        ls,
        mirror,
        open_mirror,
        partition,
        plan_bisync,
        plan_download,
        plan_upload,
        publish,
        reference,
        report,
        restore,
        sync,
        upload,
        url_of,
        with_mirror,
    )
    from pos3.errors import (
        AccessDeniedError,
        BucketNotFoundError,
        ClaimError,
        ConflictError,
        CredentialsError,
        EndpointError,
        FingerprintMismatchError,
        IncompleteSetError,
        IntegrityError,
        InvalidArgumentError,
        InvalidURLError,
        LocalChangedError,
        NoMirrorError,
        NoSpaceError,
        NotPushedError,
        ObjectChangedError,
        OfflineError,
        PlanRefusedError,
        Pos3Error,
        ProfileError,
        PushTimeoutError,
        RemoteNotFoundError,
        StoreError,
        TransferCancelledError,
        TransferError,
        UnsafeKeysError,
        VersionsDeletedError,
    )
    from pos3.jobs import Listed, Observer, Recovered, Reference, Registered, recover
    from pos3.options import MirrorOptions
    from pos3.parts import Part
    from pos3.plan import TransferPlan, TwoWayPlan
    from pos3.profiles import Profile, register_profile
    from pos3.reports import Kept, Report, format_bytes
    from pos3.transfer import LogProgress, OpenProgress, Progress

# Importing pos3 costs next to nothing: what it offers is loaded when the first name of it is used.
_HOMES = (
    "pos3.api",
    "pos3.errors",
    "pos3.jobs",
    "pos3.options",
    "pos3.parts",
    "pos3.plan",
    "pos3.profiles",
    "pos3.reports",
    "pos3.transfer",
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module 'pos3' has no attribute {name!r}")
    homes = [importlib.import_module(home) for home in _HOMES]
    for public in __all__:
        globals()[public] = next(getattr(home, public) for home in homes if hasattr(home, public))
    return globals()[name]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pos3")
    except PackageNotFoundError:
        # A source tree on PYTHONPATH.
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


class _Package(ModuleType):
    """The package itself, so that it can be pickled."""

    def __reduce__(self) -> tuple[object, ...]:
        """By its name, as cloudpickle does with plain modules; it takes along what the code of a flow uses."""
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package

__all__ = [
    "AccessDeniedError",
    "BucketNotFoundError",
    "ClaimError",
    "ConflictError",
    "CredentialsError",
    "EndpointError",
    "FingerprintMismatchError",
    "IncompleteSetError",
    "IntegrityError",
    "InvalidArgumentError",
    "InvalidURLError",
    "Kept",
    "Listed",
    "LocalChangedError",
    "LogProgress",
    "Mirror",
    "MirrorLike",
    "MirrorOptions",
    "NoMirrorError",
    "NoSpaceError",
    "NotPushedError",
    "ObjectChangedError",
    "Observer",
    "OfflineError",
    "OpenProgress",
    "Part",
    "PlanRefusedError",
    "Pos3Error",
    "Profile",
    "ProfileError",
    "Progress",
    "PushTimeoutError",
    "Recovered",
    "Reference",
    "Registered",
    "RemoteNotFoundError",
    "Report",
    "StoreError",
    "TransferCancelledError",
    "TransferError",
    "TransferPlan",
    "TwoWayPlan",
    "UnsafeKeysError",
    "VersionsDeletedError",
    "activate",
    "bisync",
    "current_mirror",
    "download",
    "fingerprint",
    "flush",
    "format_bytes",
    "ls",
    "mirror",
    "open_mirror",
    "partition",
    "plan_bisync",
    "plan_download",
    "plan_upload",
    "publish",
    "recover",
    "reference",
    "register_profile",
    "report",
    "restore",
    "sync",
    "upload",
    "url_of",
    "with_mirror",
]
