"""What users hold: one mirror, with its verbs and its life from opening to end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Self

from pos3.errors import (
    InvalidArgumentError,
    InvalidURLError,
    NoMirrorError,
    PlanRefusedError,
    RemoteNotFoundError,
    TransferError,
)
from pos3.filters import Filter, as_patterns
from pos3.jobs import (
    BisyncRequest,
    BothWays,
    DownloadRequest,
    Job,
    Journal,
    Observer,
    Patterns,
    PublishRequest,
    Reference,
    Registered,
    Registration,
    Request,
    Room,
    Runner,
    SyncRequest,
    TwoWay,
    Unobserved,
    UploadRequest,
    as_transfer_plan,
    check_adoption,
    check_target,
    check_timeout,
    fingerprint_of_objects,
    is_coherent,
    list_local,
    list_remote,
    refer,
)
from pos3.mirrors.components import Parts
from pos3.mirrors.downloader import Fetcher
from pos3.mirrors.end_messages import how_to_push_the_rest, pushed_and_deleted
from pos3.mirrors.exit_closing import hold, release
from pos3.mirrors.plan_verbs import planning
from pos3.mirrors.pusher import Pusher
from pos3.mirrors.registrations import Registrations
from pos3.mirrors.stores import Stores
from pos3.options import DEFAULT_CACHE_ROOT, MirrorOptions, StrPath
from pos3.plan import Compare, Plan, TransferPlan, TwoWayPlan, delete_refusal
from pos3.profiles import Profile, resolve_profile
from pos3.reports import Report
from pos3.state import Claims, check_can_be_emptied, empty_root, evict_to_limit
from pos3.transfer import ByteRate, OpenProgress, Rate, Tell, Unlimited, choose_progress, choose_tell, silent, unsaid
from pos3.url import is_url, local_path, parse, shown

logger = logging.getLogger("pos3")


def _never_joined(_job: Job, _wanted: Registration) -> None:
    pass


class Mirror:
    """Keeps local paths and remote places equal, from :meth:`open` to :meth:`close`.

    All methods may be called from any thread. Only the process that opened a mirror pushes or deletes; a forked child
    can still download.

    Args:
        options: the arguments of :func:`pos3.mirror`; the environment is not asked.
        progress: how transfers show that they go on; None for the usual way.
        background_progress: how background pushes do; not at all unless given, as a bar would tear up whatever else
            the terminal shows.
        observer: is told of registrations and transfers. It is then its task to tell of them: at its end, the mirror
            itself says nothing.
        label: what :func:`pos3.recover` calls the mirror, and can look for, if its process dies.
        group: mirrors with the same one count as one writer, such as those of a flow run; "" for one of its own.
        part_of: a mirror of this process that this one does a part of the work of.

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
        group: str = "",
        part_of: Mirror | None = None,
    ):
        self._pid = os.getpid()
        self.options = chosen = (options or MirrorOptions()).checked()
        self.cache_root = chosen.real_cache_root
        # Whoever observes tells of it as well.
        self.tell: Tell = choose_tell(chosen.show_progress) if observer is None else unsaid
        self._background_progress = background_progress
        self._part_of = part_of
        limit = chosen.max_upload_bytes_per_second
        rate: Rate = Unlimited() if limit is None else ByteRate(limit)
        shown = progress or choose_progress(chosen.show_progress)
        observer = observer or Unobserved()
        journal = Journal(self.cache_root, label)
        self._assemble(
            Parts(
                self.cache_root,
                Parts.new_owner(),
                Stores(resolve_profile(chosen.default_profile), chosen.max_workers),
                Registrations(),
                Runner(chosen.max_workers, rate, shown, observer),
                journal,
                part_of._parts.claims if part_of is not None else Claims(self.cache_root, journal.path, group),
                Room(self.cache_root, chosen.cache_limit_bytes),
                observer,
                lambda: part_of._parts.registrations.jobs() if part_of is not None else [],
            )
        )
        self._state = "new"
        self._closed = threading.Event()
        _mirrors.add(self)

    def _assemble(self, parts: Parts) -> None:
        self._lock = threading.RLock()
        self._parts = parts
        self._pusher = Pusher(
            parts, self._lock, self._check_open, self._background_progress, self.options.max_workers, self._pid
        )
        self._fetcher = Fetcher(parts, self._check_open)

    def _after_fork(self) -> None:
        """In the child: no lock may stay held by a thread that the fork left behind, and no connection be shared."""
        self._assemble(self._parts.after_fork())

    def __repr__(self) -> str:
        count = len(self._parts.registrations.jobs())
        return f"<pos3.Mirror {self._state}, cache_root={self.cache_root!r}, {count} registered>"

    @property
    def group(self) -> str:
        """Mirrors with the same group count as one, where it is asked who writes a local path."""
        return self._parts.claims.group

    @property
    def default_profile(self) -> Profile | None:
        """The profile of URLs and calls that name none."""
        return self._parts.stores.default_profile

    @property
    def is_open(self) -> bool:
        return self._state == "open"

    @property
    def _is_of_a_child(self) -> bool:
        return os.getpid() != self._pid

    def _check_open(self) -> None:
        if self._state != "open":
            raise NoMirrorError(f"this mirror is {self._state}; use it inside 'with pos3.mirror():'")

    # What it brings here

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
        skip_archived: bool = False,
    ) -> Path:
        """Returns a local path whose content matches ``remote`` as of now. Its readers see old bytes or new ones.

        A further call for the same URL in the same mirror returns at once.

        Args:
            remote: ``s3://bucket/key`` of an object or a prefix; with a trailing slash always the prefix. A local path
                is returned as it is, made absolute.
            local: where to; a place below the cache root if None.
            delete: remove local files that the remote side does not have.
            exclude: globs of what is left alone on both sides (see :mod:`pos3.filters.matching`).
            profile: a profile or its name; one in the URL wins.
            include: globs; if given, only what matches takes part.
            compare: "auto", "size" or "checksum" (see :mod:`pos3.plan`).
            max_delete: refuse to delete more files than this, or than this share ("50%").
            missing_ok: if nothing is at the URL, return an empty directory instead of raising; nothing is deleted.
            adopt: allow ``delete`` in a non-empty directory outside the cache that pos3 never filled.
            require_marker: the name of the object that marks a complete set, such as "_SUCCESS". What is returned then
                is one complete set; if it is replaced meanwhile, the download begins anew, a few times.
            skip_archived: leave objects of the storage classes GLACIER and DEEP_ARCHIVE alone, and the local files of
                their names; else they are errors, unless they have been restored. The report names them as kept.

        Raises:
            NoMirrorError: outside a mirror.
            IncompleteSetError: the marker is not there, or the set is not what it says (also a FileNotFoundError).
            RemoteNotFoundError: nothing is there (also a FileNotFoundError).
            PlanRefusedError, UnsafeKeysError, InvalidArgumentError, ConflictError: nothing was changed.
            AccessDeniedError, CredentialsError, EndpointError: nothing was changed.
            TransferError: some files failed; the others were downloaded, nothing was deleted.
        """
        request = DownloadRequest(
            remote=remote,
            local=local,
            delete=delete,
            exclude=exclude,
            profile=profile,
            include=include,
            compare=compare,
            max_delete=max_delete,
            missing_ok=missing_ok,
            adopt=adopt,
            require_marker=require_marker,
            skip_archived=skip_archived,
        )
        return self.download_of(request)

    def download_of(self, request: DownloadRequest) -> Path:
        """As :meth:`download`."""
        self._check_open()
        if not is_url(request.remote):
            return _passed_through(request.remote, request.missing_ok)
        return self._download(self._parts.registration(request), request)

    def _download(self, wanted: Registration, request: DownloadRequest) -> Path:
        def begin(job: Job) -> None:
            self._push_what_is_read(job)
            self._fetcher.download(job, missing_ok=request.missing_ok, adopt=request.adopt)

        path = self._register(wanted, begin)
        self._bound_cache()
        return path

    def _push_what_is_read(self, job: Job) -> None:
        """What this mirror pushes to the same objects from other local paths is in the store first."""
        wanted = job.registration
        for other in self._pusher.pushing():
            pushed = other.registration
            overlaps = pushed.profile == wanted.profile and pushed.location.overlaps(wanted.location)
            if overlaps and not is_coherent(wanted, pushed) and not self._is_of_a_child:
                self._parts.runner.run(other, Job.push)

    def _register(
        self,
        wanted: Registration,
        begin: Callable[[Job], None],
        join: Callable[[Job, Registration], None] = _never_joined,
    ) -> Path:
        self._parts.registrations.register(wanted, self._parts.job, begin, join)
        self._parts.observer.registered(wanted.kind, str(wanted.location))
        return Path(wanted.local)

    def _bound_cache(self) -> None:
        limit_bytes = self.options.cache_limit_bytes
        if limit_bytes is not None:
            try:
                evict_to_limit(self.cache_root, limit_bytes)
            except OSError as error:
                logger.warning("cannot bring the cache down to cache_limit: %s", error)

    def restore(self, reference: Reference) -> Path:
        """Returns a local path with the content that ``reference`` stands for.

        What this mirror has registered and is there costs no request. Else it is downloaded: to the same place, if this
        machine's cache knows it, otherwise into the cache. Where that place holds changes that were never uploaded, it
        is returned untouched.

        Raises:
            RemoteNotFoundError: it is not there any more, or not yet.
            As for :meth:`download`.
        """
        self._check_open()
        location, resolved = self._parts.stores.resolve(reference.url, None)
        job = self._parts.registrations.holding(location, resolved)
        if job is not None:
            path = job.local_path(location)
            if os.path.exists(path):
                return Path(path)
            if job.registration.pushes:
                raise RemoteNotFoundError(f"{reference.url}: {job} is registered, and it is not there; use sync()")
        return self._restored(reference, resolved)

    def _restored(self, reference: Reference, profile: Profile | None) -> Path:
        # It may have been made on another machine, where the endpoint has another address.
        reference = replace(reference, endpoint=self._parts.stores.endpoint(parse(reference.url).scheme, profile))
        is_known = reference.is_known_to(self.cache_root)
        if is_known and reference.pushes and reference.has_local_changes(self.cache_root):
            logger.warning("%s: %s has changes that were not uploaded; left as it is", reference.url, reference.local)
            return Path(reference.local)
        local = reference.local if is_known else None
        request = DownloadRequest(remote=reference.url, local=local, profile=profile)
        return self._download(self._parts.registration(request, is_restored=True), request)

    # What it brings there

    def upload(
        self,
        remote: StrPath,
        local: StrPath | None = None,
        interval: float | None = 300,
        delete: bool = True,
        sync_on_error: bool = False,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        overwrite: Patterns = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        max_delete: int | str | None = None,
        upload_last: Patterns = None,
        follow_symlinks: bool = True,
        fresh: bool = False,
    ) -> Path:
        """Registers a local path to be pushed to ``remote``: every ``interval`` seconds, and when the mirror ends.

        The local directory is created; for a URL that looks like a file (``.../model.pt``) only the one around it. The
        bucket and the access to it are checked now.

        Args:
            remote: ``s3://bucket/key``. A local path is created as a directory and returned, nothing is pushed.
            local: where from; a place below the cache root if None.
            interval: seconds between background pushes, the first one interval from now; None pushes at the end only.
            delete: remove objects that have no local file, at a clean end. Background pushes delete only what this
                mirror itself had transferred. Objects that another writer put there meanwhile are never deleted. In the
                cache, files that an earlier mirror had pushed, and whose objects are gone since, are removed as well.
            sync_on_error: push also when the body ends with an exception (without deletes).
            exclude, profile, include, compare: as for :meth:`download`.
            overwrite: globs of files in a directory that are pushed at each push, changed or not. The name of a
                directory does not choose what lies in it: "state/*" does.
            max_delete: at the end, copy but do not delete, and raise, if more objects than this would go.
            upload_last: globs of files that are pushed after all others, such as ``_SUCCESS``.
            follow_symlinks: push what links point to; otherwise links are left out.
            fresh: empty the local path first, which must be in the cache: what earlier mirrors left there is no part of
                the upload. Refused, with nothing changed, if a file there may be in no store, or if an open mirror uses
                the path.

        Raises:
            As for :meth:`download`. What fails at the end is raised by the ``with`` statement.
        """
        request = UploadRequest(
            remote=remote,
            local=local,
            interval=interval,
            delete=delete,
            sync_on_error=sync_on_error,
            exclude=exclude,
            profile=profile,
            overwrite=overwrite,
            include=include,
            compare=compare,
            max_delete=max_delete,
            upload_last=upload_last,
            follow_symlinks=follow_symlinks,
            fresh=fresh,
        )
        return self.upload_of(request)

    def upload_of(self, request: UploadRequest) -> Path:
        """As :meth:`upload`."""
        self._check_open()
        if not is_url(request.remote):
            return _local_directory(request.remote, request.fresh)
        wanted = self._parts.registration(request)
        if request.fresh:
            check_can_be_emptied(self.cache_root, wanted.local)

        def begin(job: Job) -> None:
            job.take_stock()
            self._parts.claim(job, self._check_open)
            self._empty_if_fresh(job)
            job.check_kinds()
            job.begin_use()
            job.prepare_local()
            self._begin_pushes(job)

        return self._register(wanted, begin, self._pusher.join)

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
        overwrite: Patterns = None,
        upload_exclude: Patterns = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        max_delete: int | str | None = None,
        upload_last: Patterns = None,
        follow_symlinks: bool = True,
        adopt: bool = False,
        fresh: bool = False,
    ) -> Path:
        """Downloads ``remote`` now and pushes it from then on: to resume from a checkpoint, say.

        A prefix that does not exist yet is an empty directory.

        Args:
            delete_local, delete_remote: the ``delete`` of the download, and that of the upload.
            upload_exclude: globs that take the place of ``exclude`` in the pushes: what they hide is downloaded and
                not pushed. A local file that they hide and that has never been in the store stays. None pushes all but
                ``exclude``, and ``[]`` pushes all. Objects that ``exclude`` hides are not deleted in any case.
            fresh: download all of it anew; see :meth:`upload`.
            remote, local, interval, sync_on_error, exclude, profile, overwrite, include, compare, max_delete,
                upload_last, follow_symlinks, adopt: as for :meth:`download` and :meth:`upload`.

        Raises:
            As for :meth:`download`. What fails at the end is raised by the ``with`` statement.
        """
        request = SyncRequest(
            remote=remote,
            local=local,
            interval=interval,
            delete_local=delete_local,
            delete_remote=delete_remote,
            sync_on_error=sync_on_error,
            exclude=exclude,
            profile=profile,
            overwrite=overwrite,
            upload_exclude=upload_exclude,
            include=include,
            compare=compare,
            max_delete=max_delete,
            upload_last=upload_last,
            follow_symlinks=follow_symlinks,
            adopt=adopt,
            fresh=fresh,
        )
        return self.sync_of(request)

    def sync_of(self, request: SyncRequest) -> Path:
        """As :meth:`sync`."""
        self._check_open()
        if not is_url(request.remote):
            return _local_directory(request.remote, request.fresh)
        wanted = self._parts.registration(request)
        if request.fresh:
            check_can_be_emptied(self.cache_root, wanted.local)

        def begin(job: Job) -> None:
            survey = job.take_stock()
            self._parts.claim(job, self._check_open)
            self._empty_if_fresh(job)
            job.begin_use()
            if (survey.is_object or survey.is_prefix) and not self._fetcher.is_closed(job):
                self._fetcher.fetch(job, missing_ok=True, adopt=request.adopt)
            job.held.download_finished()
            job.prepare_local()
            self._begin_pushes(job)

        def join(job: Job, merged: Registration) -> None:
            if job.registration.kind == "upload":
                # What it pushes already is brought up to what S3 will be.
                self._fetcher.fill(replace(wanted, request=request.as_download()))
            self._pusher.join(job, merged)

        return self._register(wanted, begin, join)

    def _empty_if_fresh(self, job: Job) -> None:
        if job.request.fresh:
            job.check_can_be_emptied()
            empty_root(self.cache_root, job.registration.local)

    def _begin_pushes(self, job: Job) -> None:
        self._pusher.begin(job)
        if not self._is_of_a_child:
            hold(self)

    def bisync(
        self,
        remote: StrPath,
        local: StrPath | None = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        delete_local: bool = False,
        delete_remote: bool = False,
        max_delete: int | str | None = None,
        upload_last: Patterns = None,
    ) -> Path:
        """Brings both sides up to date with each other, once: returns when what one side has newer is on the other.

        What was last synced tells which side of a file is the newer one. A file that has changed on both sides since
        then, or that differs and was never synced, is a conflict: it is named, and nothing is changed. Nothing of it
        is pushed later; :meth:`sync` goes on pushing.

        Args:
            remote: ``s3://bucket/key``. A prefix that does not exist yet is an empty directory.
            local: the local side; a place below the cache root if None.
            delete_local: remove local files that were synced, have not changed, and are gone from the store.
            delete_remote: remove objects that were synced, have not changed, and are gone locally.
            max_delete: refuse to delete more files on one side than this, or than this share ("50%").
            exclude, profile, include, compare, upload_last: as for :meth:`download` and :meth:`upload`.

        Raises:
            PlanRefusedError: there are conflicts, or too many deletes; nothing was changed.
            TransferError, UnsafeKeysError: some files failed; the others were copied, nothing was deleted.
            As for :meth:`download`.
        """
        request = BisyncRequest(
            remote=remote,
            local=local,
            exclude=exclude,
            profile=profile,
            include=include,
            compare=compare,
            delete_local=delete_local,
            delete_remote=delete_remote,
            max_delete=max_delete,
            upload_last=upload_last,
        )
        return self.bisync_of(request)

    def bisync_of(self, request: BisyncRequest) -> Path:
        """As :meth:`bisync`."""
        self._check_open()
        _check_remote("bisync()", request.remote)
        if self._is_of_a_child:
            raise NoMirrorError("a forked child does not sync; call this in the process that opened the mirror")
        wanted = self._parts.registration(request)
        work = self._parts.two_way(wanted)
        job = work.job
        try:
            self._parts.registrations.do_once(job, lambda: self._run_both_ways(work, noted=True))
        finally:
            job.end_use()
        self._parts.journal.strike(wanted)
        self._parts.observer.registered("sync", str(wanted.location))
        self._bound_cache()
        return Path(wanted.local)

    def begin_bisync(self, request: BisyncRequest) -> Path:
        """As :meth:`bisync`, and from then on what changes locally is pushed: at each :meth:`flush`, and at the end."""
        self._check_open()

        def begin(job: Job) -> None:
            self._run_both_ways(TwoWay(job), noted=False)
            self._begin_pushes(job)

        return self._register(self._parts.registration(request), begin)

    def _run_both_ways(self, work: TwoWay, *, noted: bool) -> None:
        """
        Args:
            noted: whether what is left to be pushed is written down in case this process dies.
        """
        job = work.job
        job.take_stock()
        self._parts.claim(job, self._check_open)
        job.begin_use()
        if noted:
            self._parts.journal.note(job.noted())
        make_room = self._parts.room.make
        self._parts.runner.run(job, lambda _, terms: work.run(terms, make_room))

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
        request = PublishRequest(
            remote=remote,
            local=local,
            marker=marker,
            delete=delete,
            exclude=exclude,
            profile=profile,
            include=include,
            compare=compare,
            max_delete=max_delete,
            follow_symlinks=follow_symlinks,
        )
        _check_remote("publish()", remote)
        if self._is_of_a_child:
            raise NoMirrorError("a forked child does not publish; call this in the process that opened the mirror")
        wanted = self._parts.registration(request)
        publication = self._parts.publication(wanted)
        job, runner = publication.job, self._parts.runner
        job.begin_use()
        try:
            self._parts.registrations.do_once(job, lambda: runner.run(job, lambda _, terms: publication.publish(terms)))
        finally:
            job.end_use()
        self._parts.observer.registered("upload", str(wanted.location))
        return Path(wanted.local)

    # What it can be asked; nothing is changed

    def ls(self, prefix: StrPath, recursive: bool = False, profile: str | Profile | None = None) -> list[str]:
        """Returns what lies directly below ``prefix``, or with ``recursive`` at any depth, sorted.

        Remote entries are full URLs, those of prefixes without a slash at the end; entries of a local path are paths.
        Of a single object or file, it is that one. Empty if nothing is there.

        Args:
            prefix: ``s3://bucket/key``, or a local path.
            profile: a profile or its name; one in the URL wins.

        Raises:
            The store's errors, such as BucketNotFoundError, AccessDeniedError and EndpointError.
        """
        self._check_open()
        if not is_url(prefix):
            return list_local(prefix, recursive)
        location, resolved = self._parts.stores.resolve(str(prefix), profile)
        return list_remote(self._parts.stores.of(location, resolved), location, recursive)

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
        chosen = Filter(as_patterns(include, "include"), as_patterns(exclude, "exclude"))
        if not is_url(path_or_url):
            return self._local_fingerprint(path_or_url, chosen)
        location, resolved = self._parts.stores.resolve(str(path_or_url), profile)
        job = self._parts.registrations.holding(location, resolved)
        if job is not None and os.path.exists(job.local_path(location)):
            return job.fingerprint(job.path_of(location), chosen)
        return fingerprint_of_objects(self._parts.stores.of(location, resolved), location, chosen)

    def _local_fingerprint(self, path: StrPath, chosen: Filter) -> str | None:
        reference = self.reference(path)
        if reference is None:
            raise InvalidArgumentError(
                f"{shown(os.fspath(path))} belongs to no registration and to no URL of the cache"
            )
        for job in self._parts.registrations.jobs():
            if job.registration.local == reference.root:
                return job.fingerprint(reference.path, chosen)
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
        registrations = [job.registration for job in self._parts.registrations.jobs()]
        return refer(
            os.fspath(path),
            self.cache_root,
            registrations,
            self._parts.stores.default_profile,
            self._parts.stores.endpoint,
        )

    @planning(DownloadRequest, download, by_name=["delete"])
    def plan_download(self, request: DownloadRequest) -> TransferPlan:
        """What :meth:`download` would do now, with the same arguments. Nothing is transferred, deleted or created.

        By position it takes ``remote``, ``local``, ``exclude`` and ``profile``, and ``delete`` only by name. Where
        :meth:`download` would raise :class:`PlanRefusedError` (``max_delete``, a directory that needs ``adopt``), the
        plan is returned, and its ``refusal`` says why.

        Raises:
            InvalidURLError: ``remote`` is a local path. Further errors as for :meth:`download`.
        """
        return as_transfer_plan(*self.download_plan_of(request))

    def download_plan_of(self, request: DownloadRequest) -> tuple[Registration, Plan]:
        """The plan as such, with its registration. As for :meth:`plan_download`."""
        wanted = self._dry(request)
        job = self._parts.job(wanted)
        job.check_source()
        plan = self._planned_download(job, missing_ok=request.missing_ok)
        check_target(job, plan)
        refusals = [
            _adoption_refusal(job, plan) if request.delete and not request.adopt else "",
            delete_refusal(plan, request.max_delete),
        ]
        return wanted, replace(plan, refusal="\n".join(filter(None, refusals)))

    def _planned_download(self, job: Job, *, missing_ok: bool) -> Plan:
        try:
            return job.plan_download(delete=job.request.deletes_local)
        except RemoteNotFoundError:
            if not missing_ok:
                raise
            # The bucket must exist all the same.
            job.take_stock()
            return Plan("download")

    def plan_upload(
        self,
        remote: StrPath,
        local: StrPath | None = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
        overwrite: Patterns = None,
        *,
        include: Patterns = None,
        compare: Compare = "auto",
        delete: bool = True,
        max_delete: int | str | None = None,
        upload_last: Patterns = None,
        follow_symlinks: bool = True,
    ) -> TransferPlan:
        """What the final push of :meth:`upload` would do now; an empty plan if there is no local side.

        Nothing is transferred, deleted or created. Where that push would raise :class:`PlanRefusedError`
        (``max_delete``), the plan's ``refusal`` says why; what could not be pushed is in its ``problems``.

        Args:
            remote, local, exclude, profile, include, compare, delete, max_delete, upload_last, overwrite,
                follow_symlinks: as for :meth:`upload`.

        Raises:
            InvalidURLError: ``remote`` is a local path. Further errors as for :meth:`upload`.
        """
        request = UploadRequest(
            remote=remote,
            local=local,
            delete=delete,
            exclude=exclude,
            profile=profile,
            overwrite=overwrite,
            include=include,
            compare=compare,
            max_delete=max_delete,
            upload_last=upload_last,
            follow_symlinks=follow_symlinks,
        )
        return as_transfer_plan(*self.upload_plan_of(request))

    def upload_plan_of(self, request: UploadRequest) -> tuple[Registration, Plan]:
        """The plan as such, with its registration. As for :meth:`plan_upload`."""
        wanted = self._dry(request)
        plan = self._parts.job(wanted).plan_upload(delete=request.delete)
        return wanted, replace(plan, refusal=delete_refusal(plan, request.max_delete))

    @planning(BisyncRequest, bisync)
    def plan_bisync(self, request: BisyncRequest) -> TwoWayPlan:
        """What :meth:`bisync` would do now, with the same arguments. Nothing is transferred, deleted or created.

        Where :meth:`bisync` would raise :class:`PlanRefusedError` (conflicts, ``max_delete``), the plan is returned,
        and its ``refusal`` says why.

        Raises:
            InvalidURLError: ``remote`` is a local path. Further errors as for :meth:`bisync`.
        """
        return self.bisync_plan_of(request).as_two_way_plan()

    def bisync_plan_of(self, request: BisyncRequest) -> BothWays:
        """The plans as such. As for :meth:`plan_bisync`."""
        return self._parts.two_way(self._dry(request)).plan()

    def _dry(self, request: Request) -> Registration:
        self._check_open()
        _check_remote("a plan", request.remote)
        return self._parts.registration(request)

    def report(self) -> Report:
        """What this mirror has moved, deleted, kept and failed so far, all registrations together."""
        return self._parts.runner.total

    def registrations(self) -> tuple[Registered, ...]:
        """What is registered, and what each registration has moved; those that failed included."""
        return tuple(job.seen() for job in self._parts.registrations.jobs_and_failed())

    # Its life

    def open(self) -> Self:
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
        check_timeout(timeout)
        if self._is_of_a_child:
            return Report()
        jobs = self._parts.registrations.chosen(path_or_url)
        return self._moved_by(lambda: self._pusher.flush(jobs, timeout))

    def _push_additions(self, urls: Collection[str]) -> Report:
        """Pushes what is new or has changed at registered places, now, and deletes nothing.

        Args:
            urls: of registrations, as :meth:`_pushed_places` tells them.

        Raises:
            NoMirrorError: the mirror is closed.
            TransferError: some files failed; the others were pushed.
        """
        self._check_open()
        if self._is_of_a_child:
            return Report()
        return self._moved_by(lambda: self._pusher.push_additions(urls))

    def _moved_by(self, push: Callable[[], None]) -> Report:
        """What this mirror has moved while ``push`` ran."""
        before = self.report()
        push()
        return self.report() - before

    def _pushed_places(self) -> tuple[tuple[str, str], ...]:
        """The URL and the local path of each registration for upload."""
        registered = [job.registration for job in self._pusher.pushing()]
        return tuple((str(each.location), each.local) for each in registered)

    def finish(self, *, delete: bool = True) -> Report:
        """Pushes everything and deletes stale objects, as a clean end does, and leaves the mirror open.

        With ``delete=False``, nothing is deleted. A :meth:`close` with an error, from another thread, stops it: what
        has not begun then is not pushed.

        Raises:
            TransferError: some of it failed.
        """
        self._check_open()
        if self._is_of_a_child:
            return Report()
        try:
            return self._moved_by(lambda: self._pusher.push_everything(self._check_open, delete=delete))
        finally:
            for job in self._pusher.pushing():
                job.held.cancel_last_push()

    def close(self, error: BaseException | None = None, *, push: bool = True) -> None:
        """Ends the mirror, once; further calls do nothing.

        Without ``error``, everything registered for upload is pushed and stale objects are deleted, as by
        :meth:`finish`. With one, only what was registered with ``sync_on_error`` is pushed, nothing is deleted, and
        what fails is logged and added to ``error`` as a note. With ``push=False``, nothing is pushed. In a forked child
        nothing is pushed either. What the mirror has pushed and deleted is told in one line.

        Raises:
            TransferError: a final push failed (only without ``error``); it says how to push what is left.
        """
        self._close(error, lambda: self._push_at_end(error, push))

    def _close(self, error: BaseException | None, push: Callable[[], None]) -> None:
        with self._lock:
            if self._state != "open":
                return
            self._state = "closing"
        if sys.is_finalizing():
            # No thread runs any more. What is registered is left to recovery, as if the process had been killed.
            self._state = "closed"
            return
        try:
            if not self._is_of_a_child:
                push()
        finally:
            if not self._is_of_a_child:
                self._tell_what_was_done()
            try:
                # When the process is being terminated, the time is used up: unfinished uploads are left to the store.
                if not self._is_of_a_child and (error is None or isinstance(error, Exception)):
                    self._parts.stores.abort_unfinished()
            finally:
                self._end()

    def _tell_what_was_done(self) -> None:
        line = pushed_and_deleted(self.registrations())
        if line:
            self.tell(line)

    def close_at_exit(self, error: BaseException | None) -> None:
        """Ends a mirror that nobody has closed, at the interpreter's exit. Nothing is deleted, no thread is started.

        Everything registered for upload is pushed; if ``error`` has ended the program, only what was registered with
        ``sync_on_error``. What happens is logged, since nobody can be told any more. In a forked child nothing happens.
        """
        if self._is_of_a_child:
            return
        if self._state == "closing":
            # By a thread that the exit would cut off.
            self._closed.wait(self.options.shutdown_timeout)
            return
        jobs = self._pusher.pushing()
        told = "it is open at the interpreter's exit. Close it, or use 'with pos3.mirror():'"
        if error is None:
            logger.warning("%r: %s. Pushed now, without deletes: %s", self, told, _listed(jobs))
            self._close(None, self._push_at_exit)
        else:
            pushed = [job for job in jobs if job.request.sync_on_error]
            rest = [job for job in jobs if not job.request.sync_on_error]
            logger.warning(
                "%r: %s. The program has ended with %s. Pushed now, without deletes: %s. Not pushed, without "
                "sync_on_error: %s",
                self,
                told,
                type(error).__name__,
                _listed(pushed),
                _listed(rest),
            )
            self.close(error)

    def _push_at_exit(self) -> None:
        jobs = self._pusher.pushing()
        self._pusher.due = {job.registration for job in jobs}
        self._pusher.end_background(at_once=False)
        for failure in self._pusher.push_finally(jobs, lambda: None, delete=False):
            logger.error("%s; 'pos3 recover' pushes what is left", failure)

    def _end(self) -> None:
        self._parts.journal.end(self._pusher.due)
        with self._lock:
            self._state = "closed"
        release(self)
        self._closed.set()
        for job in self._parts.registrations.jobs():
            if job.registration in self._pusher.due:
                job.held.leave_to_others()
            job.end_use()
        if self._part_of is None:
            self._parts.claims.end()
        self._bound_cache()

    def _push_at_end(self, error: BaseException | None, push: bool) -> None:
        to_push = [job for job in self._pusher.pushing() if error is None or job.request.sync_on_error]
        self._pusher.due = {job.registration for job in to_push} if push else set()
        self._pusher.end_background(at_once=error is not None)
        if error is None:
            if push:
                self._push_at_clean_end()
            return
        failures = [failure for job in self._parts.registrations.jobs() for failure in job.failed_pushes[-1:]]
        if push:
            # When the process is being stopped from outside, there is only so much time.
            seconds = None if isinstance(error, Exception) else self.options.shutdown_timeout
            with self._parts.runner.deadline(seconds):
                failures += self._pusher.push_finally(to_push, lambda: None, delete=False)
        told = list(map(str, failures))
        if told and self._pusher.due:
            told[-1] += f". {self._advice()}"
        for text in told:
            logger.error("after %s: %s", type(error).__name__, text)
            error.add_note(f"pos3: {text}")

    def _push_at_clean_end(self) -> None:
        try:
            self._pusher.push_everything(lambda: None)
        except PlanRefusedError:
            # All was pushed, and only deletes were refused.
            raise
        except TransferError as failure:
            raise TransferError(failure.operation, failure.failures, self._advice()) from failure.failures[0]
        except BaseException as failure:
            failure.add_note(f"pos3: {self._advice()}")
            raise

    def _advice(self) -> str:
        default = os.path.realpath(os.path.expanduser(DEFAULT_CACHE_ROOT))
        return how_to_push_the_rest(self.cache_root, default, is_noted=self._parts.journal.is_written)


