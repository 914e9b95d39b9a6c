"""One mirror: what is registered, the background pushes, and what happens at its end."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pos3.cache import bound_cache
from pos3.errors import (
    ConflictError,
    InvalidArgumentError,
    InvalidURLError,
    NoMirrorError,
    PushTimeoutError,
    RemoteNotFoundError,
)
from pos3.filters import Filter, as_patterns
from pos3.index import Index
from pos3.limits import ByteRate, Unlimited
from pos3.link import Link, combined
from pos3.plan import Compare, Plan
from pos3.profiles import Profile, resolve_profile
from pos3.progress import OpenProgress, SilentProgress, choose_progress
from pos3.registration import (
    Registration,
    build_filter,
    check_conflicts,
    check_flag,
    check_interval,
    checked,
    local_root,
)
from pos3.report import Report, parse_bytes
from pos3.schedule import Schedule
from pos3.store import Store, UnsortedListingError, open_store
from pos3.transfer import Rate, Terms
from pos3.url import Location, is_url, local_path, parse

logger = logging.getLogger("pos3")
T = TypeVar("T")

DEFAULT_CACHE_ROOT = "~/.cache/positronic/s3/"
StrPath = str | os.PathLike[str]
Patterns = str | list[str] | tuple[str, ...] | None

_mirrors: weakref.WeakSet[Mirror] = weakref.WeakSet()


class Mirror:
    """Keeps local paths and remote places equal, from :meth:`open` to :meth:`close`.

    All methods may be called from any thread. Only the process that opened a mirror pushes or deletes; a forked child
    can still download. See :func:`pos3.mirror` for the arguments.
    """

    def __init__(
        self,
        cache_root: StrPath = DEFAULT_CACHE_ROOT,
        show_progress: bool = True,
        max_workers: int = 10,
        default_profile: str | Profile | None = None,
        max_upload_bytes_per_second: float | None = None,
        *,
        cache_limit: int | str | None = None,
        shutdown_timeout: float = 25.0,
        progress: OpenProgress | None = None,
    ):
        if not os.fspath(cache_root):
            raise InvalidArgumentError("cache_root='' is empty; expected a directory")
        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise InvalidArgumentError(f"max_workers={max_workers!r}: expected a whole number of at least 1")
        if isinstance(shutdown_timeout, bool) or not 0 < shutdown_timeout < math.inf:
            raise InvalidArgumentError(f"shutdown_timeout={shutdown_timeout!r}: expected seconds above 0")
        self.cache_root = os.path.realpath(os.path.expanduser(os.fspath(cache_root)))
        self._max_workers = max_workers
        self._default_profile = resolve_profile(default_profile)
        self._rate: Rate = Unlimited()
        if max_upload_bytes_per_second is not None:
            self._rate = ByteRate(max_upload_bytes_per_second)
        self._cache_limit_bytes = _cache_limit(cache_limit)
        self._shutdown_timeout_seconds = shutdown_timeout
        self._open_progress = progress or choose_progress(show_progress)
        # A bar of a background push would tear up whatever the terminal shows meanwhile.
        self._background_progress: OpenProgress = progress or (lambda title, files, size: SilentProgress())
        self._owner = uuid.uuid4().hex
        self._pid = os.getpid()
        self._state = "new"
        self._links: dict[tuple[Location, Profile | None], Link] = {}
        self._stores: dict[tuple[str, str, Profile | None], Store] = {}
        self._total = Report()
        self._running: set[threading.Event] = set()
        self._schedule = Schedule()
        self._make_locks()
        _mirrors.add(self)

    def _make_locks(self) -> None:
        self._lock = threading.RLock()
        self._registering: dict[tuple[Location, Profile | None], threading.Lock] = {}

    def _after_fork(self) -> None:
        """In the child: no lock may stay held by a thread that the fork left behind, and no connection be shared."""
        self._make_locks()
        self._stores = {}
        self._links = {}
        self._running = set()
        self._schedule = Schedule()

    def __repr__(self) -> str:
        return f"<pos3.Mirror {self._state}, cache_root={self.cache_root!r}, {len(self._links)} registered>"

    # Life

    @property
    def is_open(self) -> bool:
        return self._state == "open"

    def open(self) -> Mirror:
        """Makes the mirror usable. Nothing is created or asked for yet.

        Raises:
            NoMirrorError: it was opened before.
        """
        with self._lock:
            if self._state != "new":
                raise NoMirrorError(f"this mirror is {self._state} already; make a new one")
            self._state = "open"
        self._bound_cache()
        return self

    def close(self, error: BaseException | None = None) -> None:
        """Ends the mirror, once; further calls do nothing.

        Without ``error``, everything registered for upload is pushed and stale objects are deleted. With one, only what
        was registered with ``sync_on_error`` is pushed, nothing is deleted, and what fails is logged and added to
        ``error`` as a note. In a forked child nothing is pushed.

        Raises:
            TransferError: a final push failed (only without ``error``).
        """
        with self._lock:
            if self._state != "open":
                return
            self._state = "closing"
        try:
            if os.getpid() == self._pid:
                self._push_at_end(error)
        finally:
            with self._lock:
                self._state = "closed"
                links = list(self._links.values())
            for link in links:
                link.end_use()
            self._bound_cache()

    def _push_at_end(self, error: BaseException | None) -> None:
        pushing = [link for link in self._links.values() if link.registration.pushes]
        if error is None:
            self._schedule.stop()
        else:
            self._stop_transfers()
            self._schedule.stop(timeout_seconds=10)
            pushing = [link for link in pushing if link.registration.sync_on_error]
        with self._deadline(error):
            failures = self._push_finally(pushing, delete=error is None)
        if error is None and failures:
            raise combined(failures) from failures[0]
        if error is not None:
            for link in self._links.values():
                failures += link.failed_pushes[-1:]
            for failure in failures:
                logger.error("after %s: %s", type(error).__name__, failure)
                error.add_note(f"pos3: {failure}")

    def _push_finally(self, links: list[Link], *, delete: bool) -> list[Exception]:
        failures: list[Exception] = []
        for link in links:
            try:
                with self._terms(self._open_progress) as terms:
                    self._add(link.push_finally(terms, delete=delete))
                link.failed_pushes.clear()
            except Exception as failure:
                failures.append(failure)
        return failures

    @contextmanager
    def _deadline(self, error: BaseException | None) -> Iterator[None]:
        """When the process is being stopped from outside, pushes get only so long."""
        if error is None or isinstance(error, Exception):
            yield
            return
        timer = threading.Timer(self._shutdown_timeout_seconds, self._stop_transfers)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _stop_transfers(self) -> None:
        with self._lock:
            for event in self._running:
                event.set()

    @contextmanager
    def _terms(self, progress: OpenProgress) -> Iterator[Terms]:
        cancelled = threading.Event()
        with self._lock:
            self._running.add(cancelled)
        try:
            yield Terms(self._max_workers, self._rate, progress, cancelled, self._owner)
        finally:
            with self._lock:
                self._running.discard(cancelled)

    def _add(self, report: Report) -> Report:
        with self._lock:
            self._total += report
        return report

    def _bound_cache(self) -> None:
        if self._cache_limit_bytes is not None:
            bound_cache(self.cache_root, self._cache_limit_bytes)

    # Registration

    def _check_open(self) -> None:
        if self._state != "open":
            raise NoMirrorError(f"this mirror is {self._state}; use it inside 'with pos3.mirror():'")

    def _resolve(self, url: str, profile: str | Profile | None) -> tuple[Location, Profile | None]:
        location = parse(url)
        resolved = resolve_profile(profile, url_profile=location.profile)
        return location, resolved if resolved is not None else self._default_profile

    def _store(self, location: Location, profile: Profile | None) -> Store:
        key = (location.scheme, location.bucket, profile)
        with self._lock:
            store = self._stores.get(key)
            if store is None:
                store = self._stores[key] = open_store(location, profile, self._max_workers)
            return store

    def _link(self, registration: Registration) -> Link:
        store = self._store(registration.location, registration.profile)
        index = Index(self.cache_root, registration.local)
        return Link(registration, store, index, self.cache_root, self._owner)

    def _register(self, wanted: Registration, begin: Callable[[Link], None]) -> Path:
        """Registers once, and lets whoever asks for the same meanwhile wait for it.

        ``begin`` does the work of the registration; if it raises, nothing is registered.
        """
        self._check_open()
        checked(wanted)
        key = (wanted.location, wanted.profile)
        with self._lock:
            gate = self._registering.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                existing = self._links.get(key)
                if existing is not None:
                    if existing.registration == wanted:
                        return Path(wanted.local)
                    if existing.registration.kind == wanted.kind:
                        raise ConflictError(f"{wanted.location} is registered already, with different parameters")
                others = [link.registration for link in self._links.values()]
                check_conflicts(wanted, others)
                link = self._link(wanted)
                # Others must see it as taken while the work goes on without the lock.
                self._links[key] = link
            try:
                begin(link)
            except BaseException:
                with self._lock:
                    self._links.pop(key, None)
                link.end_use()
                raise
        return Path(wanted.local)

    def download(
        self,
        remote: StrPath,
        local: StrPath | None = None,
        delete: bool = True,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        max_delete: int | str | None = None,
        missing_ok: bool = False,
        adopt: bool = False,
    ) -> Path:
        """See :func:`pos3.download`."""
        self._check_open()
        if not is_url(remote):
            return _passed_through(remote, missing_ok)
        location, resolved = self._resolve(str(remote), profile)
        wanted = Registration(
            "download",
            location,
            resolved,
            local_root(location, local, self.cache_root, resolved),
            build_filter(include, exclude),
            compare,
            max_delete,
            download_delete=check_flag("delete", delete),
        )

        def begin(link: Link) -> None:
            link.begin_use()
            self._fetch(link, missing_ok=missing_ok, adopt=adopt)

        path = self._register(wanted, begin)
        self._bound_cache()
        return path

    def _fetch(self, link: Link, *, missing_ok: bool, adopt: bool) -> None:
        try:
            with self._terms(self._open_progress) as terms:
                self._add(link.download(terms, adopt=adopt))
        except RemoteNotFoundError:
            if not missing_ok:
                raise
            # The bucket must exist all the same; only what lies in it may be missing.
            link.take_stock()
            link.prepare_local()

    def upload(
        self,
        remote: StrPath,
        local: StrPath | None = None,
        interval: float | None = 300,
        delete: bool = True,
        sync_on_error: bool = False,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        max_delete: int | str | None = None,
        upload_last: Patterns = None,
        overwrite: Patterns = None,
        follow_symlinks: bool = True,
    ) -> Path:
        """See :func:`pos3.upload`."""
        self._check_open()
        interval_seconds = check_interval(interval)
        if not is_url(remote):
            path = Path(os.path.realpath(local_path(remote)))
            path.mkdir(parents=True, exist_ok=True)
            return path
        location, resolved = self._resolve(str(remote), profile)
        wanted = Registration(
            "upload",
            location,
            resolved,
            local_root(location, local, self.cache_root, resolved),
            build_filter(include, exclude),
            compare,
            max_delete,
            upload_delete=check_flag("delete", delete),
            interval_seconds=interval_seconds,
            sync_on_error=check_flag("sync_on_error", sync_on_error),
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
        )

        def begin(link: Link) -> None:
            survey = link.take_stock()
            if survey.is_object and not location.is_prefix and os.path.isdir(wanted.local):
                raise ConflictError(
                    f"{location} is an object, but {wanted.local} is a directory; write '{location}/' to upload below it"
                )
            link.begin_use()
            link.prepare_local()
            self._push_every(interval_seconds, link)

        return self._register(wanted, begin)

    def sync(
        self,
        remote: StrPath,
        local: StrPath | None = None,
        interval: float | None = 300,
        delete_local: bool = True,
        delete_remote: bool = True,
        sync_on_error: bool = False,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        max_delete: int | str | None = None,
        upload_last: Patterns = None,
        overwrite: Patterns = None,
        follow_symlinks: bool = True,
        adopt: bool = False,
    ) -> Path:
        """See :func:`pos3.sync`."""
        self._check_open()
        interval_seconds = check_interval(interval)
        if not is_url(remote):
            return _passed_through(remote, missing_ok=False)
        location, resolved = self._resolve(str(remote), profile)
        wanted = Registration(
            "sync",
            location,
            resolved,
            local_root(location, local, self.cache_root, resolved),
            build_filter(include, exclude),
            compare,
            max_delete,
            download_delete=check_flag("delete_local", delete_local),
            upload_delete=check_flag("delete_remote", delete_remote),
            interval_seconds=interval_seconds,
            sync_on_error=check_flag("sync_on_error", sync_on_error),
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
        )

        def begin(link: Link) -> None:
            survey = link.take_stock()
            link.begin_use()
            if survey.is_object or survey.is_prefix:
                self._fetch(link, missing_ok=True, adopt=adopt)
            link.prepare_local()
            self._push_every(interval_seconds, link)

        return self._register(wanted, begin)

    # Pushes

    def _push_every(self, interval_seconds: float | None, link: Link) -> None:
        if interval_seconds is not None and os.getpid() == self._pid:
            self._schedule.every(interval_seconds, lambda: self._push_in_background(link))

    def _push_in_background(self, link: Link) -> None:
        if self._state != "open":
            return
        try:
            self._push(link, self._background_progress)
            link.failed_pushes.clear()
        except Exception as error:
            link.failed_pushes.append(error)
            logger.warning("background push %d of %s failed: %s", len(link.failed_pushes), link.registration, error)

    def _push(self, link: Link, progress: OpenProgress) -> Report:
        with self._terms(progress) as terms:
            return self._add(link.push(terms))

    def flush(self, path_or_url: StrPath | None = None, timeout: float | None = None) -> Report:
        """See :func:`pos3.flush`."""
        self._check_open()
        if os.getpid() != self._pid:
            return Report()
        links = self._chosen(path_or_url)
        total = Report()
        failures: list[Exception] = []

        def push_all() -> Report:
            nonlocal total
            for link in links:
                try:
                    total += self._push(link, self._open_progress)
                except Exception as error:
                    failures.append(error)
            return total

        if timeout is None:
            push_all()
        else:
            _within(timeout, push_all, f"the push of {', '.join(str(link.registration) for link in links)}")
        if failures:
            raise combined(failures) from failures[0]
        return total

    def _chosen(self, path_or_url: StrPath | None) -> list[Link]:
        with self._lock:
            pushing = [link for link in self._links.values() if link.registration.pushes]
        if path_or_url is None:
            return pushing
        if is_url(path_or_url):
            location = parse(str(path_or_url))
            chosen = [link for link in pushing if location.overlaps(link.registration.location)]
        else:
            path = os.path.realpath(local_path(path_or_url))
            chosen = [link for link in pushing if f"{path}/".startswith(f"{link.registration.local}/")]
        if not chosen:
            registered = ", ".join(str(link.registration) for link in pushing) or "nothing"
            raise InvalidArgumentError(f"{str(path_or_url)!r} is not registered for upload (registered: {registered})")
        return chosen

    # Questions

    def report(self) -> Report:
        """See :func:`pos3.report`."""
        with self._lock:
            return self._total

    def ls(self, prefix: StrPath, recursive: bool = False, profile: str | Profile | None = None) -> list[str]:
        """See :func:`pos3.ls`."""
        self._check_open()
        if not is_url(prefix):
            return _ls_local(prefix, recursive)
        location, resolved = self._resolve(str(prefix), profile)
        store = self._store(location, resolved)
        if recursive:
            return [location.child(path) for path in _with_directories(_listed(store, location))]
        if location.key and not location.is_prefix and store.survey(location.key).is_object:
            return [str(location)]
        return [location.child(entry.path.rstrip("/")) for entry in store.children(location.key)]

    def plan_download(
        self,
        remote: str,
        local: StrPath | None = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        delete: bool = True,
    ) -> tuple[Registration, Plan]:
        """The plan of a download, with its registration; nothing is changed."""
        wanted = self._dry("download", remote, local, build_filter(include, exclude), profile, compare)
        return wanted, self._link(wanted).plan_download(delete=delete)

    def plan_upload(
        self,
        remote: str,
        local: StrPath | None = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        delete: bool = True,
    ) -> tuple[Registration, Plan]:
        """The plan of an upload, with its registration; nothing is changed."""
        wanted = self._dry("upload", remote, local, build_filter(include, exclude), profile, compare)
        return wanted, self._link(wanted).plan_upload(delete=delete)

    def _dry(
        self,
        kind: Any,
        remote: str,
        local: StrPath | None,
        chosen: Filter,
        profile: str | Profile | None,
        compare: Compare,
    ) -> Registration:
        self._check_open()
        if not is_url(remote):
            raise InvalidURLError(f"a plan needs a remote URL such as 's3://bucket/key', got {str(remote)!r}")
        location, resolved = self._resolve(str(remote), profile)
        root = local_root(location, local, self.cache_root, resolved)
        return checked(Registration(kind, location, resolved, root, chosen, compare, None))


def _passed_through(address: StrPath, missing_ok: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not missing_ok and not path.exists():
        raise RemoteNotFoundError(f"{os.fspath(address)!r} is taken as a local path, and nothing is there")
    return path


def _cache_limit(limit: int | str | None) -> int | None:
    if limit is None:
        return None
    try:
        size_bytes = parse_bytes(limit)
    except ValueError as error:
        raise InvalidArgumentError(f"cache_limit={limit!r}: {error}") from None
    if isinstance(limit, bool) or size_bytes < 0:
        raise InvalidArgumentError(f"cache_limit={limit!r}: expected bytes, or a size such as '50GB'")
    return size_bytes


def _within(timeout_seconds: float, call: Callable[[], object], what: str) -> None:
    thread = threading.Thread(target=call, name="pos3-flush", daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(max(0.0, timeout_seconds))
    if thread.is_alive():
        raise PushTimeoutError(f"{what} did not end within {time.monotonic() - began:.0f} s; it goes on")


def _listed(store: Store, location: Location) -> list[str]:
    def paths() -> list[str]:
        return [entry.path for entry in store.entries(location.key, is_prefix=location.is_prefix)]

    try:
        return paths()
    except UnsortedListingError:
        return paths()


def _with_directories(paths: list[str]) -> list[str]:
    found = set()
    for path in paths:
        path = path.rstrip("/")
        found.add(path)
        while "/" in path:
            path = path.rpartition("/")[0]
            found.add(path)
    return sorted(found)


def _ls_local(address: StrPath, recursive: bool) -> list[str]:
    shown = Path(os.path.expanduser(os.fspath(address).removeprefix("file://")))
    if not shown.is_dir():
        return []
    children = shown.rglob("*") if recursive else shown.iterdir()
    return sorted(str(child) for child in children)


def open_mirrors() -> list[Mirror]:
    """The mirrors of this process that are open now."""
    return [mirror for mirror in list(_mirrors) if mirror.is_open]


def _after_fork_in_child() -> None:
    for mirror in list(_mirrors):
        mirror._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
