"""One mirror, as its users call it: download, upload, sync, publish, restore."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from pos3.errors import (
    IncompleteSetError,
    InvalidURLError,
    NoMirrorError,
    RemoteNotFoundError,
)
from pos3.filters import as_patterns
from pos3.life import Patterns, mirrors
from pos3.link import Link
from pos3.manifest import check_marker
from pos3.options import StrPath
from pos3.plan import Compare
from pos3.profiles import Profile
from pos3.publication import PublishingLink
from pos3.questions import Questions
from pos3.references import Reference
from pos3.registration import (
    Registration,
    check_flag,
    check_interval,
    check_local,
)
from pos3.url import is_url, local_path, shown

logger = logging.getLogger("pos3")


class Mirror(Questions):
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
        check_local(local)
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
            self._engine.run(link, lambda link, terms: link.download(terms, adopt=adopt, make_room=self._room.make))
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
        check_local(local)
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
        check_local(local)
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
        check_local(local)
        if not is_url(remote):
            raise InvalidURLError(
                f"publish() needs a remote URL such as 's3://bucket/set', got {shown(os.fspath(remote))}"
            )
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


def _local_directory(address: StrPath) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not path.exists():
        path.mkdir(parents=True)
    return path


def _passed_through(address: StrPath, missing_ok: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not missing_ok and not path.exists():
        raise RemoteNotFoundError(f"{shown(os.fspath(address))} is taken as a local path, and nothing is there")
    return path


def open_mirrors() -> list[Mirror]:
    """The mirrors of this process that are open now."""
    return [mirror for mirror in list(mirrors) if mirror.is_open and isinstance(mirror, Mirror)]