def _check_remote(what: str, remote: StrPath) -> None:
    """
    Raises:
        InvalidURLError: it is a local path.
    """
    if not is_url(remote):
        raise InvalidURLError(f"{what} needs a remote URL such as 's3://bucket/key', got {shown(os.fspath(remote))}")


def _passed_through(address: StrPath, missing_ok: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not missing_ok and not path.exists():
        raise RemoteNotFoundError(f"{shown(os.fspath(address))} is taken as a local path, and nothing is there")
    return path


def _local_directory(address: StrPath, fresh: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if fresh and path.is_dir() and any(path.iterdir()):
        raise InvalidArgumentError(
            f"fresh=True empties only paths of the cache, and {path} is a local path with files", argument="fresh"
        )
    if not path.exists():
        path.mkdir(parents=True)
    return path


def _adoption_refusal(job: Job, plan: Plan) -> str:
    try:
        check_adoption(job, plan)
    except PlanRefusedError as refusal:
        return str(refusal)
    return ""


def _listed(jobs: list[Job]) -> str:
    return ", ".join(map(str, jobs)) or "nothing"


_mirrors: weakref.WeakSet[Mirror] = weakref.WeakSet()


def open_mirrors() -> list[Mirror]:
    """The mirrors of this process that are open now."""
    return [mirror for mirror in list(_mirrors) if mirror.is_open]


def _after_fork_in_child() -> None:
    for mirror in list(_mirrors):
        mirror._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
