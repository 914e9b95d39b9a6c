"""One mirror: what is registered, the background pushes, and what happens at its end."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pos3.cache import bound_cache
from pos3.engine import Engine
from pos3.errors import (
    IncompleteSetError,
    InvalidArgumentError,
    InvalidURLError,
    NoMirrorError,
    PushTimeoutError,
    RemoteNotFoundError,
)
from pos3.filters import Filter, as_patterns
from pos3.fingerprint import fingerprint_of_objects
from pos3.index import Index
from pos3.journal import Journal, settle
from pos3.limits import ByteRate, Unlimited
from pos3.link import Link, combined
from pos3.ls import list_local, list_remote
from pos3.manifest import check_marker
from pos3.observer import Observer, Registered, Unobserved
from pos3.options import MirrorOptions, StrPath
from pos3.plan import Compare, Plan
from pos3.profiles import Profile, resolve_profile
from pos3.progress import OpenProgress, choose_progress, silent
from pos3.publication import CompleteLink, PublishingLink
from pos3.references import Reference, refer
from pos3.registration import (
    Registration,
    build_filter,
    check_flag,
    check_interval,
    checked,
    local_root,
)
from pos3.registry import Registry
from pos3.report import Report
from pos3.store import Store, open_store
from pos3.transfer import Rate, Terms
from pos3.url import Location, is_url, local_path, parse

logger = logging.getLogger("pos3")

AnyLink = TypeVar("AnyLink", bound=Link)
Patterns = str | list[str] | tuple[str, ...] | None

_mirrors: weakref.WeakSet[Mirror] = weakref.WeakSet()


class Mirror:
    """Keeps local paths and remote places equal, from :meth:`open` to :meth:`close`.

    All methods may be called from any thread. Only the process that opened a mirror pushes or deletes; a forked child
    can still download.

    Args:
        options: the arguments of :func:`pos3.mirror`; the environment is not asked.
        progress: how transfers show that they go on; None for the usual way.
        background_progress: how background pushes do; not at all unless given, as a bar would tear up whatever else
            the terminal shows.
        observer: is told of registrations and transfers.
        label: what :func:`pos3.recover` calls the mirror, and can look for, if its process dies.

    Raises:
        InvalidArgumentError, ProfileError: before anything is changed.
    """

    def __init__(
        self,
        options: MirrorOptions | None = None,
        *,
        progress: OpenProgress | None = None,
        background_progress: OpenProgress = silent,
        observer: Observer | None = None,
        label: str = "",
    ):
        self.options = chosen = (options or MirrorOptions()).checked()
        self.cache_root = os.path.realpath(os.path.expanduser(os.fspath(chosen.cache_root)))
        self._default_profile = resolve_profile(chosen.default_profile)
        self._owner = uuid.uuid4().hex
        limit = chosen.max_upload_bytes_per_second
        rate: Rate = Unlimited() if limit is None else ByteRate(limit)
        shown = progress or choose_progress(chosen.show_progress)
        self._observer = observer or Unobserved()
        self._engine = Engine(chosen.max_workers, rate, shown, self._owner, self._observer, background_progress)
        self._pid = os.getpid()
        self._state = "new"
        self._registry = Registry()
        self._journal = Journal(self.cache_root, label)
        # What the end still has to push: if it fails or is interrupted, the journal keeps it.
        self._due: set[Registration] = set()
        self._stores: dict[tuple[str, str, Profile | None], Store] = {}
        self._lock = threading.RLock()
        _mirrors.add(self)

    def _after_fork(self) -> None:
        """In the child: no lock may stay held by a thread that the fork left behind, and no connection be shared."""
        self._lock = threading.RLock()
        self._engine = self._engine.after_fork()
        self._registry = Registry()
        self._journal = self._journal.after_fork()
        self._stores = {}

    def __repr__(self) -> str:
        return f"<pos3.Mirror {self._state}, cache_root={self.cache_root!r}, {len(self._registry.links())} registered>"

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

    def close(self, error: BaseException | None = None, *, push: bool = True) -> None:
        """Ends the mirror, once; further calls do nothing.

        Without ``error``, everything registered for upload is pushed and stale objects are deleted, as by
        :meth:`finish`. With one, only what was registered with ``sync_on_error`` is pushed, nothing is deleted, and
        what fails is logged and added to ``error`` as a note. With ``push=False``, nothing is pushed. In a forked child
        nothing is pushed either.

        Raises:
            TransferError: a final push failed (only without ``error``).
        """
        with self._lock:
            if self._state != "open":
                return
            self._state = "closing"
        try:
            if os.getpid() == self._pid:
                self._push_at_end(error, push)
        finally:
            self._journal.end(self._due)
            with self._lock:
                self._state = "closed"
            for link in self._registry.links():
                link.end_use()
            self._bound_cache()

    def _push_at_end(self, error: BaseException | None, push: bool) -> None:
        self._engine.end_pushes(at_once=error is not None)
        to_push = [link for link in self._registry.pushing() if error is None or link.registration.sync_on_error]
        self._due = {link.registration for link in to_push} if push else set()
        if error is None:
            if push:
                self._push_finally(lambda: None)
            return
        failures = [failure for link in self._registry.links() for failure in link.failed_pushes[-1:]]
        if push:
            # When the process is being stopped from outside, there is only so much time.
            seconds = None if isinstance(error, Exception) else self.options.shutdown_timeout
            with self._engine.deadline(seconds):
                failures += self._push_each(to_push, lambda: None, delete=False)
        for failure in failures:
            logger.error("after %s: %s", type(error).__name__, failure)
            error.add_note(f"pos3: {failure}")

    def finish(self, *, delete: bool = True) -> Report:
        """Pushes everything and deletes stale objects, as a clean end does, and leaves the mirror open.

        With ``delete=False``, nothing is deleted. A :meth:`close` with an error, from another thread, stops it: what
        has not begun then is not pushed.

        Raises:
            TransferError: some of it failed.
        """
        self._check_open()
        return self._push_finally(self._check_open, delete=delete) if os.getpid() == self._pid else Report()

    def _push_finally(self, check: Callable[[], None], *, delete: bool = True) -> Report:
        before = self.report()
        links = self._registry.pushing()
        _raise_any(self._push_each(links, check, delete=delete))
        for link in links:
            link.failed_pushes.clear()
        return self.report() - before

    def _push_each(self, links: list[Link], check: Callable[[], None], *, delete: bool) -> list[Exception]:
        pushed: list[Registration] = []

        def push(link: Link, terms: Terms) -> None:
            # Here, where whoever stops all transfers knows of this one already.
            check()
            link.push_finally(terms, delete=delete)
            self._due.discard(link.registration)
            pushed.append(link.registration)

        failures = self._engine.run_each(links, push)
        settle(self.cache_root, pushed)
        return failures

    def _bound_cache(self) -> None:
        limit_bytes = self.options.cache_limit_bytes
        if limit_bytes is not None:
            bound_cache(self.cache_root, limit_bytes)

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
                store = self._stores[key] = open_store(location, profile, self.options.max_workers)
            return store

    def _link(self, registration: Registration) -> Link:
        return self._linked(CompleteLink if registration.marker else Link, registration)

    def _linked(self, kind: type[AnyLink], registration: Registration) -> AnyLink:
        store = self._store(registration.location, registration.profile)
        index = Index(self.cache_root, registration.local)
        return kind(registration, store, index, self.cache_root, self._owner)

    def _wanted(
        self,
        kind: Literal["download", "upload", "sync"],
        remote: StrPath,
        local: StrPath | None,
        profile: str | Profile | None,
        choice: tuple[Patterns, Patterns, Compare, int | str | None],
        **details: Any,
    ) -> Registration:
        """The checked registration; ``choice`` is include, exclude, compare and max_delete."""
        location, resolved = self._resolve(str(remote), profile)
        include, exclude, compare, max_delete = choice
        root = local_root(location, local, self.cache_root, resolved)
        chosen = build_filter(include, exclude)
        return checked(Registration(kind, location, resolved, root, chosen, compare, max_delete, **details))

    def _register(self, wanted: Registration, begin: Callable[[Link], None]) -> Path:
        self._registry.register(wanted, self._link, begin)
        self._observer.registered(wanted.kind, str(wanted.location))
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
        require_marker: str | None = None,
    ) -> Path:
        """Returns a local path whose content matches ``remote`` as of now. Its readers see old bytes or new ones.

        A further call for the same URL in the same mirror returns at once.

        Args:
            remote: ``s3://bucket/key`` of an object or a prefix; with a trailing slash always the prefix. A local path
                is returned as it is, made absolute.
            local: where to; a place below the cache root if None.
            delete: remove local files that the remote side does not have.
            exclude: globs of what is left alone on both sides (see :mod:`pos3.filters`).
            profile: a profile or its name; one in the URL wins.
            include: globs; if given, only what matches takes part.
            compare: "auto", "size" or "checksum" (see :mod:`pos3.plan`).
            max_delete: refuse to delete more files than this, or than this share ("50%").
            missing_ok: if nothing is at the URL, return an empty directory instead of raising; nothing is deleted.
            adopt: allow ``delete`` in a non-empty directory outside the cache that pos3 never filled.
            require_marker: the name of the object that marks a complete set, such as "_SUCCESS". What is returned then
                is one complete set; if it is replaced meanwhile, the download begins anew, a few times.

        Raises:
            NoMirrorError: outside a mirror.
            IncompleteSetError: the marker is not there, or the set is not what it says (also a FileNotFoundError).
            RemoteNotFoundError: nothing is there (also a FileNotFoundError).
            PlanRefusedError, UnsafeKeysError, InvalidArgumentError, ConflictError: nothing was changed.
            AccessDeniedError, CredentialsError, EndpointError: nothing was changed.
            TransferError: some files failed; the others were downloaded, nothing was deleted.
        """
        self._check_open()
        if not is_url(remote):
            return _passed_through(remote, missing_ok)
        wanted = self._wanted(
            "download",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            download_delete=check_flag("delete", delete),
            marker="" if require_marker is None else check_marker(require_marker),
        )

        return self._download(wanted, missing_ok=missing_ok, adopt=adopt)

    def _download(self, wanted: Registration, *, missing_ok: bool = False, adopt: bool = False) -> Path:
        def begin(link: Link) -> None:
            link.begin_use()
            self._fetch(link, missing_ok=missing_ok, adopt=adopt)

        path = self._register(wanted, begin)
        self._bound_cache()
        return path

    def _fetch(self, link: Link, *, missing_ok: bool, adopt: bool) -> None:
        try:
            self._engine.run(link, lambda link, terms: link.download(terms, adopt=adopt))
        except RemoteNotFoundError as error:
            if not missing_ok or isinstance(error, IncompleteSetError):
                raise
            # The bucket must exist all the same; only what lies in it may be missing.
            link.take_stock()
            link.failure = ""
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
        """Registers a local path to be pushed to ``remote``: every ``interval`` seconds, and when the mirror ends.

        The local directory is created; for a URL that looks like a file (``.../model.pt``) only the one around it. The
        bucket and the access to it are checked now.

        Args:
            remote: ``s3://bucket/key``. A local path is created as a directory and returned, nothing is pushed.
            local: where from; a place below the cache root if None.
            interval: seconds between background pushes, the first one interval from now; None pushes at the end only.
            delete: remove objects that have no local file, at a clean end. Background pushes delete only what this
                mirror itself had transferred. Objects that another writer put there meanwhile are never deleted.
            sync_on_error: push also when the body ends with an exception (without deletes).
            exclude, profile, include, compare: as for :meth:`download`.
            max_delete: at the end, copy but do not delete, and raise, if more objects than this would go.
            upload_last: globs of files that are pushed after all others, such as ``_SUCCESS``.
            overwrite: globs of files that are pushed at each push, changed or not.
            follow_symlinks: push what links point to; otherwise links are left out.

        Raises:
            As for :meth:`download`. What fails at the end is raised by the ``with`` statement.
        """
        self._check_open()
        interval_seconds = check_interval(interval)
        if not is_url(remote):
            return _local_directory(remote)
        wanted = self._wanted(
            "upload",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            upload_delete=check_flag("delete", delete),
            interval_seconds=interval_seconds,
            sync_on_error=check_flag("sync_on_error", sync_on_error),
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
        )

        def begin(link: Link) -> None:
            link.take_stock()
            link.check_kinds()
            link.begin_use()
            link.prepare_local()
            self._begin_pushes(interval_seconds, link)

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
        """Downloads ``remote`` now and pushes it from then on: to resume from a checkpoint, say.

        A prefix that does not exist yet is an empty directory. ``delete_local`` is the ``delete`` of the download,
        ``delete_remote`` that of the upload; the other arguments are those of :meth:`download` and :meth:`upload`.
        """
        self._check_open()
        interval_seconds = check_interval(interval)
        if not is_url(remote):
            return _local_directory(remote)
        wanted = self._wanted(
            "sync",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
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
            self._begin_pushes(interval_seconds, link)

        return self._register(wanted, begin)

    def publish(
        self,
        remote: StrPath,
        local: StrPath,
        marker: str = "_SUCCESS",
        delete: bool = True,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        max_delete: int | str | None = None,
        follow_symlinks: bool = True,
    ) -> Path:
        """Makes ``remote`` a complete set of the files in ``local``: returns when all of it is there, and its marker.

        The old marker goes first, then come the files and the deletes, and the new marker last. So whoever downloads
        with ``require_marker`` gets the old set or the new one, or an error while neither is complete. A set that is
        there already, and whole, is left as it is. One at a time may publish to a place.

        Args:
            remote: ``s3://bucket/key`` of a prefix.
            local: a directory with all files of the set. It is not watched, and nothing of it is pushed later.
            marker: the name of the marker below ``remote``. A local file of that name takes no part.
            delete: remove objects that have no local file; otherwise they are part of the set.
            exclude, profile, include, compare, max_delete, follow_symlinks: as for :meth:`upload`.

        Raises:
            InvalidArgumentError, ConflictError, PlanRefusedError, UnsafeKeysError: nothing was changed.
            TransferError: some of it failed; the set has no marker, and another call goes on.
            IncompleteSetError: somebody changed one of the sides meanwhile; the set has no marker.
        """
        self._check_open()
        if not is_url(remote):
            raise InvalidURLError(f"publish() needs a remote URL such as 's3://bucket/set', got {os.fspath(remote)!r}")
        if os.getpid() != self._pid:
            raise NoMirrorError("a forked child does not publish; call this in the process that opened the mirror")
        wanted = self._wanted(
            "upload",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            upload_delete=check_flag("delete", delete),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
            marker=check_marker(marker),
        )
        link = self._linked(PublishingLink, wanted)
        link.begin_use()
        try:
            self._registry.do_once(link, lambda: self._engine.run(link, lambda _, terms: link.publish(terms)))
        finally:
            link.end_use()
        self._observer.registered("upload", str(wanted.location))
        return Path(wanted.local)

    # Pushes

    def _begin_pushes(self, interval_seconds: float | None, link: Link) -> None:
        if os.getpid() != self._pid:
            return
        # A sync is noted only now: what an unfinished download left here is nothing to push.
        self._journal.note(link.noted())
        if interval_seconds is not None:
            self._engine.push_every(interval_seconds, link, lambda: self._state == "open")

    def flush(self, path_or_url: StrPath | None = None, timeout: float | None = None) -> Report:
        """Pushes what has changed, now, and returns when it is in the store: what was pushed meanwhile.

        As a background push does: unchanged files cost no request, and only what this mirror itself had transferred is
        deleted.

        Args:
            path_or_url: what to push: a registered URL or local path, or one inside it; None for all.
            timeout: seconds to wait; None waits for the end.

        Raises:
            InvalidArgumentError: nothing that is registered for upload holds ``path_or_url``.
            PushTimeoutError: it has not ended in time, and goes on.
            TransferError: some files failed; the others were pushed.
        """
        self._check_open()
        if os.getpid() != self._pid:
            return Report()
        links = self._registry.chosen(path_or_url)
        before = self.report()
        failures: list[Exception] = []

        def push() -> None:
            failures.extend(self._engine.run_each(links, Link.push))

        if timeout is None:
            push()
        else:
            _within(timeout, push, f"the push of {', '.join(map(str, links))}")
        _raise_any(failures)
        return self.report() - before

    # Questions

    def report(self) -> Report:
        """What this mirror has moved, deleted, kept and failed so far, all registrations together."""
        return self._engine.total

    def registrations(self) -> tuple[Registered, ...]:
        """What is registered, and what each registration has moved; those that failed included."""
        return tuple(link.seen() for link in self._registry.links_and_failed())

    def ls(self, prefix: StrPath, recursive: bool = False, profile: str | Profile | None = None) -> list[str]:
        """Returns what lies directly below ``prefix``, or with ``recursive`` at any depth, sorted.

        Remote entries are full URLs, those of prefixes end with "/"; entries of a local path are paths.

        Args:
            prefix: ``s3://bucket/key``, or a local path.
            profile: a profile or its name; one in the URL wins.

        Raises:
            The store's errors, such as BucketNotFoundError, AccessDeniedError and EndpointError.
        """
        self._check_open()
        if not is_url(prefix):
            return list_local(prefix, recursive)
        location, resolved = self._resolve(str(prefix), profile)
        return list_remote(self._store(location, resolved), location, recursive)

    def fingerprint(
        self,
        path_or_url: StrPath,
        *,
        include: Patterns = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
    ) -> str | None:
        """Returns a text that is the same exactly as long as the objects are: their keys, sizes and ETags.

        It is that of what this mirror gives: of what it has registered, as of the download, without a request; of any
        other URL as of now, by a listing. Modification times and empty directories do not count. None if nothing is
        there, or if local files have changed since they were last downloaded or pushed.

        Args:
            path_or_url: ``s3://bucket/key`` of an object or a prefix, or a local path that has a URL.
            include, exclude: globs of what counts, as for :meth:`download`.
            profile: a profile or its name; one in the URL wins.

        Raises:
            InvalidArgumentError: a local path that no registration and no cache knows.
            The store's errors, such as BucketNotFoundError, AccessDeniedError and EndpointError.
        """
        self._check_open()
        chosen = build_filter(include, exclude)
        if not is_url(path_or_url):
            return self._local_fingerprint(path_or_url, chosen)
        location, resolved = self._resolve(str(path_or_url), profile)
        link = self._registry.holding(location, resolved)
        if link is not None and os.path.exists(link.local_path(location)):
            return link.fingerprint(link.path_of(location), chosen)
        return fingerprint_of_objects(self._store(location, resolved), location, chosen)

    def _local_fingerprint(self, path: StrPath, chosen: Filter) -> str | None:
        reference = self.reference(path)
        if reference is None:
            raise InvalidArgumentError(f"{os.fspath(path)!r} belongs to no registration and to no URL of the cache")
        for link in self._registry.links():
            if link.registration.local == reference.root:
                return link.fingerprint(reference.path, chosen)
        return reference.fingerprint(chosen)

    def url_of(self, path: StrPath) -> str | None:
        """Returns the URL that a local path mirrors, or None: ``s3://bucket/data/a.csv``, ``s3://lab@bucket/data/``.

        Known are the paths of this mirror's registrations, and those in the cache. A directory's URL ends in "/".
        """
        found = self.reference(path)
        return found.url if found is not None else None

    def reference(self, path: StrPath) -> Reference | None:
        """Returns what another mirror needs to :meth:`restore` a local path, on this machine or another, or None.

        Known are the paths of this mirror's registrations, and those in the cache. A profile is referred to by its
        name: what was reached with a :class:`Profile` that has none, and is not the mirror's default, is not known.
        """
        self._check_open()
        registrations = [link.registration for link in self._registry.links()]
        return refer(os.fspath(path), self.cache_root, registrations, self._default_profile)

    def restore(self, reference: Reference) -> Path:
        """Returns a local path with the content that ``reference`` stands for.

        What this mirror has registered and is there costs no request. Else it is downloaded: to the same place, if this
        machine's cache knows it, otherwise into the cache. Where that place holds changes that were never uploaded, it
        is returned untouched. A later :meth:`upload` or :meth:`sync` of the same place is no conflict.

        Raises:
            RemoteNotFoundError: it is not there any more, or not yet.
            As for :meth:`download`.
        """
        self._check_open()
        location, resolved = self._resolve(reference.url, None)
        link = self._registry.holding(location, resolved)
        if link is not None:
            path = link.local_path(location)
            if os.path.exists(path):
                return Path(path)
            if link.registration.pushes:
                raise RemoteNotFoundError(f"{reference.url}: {link} is registered, and it is not there; use sync()")
        return self._restored(reference, resolved)

    def _restored(self, reference: Reference, profile: Profile | None) -> Path:
        is_known = reference.is_known_to(self.cache_root)
        if is_known and reference.pushes and reference.has_local_changes(self.cache_root):
            logger.warning("%s: %s has changes that were not uploaded; left as it is", reference.url, reference.local)
            return Path(reference.local)
        wanted = self._wanted(
            "download",
            reference.url,
            reference.local if is_known else None,
            profile,
            (None, None, "auto", None),
            download_delete=True,
            gives_way=True,
        )
        return self._download(wanted)

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
        adopt: bool = True,
    ) -> tuple[Registration, Plan]:
        """The plan of a download, with its registration; nothing is changed.

        Raises:
            PlanRefusedError: without ``adopt``, as the download itself would.
        """
        wanted = self._dry("download", remote, local, profile, (include, exclude, compare, None))
        link = self._link(wanted)
        plan = link.plan_download(delete=delete)
        if delete and not adopt:
            link.check_adoption(plan)
        return wanted, plan

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
        upload_last: Patterns = None,
        overwrite: Patterns = None,
    ) -> tuple[Registration, Plan]:
        """The plan of an upload, with its registration; nothing is changed."""
        wanted = self._dry(
            "upload",
            remote,
            local,
            profile,
            (include, exclude, compare, None),
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
        )
        return wanted, self._link(wanted).plan_upload(delete=delete)

    def _dry(
        self,
        kind: Literal["download", "upload"],
        remote: str,
        local: StrPath | None,
        profile: str | Profile | None,
        choice: tuple[Patterns, Patterns, Compare, int | str | None],
        **details: Any,
    ) -> Registration:
        self._check_open()
        if not is_url(remote):
            raise InvalidURLError(f"a plan needs a remote URL such as 's3://bucket/key', got {str(remote)!r}")
        return self._wanted(kind, remote, local, profile, choice, **details)


def _raise_any(failures: list[Exception]) -> None:
    if failures:
        raise combined(failures) from failures[0]


def _local_directory(address: StrPath) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not path.exists():
        path.mkdir(parents=True)
    return path


def _passed_through(address: StrPath, missing_ok: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not missing_ok and not path.exists():
        raise RemoteNotFoundError(f"{os.fspath(address)!r} is taken as a local path, and nothing is there")
    return path


def _within(timeout_seconds: float, call: Callable[[], object], what: str) -> None:
    inherited = contextvars.copy_context()
    thread = threading.Thread(target=inherited.run, args=(call,), name="pos3-flush", daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(max(0.0, timeout_seconds))
    if thread.is_alive():
        raise PushTimeoutError(f"{what} did not end within {time.monotonic() - began:.0f} s; it goes on")


def open_mirrors() -> list[Mirror]:
    """The mirrors of this process that are open now."""
    return [mirror for mirror in list(_mirrors) if mirror.is_open]


def _after_fork_in_child() -> None:
    for mirror in list(_mirrors):
        mirror._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
