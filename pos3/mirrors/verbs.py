"""The class :class:`Mirror` that users hold: its verbs, its plans, and how it is opened and closed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, overload

from pos3.errors import (
    InvalidArgumentError,
    InvalidURLError,
    NoMirrorError,
    OfflineError,
    PlanRefusedError,
    RemoteNotFoundError,
    TransferError,
)
from pos3.filters import Filter, as_patterns
from pos3.jobs import (
    BisyncJob,
    BisyncPlans,
    BisyncRequest,
    DiskSpace,
    DownloadRequest,
    Job,
    Journal,
    Listed,
    Observer,
    Patterns,
    PublishRequest,
    Reference,
    Registered,
    RegisteredRoot,
    Registration,
    Request,
    Runner,
    SyncRequest,
    Unobserved,
    UploadRequest,
    as_transfer_plan,
    check_adoption,
    check_division,
    check_target,
    check_timeout,
    describe_all_buckets,
    describe_local,
    describe_part,
    describe_remote,
    find_reference,
    fingerprint_of_objects,
    list_all_buckets,
    list_local,
    list_part,
    list_remote,
    list_versions,
    maps_the_same_objects,
    parts_of,
    push_kept_offline,
    remember,
    remove_pushed_entries,
    with_profile_name,
)
from pos3.mirrors.components import Components
from pos3.mirrors.downloader import Downloader
from pos3.mirrors.end_messages import how_to_push_the_rest, summary_of_changes
from pos3.mirrors.exit_closing import add_mirror, remove_mirror
from pos3.mirrors.network import network_of
from pos3.mirrors.paths import MirroredPath
from pos3.mirrors.plan_verbs import planning
from pos3.mirrors.pusher import Pusher, without_kept
from pos3.mirrors.registrations import Registrations
from pos3.mirrors.stores import Stores
from pos3.options import DEFAULT_CACHE_ROOT, MirrorOptions, StrPath
from pos3.parts import Part
from pos3.plan import Compare, Plan, TransferPlan, TwoWayPlan, delete_refusal
from pos3.profiles import Profile, resolve_profile
from pos3.reports import Report
from pos3.state import Claims, check_can_be_emptied, empty_root, evict_to_limit
from pos3.store import Store, Version
from pos3.transfer import OpenProgress, Rates, Tell, choose_progress, choose_tell, silent, unsaid
from pos3.url import Location, is_url, local_path, parse, profile_of_all_buckets, quoted

logger = logging.getLogger("pos3")


def _never_joined(_job: Job, _merged: Registration) -> None:
    pass


class Mirror:
    """Keeps local paths and URLs equal, from :meth:`open` to :meth:`close`.

    All methods may be called from any thread. Only the process that opened a mirror pushes and deletes. A forked child
    can still download.

    Args:
        options: the options, which are the arguments of :func:`pos3.mirror`. The environment is not read.
        progress: opens the progress of each transfer. None shows a bar or log lines, as the options say.
        background_progress: opens the progress of each background push. By default, background pushes show none,
            because a bar would disturb other output on the terminal.
        observer: an object that the mirror calls on registrations and transfers. A mirror with an observer shows no
            summary at its end, because the observer shows what was done.
        label: a name for this mirror. If its process dies, :func:`pos3.recover` reports and selects its uploads by this
            name.
        group: mirrors with the same group count as one writer, such as the mirrors of one flow run. "" gives the mirror
            a group of its own.
        part_of: the parent mirror, in the same process. The new mirror does a part of the parent's work.

    Raises:
        InvalidArgumentError, ProfileError: an option is wrong; nothing was changed.
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
        # An observer shows what was done by itself.
        self.show_line: Tell = choose_tell(chosen.show_progress) if observer is None else unsaid
        self._background_progress = background_progress
        self._part_of = part_of
        self._open_progress = open_progress = progress or choose_progress(chosen.show_progress)
        observer = observer or Unobserved()
        journal = Journal(self.cache_root, label)
        self._assemble(
            Components(
                self.cache_root,
                Components.new_owner(),
                Stores(resolve_profile(chosen.default_profile), chosen.given_workers),
                Registrations(),
                Runner(chosen.given_workers, Rates.of(chosen), open_progress, observer),
                journal,
                part_of._components.claims if part_of is not None else Claims(self.cache_root, journal.path, group),
                DiskSpace(self.cache_root, chosen.cache_limit_bytes),
                observer,
                network_of(chosen.offline),
                lambda: part_of._components.registrations.jobs() if part_of is not None else [],
            )
        )
        self._state = "new"
        self._closed = threading.Event()
        self._closing_thread: threading.Thread | None = None
        itself = weakref.ref(self)
        self._is_alive = lambda: (mirror := itself()) is not None and mirror.is_open
        _mirrors.add(self)

    def _assemble(self, components: Components) -> None:
        self._lock = threading.RLock()
        self._components = components
        self._pusher = Pusher(
            components, self._lock, self._check_open, self._background_progress, self.options.max_workers, self._pid
        )
        self._downloader = Downloader(components, self._check_open)

    def _after_fork(self) -> None:
        """Makes new components in a forked child, so that all locks are free and no connection is shared."""
        self._assemble(self._components.after_fork())

    def __repr__(self) -> str:
        count = len(self._components.registrations.jobs())
        return f"<pos3.Mirror {self._state}, cache_root={self.cache_root!r}, {count} registered>"

    def _repr_html_(self) -> str:
        """The table that notebooks show: each registration, what it has transferred, and the time of its last push."""
        # Only notebooks need it.
        from pos3.mirrors.html_table import mirror_as_html

        return mirror_as_html(self._state, self.cache_root, self.registrations())

    @property
    def group(self) -> str:
        """The group of this mirror. Mirrors with the same group count as one writer of local paths."""
        return self._components.claims.group

    @property
    def default_profile(self) -> Profile | None:
        """The profile for URLs and calls that name no profile."""
        return self._components.stores.default_profile

    @property
    def is_open(self) -> bool:
        """Whether the mirror is open. It is not open before :meth:`open`, during :meth:`close`, and after it."""
        return self._state == "open"

    @property
    def is_forked_child(self) -> bool:
        """Whether this process was forked from the process that opened the mirror. If so, it pushes nothing."""
        return os.getpid() != self._pid

    def _check_open(self) -> None:
        if self._state != "open":
            raise NoMirrorError(f"this mirror is {self._state}; use it inside 'with pos3.mirror():'")

    # Download

    def download(
        self,
        remote: StrPath | Part,
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
        fingerprint: str | None = None,
        as_of: datetime | str | None = None,
    ) -> Path:
        """Makes a local path match ``remote``, and returns the path.

        While a file is replaced, readers see its old content or its new content, never a mixture. A second call for the
        same URL in the same mirror returns at once.

        Args:
            remote: ``s3://bucket/key`` of an object or a prefix. A URL with a slash at the end always means the prefix.
                For a :class:`Part`, only its range is downloaded, local files outside the range stay, and the result is
                the local path of the whole URL. For a local path, the result is its absolute path, and nothing is
                downloaded.
            local: the local path to download to. None means a path below the cache root.
            delete: remove local files that have no object at the URL.
            exclude: globs of files and objects that are not touched (see :mod:`pos3.filters.matching`).
            profile: a profile or its name. A profile in the URL wins.
            include: globs. If they are given, only files and objects that match them are touched.
            compare: how to find changed files: "auto", "size" or "checksum" (see :mod:`pos3.plan.changes`).
            max_delete: the most files that may be deleted, as a number or as a share such as "50%". If there are more,
                the call raises an error and changes nothing.
            missing_ok: if nothing is at the URL, return the local directory instead of raising an error. The directory
                is created if it does not exist, and files in it stay.
            adopt: allow the download to delete and replace files in a directory outside the cache that pos3 has never
                filled. With ``delete=False``, the download replaces files there without it.
            require_marker: download one complete set of objects. The object with this name below the URL, such as
                "_SUCCESS", marks the set as complete. If the set is replaced during the download, the download begins
                again, a few times.
            skip_archived: leave out objects of the storage classes GLACIER and DEEP_ARCHIVE. Local files with their
                names stay, and the report lists them as kept. Without this option, such an object is an error, unless
                it was restored.
            fingerprint: a text that :meth:`fingerprint` returned for the same URL and filters. If the objects have
                changed since then, the call raises an error and downloads nothing.
            as_of: a time, as an aware datetime or as ISO 8601 text with an offset. The result is what a versioned
                bucket held at that time. Times count in whole seconds. The cache has a separate directory for each
                time.

        Raises:
            NoMirrorError: no mirror is open.
            IncompleteSetError: the marker is missing, or the objects are not those that the marker lists (also a
                FileNotFoundError).
            RemoteNotFoundError: nothing is at the URL (also a FileNotFoundError).
            FingerprintMismatchError: the objects have changed since ``fingerprint`` was made. The error lists the
                differences if this cache has a record of the earlier objects. Nothing was changed.
            VersionsDeletedError: versions that ``as_of`` needs are known to be deleted for good. Nothing was changed.
            PlanRefusedError, UnsafeKeysError, InvalidArgumentError, ConflictError: nothing was changed.
            AccessDeniedError, CredentialsError, EndpointError: nothing was changed.
            TransferError: some files failed. The others were downloaded, and nothing was deleted.
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
            fingerprint=fingerprint,
            as_of=as_of,
        )
        return self.download_of(request)

    def download_of(self, request: DownloadRequest) -> Path:
        """Does the same as :meth:`download`, with the arguments as one value."""
        self._check_open()
        if not is_url(request.address):
            _check_local_arguments("download", request)
            return _existing_path(request.address, request.missing_ok)
        return self._download(self._components.make_registration(request), request)

    def _download(self, registration: Registration, request: DownloadRequest) -> Path:
        def begin(job: Job) -> None:
            self._push_before_download(job)
            self._downloader.download(job, missing_ok=request.missing_ok, adopt=request.adopt)

        path = self._register(registration, begin)
        self._evict_to_limit()
        return path

    def _push_before_download(self, job: Job) -> None:
        """Pushes the registrations of this mirror that write to the same objects from other local paths."""
        registration = job.registration
        for other in self._pusher.pushing():
            pushed = other.registration
            overlaps = pushed.profile == registration.profile and pushed.location.overlaps(registration.location)
            if overlaps and not maps_the_same_objects(registration, pushed) and not self.is_forked_child:
                self._pusher.push_if_reachable(other)

    def _register(
        self,
        registration: Registration,
        begin: Callable[[Job], None],
        join: Callable[[Job, Registration], None] = _never_joined,
    ) -> Path:
        job = self._components.registrations.register(registration, self._components.make_job, begin, join)
        self._components.observer.registered(registration.kind, str(registration.location))
        return self._path_of(job.registration)

    def _path_of(self, registration: Registration, local: str | None = None) -> MirroredPath:
        """The local path of a registration, or one below it, as a path that travels."""
        root = RegisteredRoot(registration, self.cache_root, self.default_profile, self._is_alive)
        remember(registration.local, root)
        return MirroredPath(registration.local if local is None else local)

    def _evict_to_limit(self) -> None:
        limit_bytes = self.options.cache_limit_bytes
        if limit_bytes is not None:
            try:
                evict_to_limit(self.cache_root, limit_bytes, spares_part_files=True)
            except OSError as error:
                logger.warning("cannot bring the cache down to cache_limit: %s", error)

    def restore(self, reference: Reference, *, travels: bool = False) -> Path:
        """Returns a local path with the content to which ``reference`` refers.

        - If this mirror has registered the path and the path exists, the result is this path, and no request is sent.
        - Otherwise the content is downloaded. If the cache of this machine knows the path, the content goes there. If
          not, it goes into the cache.
        - If the known path has changes that were never uploaded, they stay, and the path is returned as it is.
        - If nothing was at the path when the reference was made, nothing is downloaded.

        Args:
            travels: use the path here as on the machine that made the reference. This is for a reference whose mirror
                is still open. If the path belongs to an upload there, this mirror registers the same upload, without
                deletes, and pushes files that are written to the path. Local changes that no mirror is going to push
                are replaced. If this mirror uploads the path already, and the path is missing here, it is downloaded.

        Raises:
            RemoteNotFoundError: the content does not exist any more, or not yet.
            Pos3Error: further errors as for :meth:`download`.
        """
        self._check_open()
        location, resolved = self._components.stores.resolve(reference.url, None)
        job = self._components.registrations.containing(location, resolved, as_of=reference.as_of)
        if job is not None:
            path = job.local_path(location)
            if os.path.lexists(path) or not reference.exists:
                return self._path_of(job.registration, path)
            if job.registration.pushes:
                content = self._restored(reference, resolved, path, job.registration) if travels else None
                if content is None or not content.exists():
                    raise RemoteNotFoundError(
                        f"{reference.url}: {path} does not exist, and {job} does not download it; use sync(), which "
                        "begins with a download",
                        url=reference.url,
                    )
                return content
        if reference.upload is None or not travels:
            content = self._restored(reference, resolved, None, travels=travels) if reference.exists else None
            return content or self._path_without_content(reference)
        upload = UploadRequest(remote=reference.root_url, delete=False, **dict(reference.upload))
        pushed = self._components.make_registration(upload, is_restored=True)
        content = self._restored(reference, resolved, None, pushed) if reference.exists else None
        root = self.upload_of(upload, is_restored=True)
        return content or root / reference.path

    def _path_without_content(self, reference: Reference) -> Path:
        """The local path at which the content of a reference would be."""
        request = DownloadRequest(remote=reference.root_url)
        registration = self._components.make_registration(request, is_restored=True)
        return MirroredPath(os.path.join(registration.local, reference.path) if reference.path else registration.local)

    def _restored(
        self,
        reference: Reference,
        profile: Profile | None,
        registered: str | None,
        pushed: Registration | None = None,
        *,
        travels: bool = True,
    ) -> Path:
        """Downloads the content, to the local path of a registration that contains it if there is one.

        Args:
            pushed: the registration for upload that the content belongs to.
        """
        # The reference may come from another machine, where the endpoint has another address.
        reference = replace(reference, endpoint=self._components.stores.endpoint(parse(reference.url).scheme, profile))
        is_known = reference.is_known_to(self.cache_root)
        if is_known and reference.pushes and not travels and reference.has_local_changes(self.cache_root):
            logger.warning("%s: %s has changes that were not uploaded; left as it is", reference.url, reference.local)
            return MirroredPath(reference.local)
        if reference.is_part_of_filtered_root and registered is None:
            whole = self._restored(replace(reference, path=""), profile, None, pushed, travels=travels)
            return whole / reference.path
        local = registered or (reference.local if is_known else None)
        filters = dict(reference.filters) if reference.is_directory else {"as_of": reference.as_of}
        request = DownloadRequest(remote=reference.url, local=local, profile=profile, **filters)
        registration = self._components.make_registration(request, is_restored=True)
        content = self._download(registration, request)
        if pushed is not None:
            self._components.take_over_records(pushed, registration)
        return content

    # Upload

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
        extra_args: Mapping[str, Any] | None = None,
        watch: bool = False,
    ) -> Path:
        """Registers a local path for upload to ``remote``: every ``interval`` seconds, and when the mirror ends.

        The call creates the local directory and returns it. For a URL that looks like a file (``.../model.pt``), it
        creates only the directory above. It also checks that the bucket exists and that the credentials work.

        Args:
            remote: ``s3://bucket/key``. A local path is created as a directory and returned, and nothing is pushed.
            local: the local path to upload from. None means a path below the cache root.
            interval: the seconds before the first background push, and between the pushes. None pushes only at the end.
            delete: at the end, remove objects that have no local file. This happens only if the mirror ends without an
                error and the local path has files. Objects that another writer has put there meanwhile are never
                deleted. Background pushes delete only objects that this mirror itself has transferred. In the cache,
                the end also removes local files that an earlier mirror had synced and whose objects are gone since
                then.
            sync_on_error: push also when the mirror ends with an exception. Nothing is deleted in this case.
            exclude, profile, include, compare: as for :meth:`download`.
            overwrite: globs of files in a directory that each push uploads, changed or not. To match all files of a
                directory, write "state/*". The pattern "state" does not match them.
            max_delete: the most objects that may be deleted at the end, as a number or as a share such as "50%". If
                there are more, files are uploaded, nothing is deleted, and the end raises a PlanRefusedError.
            upload_last: globs of files that are pushed after all others, such as ``_SUCCESS``.
            follow_symlinks: push the files to which symbolic links point. With False, links are left out.
            fresh: empty the local path first, so that files of earlier mirrors are not uploaded. The path must be in
                the cache. The call is refused, and changes nothing, if a file there may not be in a store yet. It is
                also refused if an open mirror uses the path.
            extra_args: properties of the objects, under the names of boto3's ``upload_file``: ``ContentType``,
                ``CacheControl``, ``Metadata``, ``StorageClass``, ``Tagging``, ``ACL`` and so on. They apply to objects
                that are pushed from now on. Objects that need no push keep their properties. Without ``ContentType``,
                the name of the file gives the content type.
            watch: push each file within two seconds after it was closed or renamed into place. A file that is open for
                writing is not pushed. On systems other than Linux, a file is pushed when it has not changed for two
                seconds. Some changes wait for the next ``interval``: deletions, links, files behind links, and changes
                that the operating system does not report. If watching does not work, a warning says so.

        Raises:
            Pos3Error: as for :meth:`download`. If the last push fails, the end of the ``with`` statement raises the
                error.
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
            extra_args=extra_args,
            watch=watch,
        )
        return self.upload_of(request)

    def upload_of(self, request: UploadRequest, *, is_restored: bool = False) -> Path:
        """Does the same as :meth:`upload`, with the arguments as one value.

        Args:
            is_restored: whether the request comes from a reference and not from the caller.
        """
        self._check_open()
        if not is_url(request.address):
            return _local_directory(request.address, request.fresh)
        registration = self._components.make_registration(request, is_restored=is_restored)
        if request.fresh:
            check_can_be_emptied(self.cache_root, registration.local)

        def begin(job: Job) -> None:
            is_surveyed = self._survey_if_reachable(job)
            self._components.claim_path(job, self._check_open)
            self._empty_if_fresh(job)
            if is_surveyed:
                job.check_same_kind()
            job.begin_use()
            job.prepare_local()
            self._begin_to_push(job)

        return self._register(registration, begin, self._pusher.join)

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
        extra_args: Mapping[str, Any] | None = None,
        watch: bool = False,
    ) -> Path:
        """Downloads ``remote`` now, and then pushes the local path as :meth:`upload` does.

        Use it to continue from a checkpoint. If nothing is at the URL yet, nothing is downloaded.

        Args:
            remote, local, exclude, profile, include, compare, adopt: as for :meth:`download`.
            interval, sync_on_error, overwrite, upload_last, follow_symlinks, extra_args, watch: as for :meth:`upload`.
            delete_local: ``delete`` of the download: remove local files that have no object at the URL.
            delete_remote: ``delete`` of the upload: remove objects that have no local file.
            max_delete: the most files that the download may delete, and the most objects that the end may delete; see
                :meth:`download` and :meth:`upload`.
            upload_exclude: globs that replace ``exclude`` in the pushes. Files that match are downloaded, but not
                pushed. A matching local file that has never been in the store stays. None means ``exclude``, and ``[]``
                pushes everything. Objects that match ``exclude`` are never deleted.
            fresh: empty the local path first, so that everything is downloaded again; see :meth:`upload`.

        Raises:
            Pos3Error: as for :meth:`download`. If the last push fails, the end of the ``with`` statement raises the
                error.
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
            extra_args=extra_args,
            watch=watch,
        )
        return self.sync_of(request)

    def sync_of(self, request: SyncRequest) -> Path:
        """Does the same as :meth:`sync`, with the arguments as one value."""
        self._check_open()
        if not is_url(request.address):
            return _local_directory(request.address, request.fresh)
        registration = self._components.make_registration(request)
        if request.fresh:
            check_can_be_emptied(self.cache_root, registration.local)

        def begin(job: Job) -> None:
            is_surveyed = self._survey_if_reachable(job)
            if not is_surveyed and request.fresh:
                raise OfflineError(
                    f"{job}: fresh=True downloads everything again, and the store cannot be asked; nothing was changed"
                )
            self._components.claim_path(job, self._check_open)
            self._empty_if_fresh(job)
            job.begin_use()
            self._downloader.begin_sync(job, is_surveyed=is_surveyed, adopt=request.adopt)
            job.active_claim.download_finished()
            job.prepare_local()
            self._begin_to_push(job)

        def join(job: Job, merged: Registration) -> None:
            if job.registration.kind == "upload":
                # The upload has downloaded nothing, so the objects are downloaded now.
                self._downloader.download_unregistered(replace(registration, request=request.as_download()))
            self._pusher.join(job, merged)

        return self._register(registration, begin, join)

    def _survey_if_reachable(self, job: Job) -> bool:
        """Surveys the URL of an upload or sync. Returns False if the store cannot be reached, so that it waits."""

        def survey() -> bool:
            job.first_survey()
            return True

        def begin_offline(_reason: str) -> bool:
            job.begin_offline()
            return False

        return self._components.network.ask(job.store.endpoint, survey, begin_offline)

    def _empty_if_fresh(self, job: Job) -> None:
        if job.request.fresh:
            job.check_can_be_emptied()
            empty_root(self.cache_root, job.registration.local)

    def _begin_to_push(self, job: Job) -> None:
        self._pusher.begin(job)
        if not self.is_forked_child:
            add_mirror(self)

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
        """Copies newer files in both directions, once. When it returns, both sides have the newer state of each file.

        The records of the last sync tell which side of a file is newer. A file that has changed on both sides since
        then is a conflict. A file that differs and was never synced is a conflict, too. The error names all conflicts,
        and nothing is changed.

        The call does not push later changes; :meth:`sync` does.

        Args:
            remote: ``s3://bucket/key``. If nothing is at the URL yet, it counts as an empty directory.
            local: the local path. None means a path below the cache root.
            delete_local: remove local files that were synced, have not changed, and are gone from the store. Otherwise
                they are uploaded again.
            delete_remote: remove objects that were synced, have not changed, and are gone locally. Otherwise they are
                downloaded again.
            max_delete: the most files that may be deleted on each side, as a number or as a share such as "50%".
            exclude, profile, include, compare, upload_last: as for :meth:`download` and :meth:`upload`.

        Raises:
            PlanRefusedError: there are conflicts, or too many deletes; nothing was changed.
            TransferError, UnsafeKeysError: some files failed. The others were copied, and nothing was deleted.
            Pos3Error: further errors as for :meth:`download`.
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
        """Does the same as :meth:`bisync`, with the arguments as one value."""
        self._check_open()
        _check_remote("bisync()", request.address)
        self._refuse_offline("a two-way sync")
        if self.is_forked_child:
            raise NoMirrorError("a forked child does not sync; call this in the process that opened the mirror")
        registration = self._components.make_registration(request)
        bisync_job = self._components.make_bisync_job(registration)
        job = bisync_job.job
        try:
            self._components.registrations.do_once(job, lambda: self._run_bisync(bisync_job, in_journal=True))
        finally:
            job.end_use()
        self._components.journal.remove(registration)
        remove_pushed_entries(self.cache_root, [registration])
        self._components.observer.registered("sync", str(registration.location))
        self._evict_to_limit()
        return self._path_of(registration)

    def begin_bisync(self, request: BisyncRequest, *, watch: bool = False) -> Path:
        """Does the same as :meth:`bisync`, and then pushes local changes at each :meth:`flush` and at the end.

        With ``watch``, each file is also pushed soon after it was closed, as by :meth:`upload`.
        """
        self._check_open()
        self._refuse_offline("a two-way sync")

        def begin(job: Job) -> None:
            self._run_bisync(BisyncJob(job), in_journal=False)
            self._begin_to_push(job)
            if watch:
                self._pusher.watch(job)

        return self._register(self._components.make_registration(request), begin)

    def _refuse_offline(self, what: str) -> None:
        if not self._components.network.is_used:
            raise OfflineError(f"{what} needs the store, and this mirror works offline; nothing was changed")

    def _run_bisync(self, bisync_job: BisyncJob, *, in_journal: bool) -> None:
        """Brings both sides up to date with each other.

        Args:
            in_journal: add the job to the journal, so that it can be recovered if this process dies.
        """
        job = bisync_job.job
        job.first_survey()
        self._components.claim_path(job, self._check_open)
        job.begin_use()
        if in_journal:
            self._components.journal.add(job.journal_entry())
        ensure_space = self._components.disk_space.ensure
        self._components.runner.run(job, lambda _, terms: bisync_job.run(terms, ensure_space))

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
        extra_args: Mapping[str, Any] | None = None,
    ) -> Path:
        """Makes ``remote`` a complete set of the files in ``local``.

        The call returns when all files and the marker are in the store. It deletes the old marker first. Then it
        uploads files and deletes objects. It uploads the new marker last. So a download with ``require_marker`` gets
        the old set or the new set. While neither set is complete, it gets an error. If the set is complete and up to
        date, the call changes nothing. Only one publisher at a time may publish to a prefix.

        Args:
            remote: ``s3://bucket/key`` of a prefix.
            local: a directory with all files of the set. Later changes in it are not pushed.
            marker: the name of the marker below ``remote``. A local file with this name is not published.
            delete: remove objects that have no local file. With False, they stay and belong to the set.
            exclude, profile, include, compare, max_delete, follow_symlinks, extra_args: as for :meth:`upload`.

        Raises:
            InvalidArgumentError, ConflictError, PlanRefusedError, UnsafeKeysError: nothing was changed.
            TransferError: some files failed. The set has no marker. Another call continues where this one stopped.
            IncompleteSetError: one of the sides was changed during the call. The set has no marker.
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
            extra_args=extra_args,
        )
        _check_remote("publish()", request.address)
        self._refuse_offline("publish()")
        if self.is_forked_child:
            raise NoMirrorError("a forked child does not publish; call this in the process that opened the mirror")
        registration = self._components.make_registration(request)
        publication = self._components.make_publication(registration)
        job, runner = publication.job, self._components.runner
        job.begin_use()
        try:
            self._components.registrations.do_once(
                job, lambda: runner.run(job, lambda _, terms: publication.publish(terms))
            )
        finally:
            job.end_use()
        self._components.observer.registered("upload", str(registration.location))
        return self._path_of(registration)

    # Questions and plans, which change nothing

    @overload
    def ls(
        self,
        prefix: StrPath | Part,
        recursive: bool = ...,
        profile: str | Profile | None = ...,
        *,
        as_of: datetime | str | None = ...,
        details: Literal[False] = ...,
    ) -> list[str]: ...

    @overload
    def ls(
        self,
        prefix: StrPath | Part,
        recursive: bool = ...,
        profile: str | Profile | None = ...,
        *,
        as_of: datetime | str | None = ...,
        details: Literal[True],
    ) -> list[Listed]: ...

    def ls(
        self,
        prefix: StrPath | Part,
        recursive: bool = False,
        profile: str | Profile | None = None,
        *,
        as_of: datetime | str | None = None,
        details: bool = False,
    ) -> list[str] | list[Listed]:
        """Returns what is directly below ``prefix``, or with ``recursive`` at all levels, sorted.

        For a URL, the entries are full URLs. A prefix has no slash at the end. For a local path, the entries are paths.
        For a single object or file, the only entry is the object or file itself. If nothing is there, the list is
        empty.

        Args:
            prefix: ``s3://bucket/key``, a :class:`Part`, or a local path. ``s3://`` lists all buckets. In a URL or
                path, ``*``, ``?`` and ``[...]`` match within a name, and ``**`` matches across names. A pattern that
                matches nothing is taken as a name. For a part, only its range is listed.
            recursive: list all levels.
            profile: a profile or its name. A profile in the URL wins.
            as_of: list what a versioned bucket held at that time; see :meth:`download`. This needs the name of a
                bucket.
            details: return :class:`Listed` values, which also have size, time, ETag and storage class.

        Raises:
            InvalidArgumentError, InvalidURLError: an argument is wrong, or ``as_of`` is given without a bucket.
            BucketNotFoundError, AccessDeniedError, EndpointError, StoreError: a request to the store failed.
        """
        self._check_open()
        request = DownloadRequest(remote=prefix, profile=profile, as_of=as_of)
        address = request.address
        if not is_url(address):
            _check_local_arguments("ls", request)
            return describe_local(address, recursive) if details else list_local(address, recursive)
        if (url_profile := profile_of_all_buckets(str(address))) is not None:
            return self._all_buckets(request, url_profile, details=details)

        def listed(store: Store, location: Location) -> list[str] | list[Listed]:
            if isinstance(request.remote, Part):
                list_it = describe_part if details else list_part
                return list_it(store, location, request.remote, recursive)
            return describe_remote(store, location, recursive) if details else list_remote(store, location, recursive)

        return self._components.ask(request, listed)

    def _all_buckets(self, request: DownloadRequest, url_profile: str, *, details: bool) -> list[str] | list[Listed]:
        """The buckets of a caller.

        Raises:
            InvalidArgumentError: an earlier time is asked for.
            OfflineError: this mirror works offline.
        """
        if request.as_of is not None:
            raise InvalidArgumentError(
                "as_of: the buckets of an earlier time are not known; list one bucket", argument="as_of"
            )
        self._refuse_offline("a list of all buckets")
        caller = resolve_profile(request.profile, url_profile=url_profile) or self.default_profile
        return describe_all_buckets(caller) if details else list_all_buckets(caller)

    def ls_versions(
        self, prefix: str, recursive: bool = False, profile: str | Profile | None = None
    ) -> Iterator[tuple[str, Version | None]]:
        """Returns the URL and each version of the objects at and below a URL. Deleted objects are included.

        Unless ``recursive``, each directory directly below the URL comes once, with None as its version.

        Raises:
            InvalidArgumentError: ``prefix`` is a pattern, or a part.
            StoreError: the bucket keeps no versions. Further errors as for :meth:`ls`.
        """
        self._check_open()
        request = DownloadRequest(remote=prefix, profile=profile)
        _check_remote("ls --versions", request.address)
        if isinstance(request.remote, Part):
            raise InvalidArgumentError(
                "versions are listed of a whole URL, and this is a part of one", argument="prefix"
            )
        return self._components.ask(request, lambda store, location: list_versions(store, location, recursive))

    def fingerprint(
        self,
        path_or_url: StrPath | Part,
        *,
        include: Patterns = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
    ) -> str | None:
        """Returns a short text that changes if the key, size or ETag of any object changes, and only then.

        Modification times and empty directories do not count. For a URL that this mirror has registered, the text
        describes the objects at the last download or push, and no request is sent. For any other URL, it describes the
        objects now, and they are listed.

        The result is None if nothing is there. It is also None if local files have changed since their last download or
        push.

        Args:
            path_or_url: ``s3://bucket/key`` of an object or a prefix, a :class:`Part`, or a local path that has a URL.
            include, exclude: globs of the objects that count, as for :meth:`download`.
            profile: a profile or its name. A profile in the URL wins.

        Raises:
            InvalidArgumentError: the local path belongs to no registration and is not in the cache.
            BucketNotFoundError, AccessDeniedError, EndpointError, StoreError: a request to the store failed.
        """
        self._check_open()
        request = DownloadRequest(remote=path_or_url, profile=profile, include=include, exclude=exclude)
        chosen, within = request.filter, request.within
        if not is_url(request.address):
            return self._local_fingerprint(request.address, chosen)
        location, resolved = self._components.stores.resolve(str(request.address), profile)
        job = self._components.registrations.containing(location, resolved, within)
        if job is not None and os.path.exists(job.local_path(location)):
            return job.fingerprint(job.path_of(location), chosen, within)
        return self._components.ask(
            request, lambda store, location: fingerprint_of_objects(store, location, chosen, within)
        )

    def _local_fingerprint(self, path: StrPath, chosen: Filter) -> str | None:
        reference = self.reference(path)
        if reference is None:
            raise InvalidArgumentError(
                f"{quoted(os.fspath(path))} has no URL: it is not in the cache, and no registration of this mirror "
                "contains it; pass the URL instead"
            )
        for job in self._components.registrations.jobs():
            if job.registration.local == reference.root and job.registration.within.is_everything:
                return job.fingerprint(reference.path, chosen)
        return reference.fingerprint(chosen)

    def partition(
        self,
        url: str,
        *,
        parts: int | None = None,
        max_bytes: int | str | None = None,
        include: Patterns = None,
        exclude: Patterns = None,
        profile: str | Profile | None = None,
    ) -> list[Part]:
        """Divides the objects of a URL into parts with about the same number of bytes. This needs one listing.

        Each part is a range of the paths below the URL, in sorted order. Every object belongs to exactly one part. This
        is also true for objects that are added later. The needed memory does not grow with the number of objects.

        With ``parts``, no part has more than 1.5 times the mean number of bytes, unless a single object has more than
        half of the mean. If there are fewer objects than parts, the last parts are empty.

        Args:
            url: ``s3://bucket/key`` of a prefix or an object.
            parts: the number of parts.
            max_bytes: the most bytes of a part, as a number or as a text such as "10GB". There are as few parts as
                possible. An object with more bytes is alone in its part.
            include, exclude: globs of the objects that take part, as for :meth:`download`. Each part keeps these globs.
            profile: a profile or its name. A profile in the URL wins. Each part keeps the name.

        Raises:
            InvalidArgumentError: neither ``parts`` nor ``max_bytes`` is given, or both are, or the profile has no name.
            RemoteNotFoundError: nothing is at the URL (also a FileNotFoundError).
            BucketNotFoundError, AccessDeniedError, EndpointError, StoreError: a request to the store failed.
        """
        self._check_open()
        cut = check_division(parts, max_bytes)
        _check_remote("partition()", str(url))
        self._refuse_offline("partition()")
        location, resolved = self._components.stores.resolve(str(url), profile)
        patterns = as_patterns(include, "include"), as_patterns(exclude, "exclude")
        whole = Part(self._url_for_others(location, resolved), include=patterns[0], exclude=patterns[1])
        return parts_of(self._components.stores.of(location, resolved), location, whole, cut)

    def _url_for_others(self, location: Location, profile: Profile | None) -> str:
        """The URL with the name of its profile, with which others find the same place.

        Raises:
            InvalidArgumentError: the profile has no name.
        """
        url = f"{location}/" if location.is_prefix else str(location)
        named = with_profile_name(url, profile, self.default_profile)
        if named is None:
            raise InvalidArgumentError(
                f"{location}: parts contain the name of the profile, but this profile has none; register it with "
                "pos3.register_profile(), and pass its name",
                argument="profile",
            )
        return named

    def url_of(self, path: StrPath) -> str | None:
        """Returns the URL that a local path mirrors, such as ``s3://lab@bucket/data/a.csv``, or None if it has none.

        The path must belong to a registration of this mirror, or be in the cache. The URL of a directory ends in "/".
        """
        reference = self.reference(path)
        return reference.url if reference is not None else None

    def reference(self, path: StrPath) -> Reference | None:
        """Returns a reference to a local path, or None. A mirror on any machine can :meth:`restore` the path from it.

        The path must belong to a registration of this mirror, or be in the cache. A reference contains the name of the
        profile. So the result is None if the path belongs to a :class:`Profile` without a name, unless this profile is
        the default profile of the mirror.
        """
        self._check_open()
        registrations = [job.registration for job in self._components.registrations.jobs()]
        return find_reference(
            os.fspath(path),
            self.cache_root,
            registrations,
            self._components.stores.default_profile,
            self._components.stores.endpoint,
        )

    @planning(DownloadRequest, download, by_name=["delete"])
    def plan_download(self, request: DownloadRequest) -> TransferPlan:
        """Returns what :meth:`download` would do now with the same arguments. Nothing is copied, deleted or created.

        ``remote``, ``local``, ``exclude`` and ``profile`` may be given by position, in this order. All other arguments,
        also ``delete``, are given by name.

        If :meth:`download` would raise a :class:`PlanRefusedError` (``max_delete``, a directory that needs ``adopt``),
        the plan is still returned, and its ``refusal`` says why.

        Raises:
            InvalidURLError: ``remote`` is a local path. Further errors as for :meth:`download`.
        """
        return as_transfer_plan(*self.download_plan_of(request))

    def download_plan_of(self, request: DownloadRequest) -> tuple[Registration, Plan]:
        """Does the same as :meth:`plan_download`, but returns the registration and the internal plan."""
        registration = self._registration_for_plan(request)
        components = self._components
        job, plan = components.network.ask(
            components.stores.of(registration.location, registration.profile).endpoint,
            lambda: self._planned_download(components.make_job(registration), missing_ok=request.missing_ok),
            lambda reason: self._planned_download(
                components.make_offline_job(registration, reason), missing_ok=request.missing_ok
            ),
        )
        check_target(job, plan)
        refusals = [
            _adoption_refusal(job, plan) if request.delete and not request.adopt else "",
            delete_refusal(plan, request.max_delete, str(registration)),
        ]
        return registration, replace(plan, refusal="\n".join(filter(None, refusals)))

    def _planned_download(self, job: Job, *, missing_ok: bool) -> tuple[Job, Plan]:
        job.check_source()
        try:
            return job, job.plan_download(delete=job.request.deletes_local)
        except RemoteNotFoundError:
            if not missing_ok:
                raise
            # Objects may be missing, but not the bucket: this raises if it is.
            job.first_survey()
            return job, Plan("download")

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
        extra_args: Mapping[str, Any] | None = None,
    ) -> TransferPlan:
        """Returns what the last push of :meth:`upload` would do now.

        Nothing is copied, deleted or created. If the local path does not exist, the plan is empty. If the push would
        raise a :class:`PlanRefusedError` (``max_delete``), the plan is still returned, and its ``refusal`` says why.
        Its ``problems`` list the files that could not be pushed.

        Args:
            remote, local, exclude, profile, include, compare, delete, max_delete: as for :meth:`upload`.
            upload_last, overwrite, follow_symlinks, extra_args: as for :meth:`upload`.

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
            extra_args=extra_args,
        )
        return as_transfer_plan(*self.upload_plan_of(request))

    def upload_plan_of(self, request: UploadRequest) -> tuple[Registration, Plan]:
        """Does the same as :meth:`plan_upload`, but returns the registration and the internal plan."""
        registration = self._registration_for_plan(request)
        plan = self._components.make_job(registration).plan_upload(delete=request.delete)
        return registration, replace(plan, refusal=delete_refusal(plan, request.max_delete, str(registration)))

    @planning(BisyncRequest, bisync)
    def plan_bisync(self, request: BisyncRequest) -> TwoWayPlan:
        """Returns what :meth:`bisync` would do now with the same arguments. Nothing is copied, deleted or created.

        If :meth:`bisync` would raise a :class:`PlanRefusedError` (conflicts, ``max_delete``), the plan is still
        returned, and its ``refusal`` says why.

        Raises:
            InvalidURLError: ``remote`` is a local path. Further errors as for :meth:`bisync`.
        """
        return self.bisync_plan_of(request).as_two_way_plan()

    def bisync_plan_of(self, request: BisyncRequest) -> BisyncPlans:
        """Does the same as :meth:`plan_bisync`, but returns the internal plans."""
        return self._components.make_bisync_job(self._registration_for_plan(request)).plan()

    def _registration_for_plan(self, request: Request) -> Registration:
        self._check_open()
        _check_remote("a plan", request.address)
        return self._components.make_registration(request)

    def report(self) -> Report:
        """Returns how much this mirror has copied, deleted and kept so far, and what failed, for all registrations."""
        return self._components.runner.total

    def registrations(self) -> tuple[Registered, ...]:
        """Returns the registrations of this mirror, each with its report, also those that failed to begin."""
        return tuple(job.as_registered() for job in self._components.registrations.jobs_and_failed())

    # Opening, pushing and closing

    def open(self) -> Self:
        """Makes the mirror usable. No local path is created, and no request is sent.

        Raises:
            NoMirrorError: it was opened before.
        """
        with self._lock:
            if self._state != "new":
                raise NoMirrorError(f"this mirror is {self._state} already; make a new one")
            self._state = "open"
        self._evict_to_limit()
        return self

    def flush(self, path_or_url: StrPath | None = None, timeout: float | None = None) -> Report:
        """Pushes all changes now, and returns when they are in the store. The result reports what was pushed meanwhile.

        It works like a background push. Unchanged files cost no request. Only objects that this mirror itself has
        transferred are deleted.

        Args:
            path_or_url: a registered URL or local path, or one inside it. None pushes everything.
            timeout: the most seconds to wait. None waits until the push ends.

        Raises:
            InvalidArgumentError: no registration for upload contains ``path_or_url``.
            PushTimeoutError: the push has not ended in time. The message says whether it goes on.
            TransferError: some files failed. The others were pushed.
        """
        self._check_open()
        check_timeout(timeout)
        if self.is_forked_child:
            return Report()
        jobs = self._components.registrations.pushing_at(path_or_url)
        return self._report_of(lambda: self._pusher.flush(jobs, timeout))

    def _push_additions(self, urls: Collection[str]) -> Report:
        """Pushes new and changed files of some registrations now, and deletes nothing.

        Args:
            urls: the URLs of the registrations, as :meth:`_pushed_places` returns them.

        Raises:
            NoMirrorError: the mirror is closed.
            TransferError: some files failed. The others were pushed.
        """
        self._check_open()
        if self.is_forked_child:
            return Report()
        return self._report_of(lambda: self._pusher.push_additions(urls))

    def _report_of(self, push: Callable[[], None]) -> Report:
        """The report of what this mirror has transferred while ``push`` ran."""
        before = self.report()
        push()
        return self.report() - before

    def _pushed_places(self) -> tuple[tuple[str, str], ...]:
        """The URL and the local path of each registration for upload."""
        registered = [job.registration for job in self._pusher.pushing()]
        return tuple((str(each.location), each.local) for each in registered)

    def finish(self, *, delete: bool = True) -> Report:
        """Pushes everything and deletes stale objects, as the end of a mirror does, but leaves the mirror open.

        Stale objects are objects that have no local file. With ``delete=False``, nothing is deleted. If another thread
        calls :meth:`close` with an error, this call stops, and registrations whose pushes have not begun are not
        pushed.

        Raises:
            TransferError: some files failed.
        """
        self._check_open()
        if self.is_forked_child:
            return Report()
        try:
            return self._report_of(lambda: self._pusher.push_everything(self._check_open, delete=delete))
        finally:
            for job in self._pusher.pushing():
                job.active_claim.cancel_last_push()

    def close(self, error: BaseException | None = None, *, push: bool = True) -> None:
        """Ends the mirror. Further calls do nothing.

        - Without ``error``, everything that is registered for upload is pushed and stale objects are deleted, as by
          :meth:`finish`.
        - With ``error``, only registrations with ``sync_on_error`` are pushed, and nothing is deleted. Failures are
          logged, and added to ``error`` as notes.
        - With ``push=False``, nothing is pushed.
        - A forked child pushes nothing.

        One line says what the mirror has pushed and deleted.

        Raises:
            TransferError: a last push failed (only without ``error``). The message says how to push the rest.
        """

        def is_wanted(job: Job) -> bool:
            return push and (error is None or job.request.sync_on_error)

        self._close(error, is_wanted, lambda jobs: self._push_at_end(jobs, error, push))

    def _close(
        self, error: BaseException | None, is_wanted: Callable[[Job], bool], push: Callable[[list[Job]], None]
    ) -> None:
        """Ends the mirror after ``push``, which gets the wanted jobs. The journal keeps those that are not pushed."""
        with contextlib.ExitStack() as steps:
            # The steps run from the last to the first. An interrupt skips the step that it hits, and no other.
            with self._lock:
                if self._state != "open":
                    return
                if sys.is_finalizing():
                    # No thread can run any more, so the registrations are left to recovery, as after a kill.
                    self._state = "closed"
                    return
                jobs = [job for job in self._pusher.pushing() if is_wanted(job) and not self.is_forked_child]
                self._pusher.unpushed = {job.registration for job in jobs}
                steps.callback(self._end)
                self._closing_thread = threading.current_thread()
                self._state = "closing"
            if not self.is_forked_child:
                # When the process is being terminated, the deadline is used up: unfinished uploads stay in the store.
                if error is None or isinstance(error, Exception):
                    steps.callback(self._components.stores.abort_unfinished)
                steps.callback(self._show_summary)
                push(jobs)
        if error is None and not self.is_forked_child and self._part_of is None:
            self._push_kept_by_earlier()

    def _push_kept_by_earlier(self) -> None:
        """Pushes what earlier mirrors of this cache have kept because they could not reach the store.

        A mirror that has only been asked, such as for a listing or a plan, changes nothing.
        """
        if not (self._components.network.is_available and self._components.registrations.jobs()):
            return
        for recovered in push_kept_offline(self.options, self._open_progress):
            if recovered.error is not None:
                logger.warning("kept offline, and not pushed yet: %s", recovered.error)
            elif recovered.outcome == "pushed":
                self.show_line(f"{recovered.url}: {recovered.report.figures or 'nothing to do'}, kept offline before")

    def _show_summary(self) -> None:
        line = summary_of_changes(self.registrations())
        if line:
            self.show_line(line)

    def close_at_exit(self, error: BaseException | None) -> None:
        """Ends a mirror that is still open when the interpreter exits. It deletes nothing and starts no thread.

        Everything that is registered for upload is pushed. If ``error`` has ended the program, only registrations with
        ``sync_on_error`` are pushed. The log says what is done, because no code can catch an exception any more. A
        forked child does nothing.
        """
        if self.is_forked_child:
            return
        if self._state == "closing":
            if self._closing_thread is threading.current_thread():
                # An interrupt has cut the end off.
                self._end()
            else:
                # The exit would cut the end off.
                self._closed.wait(self.options.shutdown_timeout)
            return
        jobs = self._pusher.pushing()
        problem = "it is open at the interpreter's exit. Close it, or use 'with pos3.mirror():'"
        if error is None:
            logger.warning("%r: %s. Pushed now, without deletes: %s", self, problem, _names_of(jobs))
            self._close(None, lambda job: True, self._push_at_exit)
        else:
            pushed = [job for job in jobs if job.request.sync_on_error]
            rest = [job for job in jobs if not job.request.sync_on_error]
            logger.warning(
                "%r: %s. The program has ended with %s. Pushed now, without deletes: %s. Not pushed, without "
                "sync_on_error: %s",
                self,
                problem,
                type(error).__name__,
                _names_of(pushed),
                _names_of(rest),
            )
            self.close(error)

    def _push_at_exit(self, jobs: list[Job]) -> None:
        self._pusher.end_background(at_once=False)
        for failure in without_kept(self._pusher.push_finally(jobs, lambda: None, delete=False)):
            logger.error("%s; 'pos3 recover' pushes what is left", failure)

    def _end(self) -> None:
        components = self._components
        with contextlib.ExitStack() as steps:
            # As in _close(): from the last to the first, and none prevents another.
            steps.callback(self._evict_to_limit)
            steps.callback(components.stores.hang_up)
            if self._part_of is None:
                steps.callback(components.claims.end)
            for job in components.registrations.jobs():
                steps.callback(self._end_use, job)
            steps.callback(self._closed.set)
            steps.callback(remove_mirror, self)
            steps.callback(self._set_closed)
            steps.callback(components.journal.end, self._pusher.unpushed, self._pusher.kept_offline)

    def _set_closed(self) -> None:
        with self._lock:
            self._state = "closed"

    def _end_use(self, job: Job) -> None:
        if job.registration in self._pusher.unpushed:
            job.active_claim.leave_to_others()
        job.end_use()

    def _push_at_end(self, jobs: list[Job], error: BaseException | None, push: bool) -> None:
        self._pusher.end_background(at_once=error is not None)
        if error is None:
            if push:
                self._push_at_clean_end()
            return
        failures = [failure for job in self._components.registrations.jobs() for failure in job.failed_pushes[-1:]]
        if push:
            # A process that is stopped from outside has little time.
            seconds = None if isinstance(error, Exception) else self.options.shutdown_timeout
            with self._components.runner.deadline(seconds):
                failures += without_kept(self._pusher.push_finally(jobs, lambda: None, delete=False))
        texts = list(map(str, failures))
        if texts and self._pusher.unpushed:
            texts[-1] += f". {self._advice()}"
        for text in texts:
            logger.error("after %s: %s", type(error).__name__, text)
            error.add_note(f"pos3: {text}")

    def _push_at_clean_end(self) -> None:
        try:
            self._pusher.push_everything(lambda: None, may_keep=True)
        except PlanRefusedError:
            # Everything was pushed, and only the deletes were refused.
            raise
        except TransferError as failure:
            raise TransferError(failure.operation, failure.failures, self._advice()) from failure.failures[0]
        except BaseException as failure:
            failure.add_note(f"pos3: {self._advice()}")
            raise

    def _advice(self) -> str:
        default = os.path.realpath(os.path.expanduser(DEFAULT_CACHE_ROOT))
        return how_to_push_the_rest(self.cache_root, default, is_in_journal=self._components.journal.is_written)


def _check_remote(what: str, remote: StrPath) -> None:
    """Returns if ``remote`` is a URL. ``what`` names the call in the error.

    Raises:
        InvalidURLError: it is a local path.
    """
    if not is_url(remote):
        raise InvalidURLError(f"{what} needs a remote URL such as 's3://bucket/key', got {quoted(os.fspath(remote))}")


def _check_local_arguments(verb: str, request: DownloadRequest) -> None:
    """Returns if the arguments of a verb mean something for a local path.

    Raises:
        InvalidURLError: one of them does not.
    """
    for name in ("as_of", "fingerprint"):
        if getattr(request, name) is not None:
            _check_remote(f"{verb}({name}=...)", request.address)


def _existing_path(address: StrPath, missing_ok: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not missing_ok and not path.exists():
        raise RemoteNotFoundError(f"{quoted(os.fspath(address))} is taken as a local path, and nothing is there")
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


def _names_of(jobs: list[Job]) -> str:
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
