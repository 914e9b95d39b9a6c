"""One mirror, as its users call it: what it brings there, on top of what it brings here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pos3.errors import InvalidArgumentError, InvalidURLError, NoMirrorError
from pos3.filters import as_patterns
from pos3.jobs import Link, PublishingLink, Registration, check_flag, check_interval, check_local, check_marker
from pos3.mirrors.downloads import Downloads
from pos3.mirrors.parts import Patterns, mirrors
from pos3.options import StrPath
from pos3.plan import Compare
from pos3.profiles import Profile
from pos3.state import check_can_be_emptied, empty_root
from pos3.url import is_url, local_path, shown


class Mirror(Downloads):
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
        self._check_open()
        check_local(local)
        if not is_url(remote):
            check_interval(interval)
            return _local_directory(remote, fresh)
        wanted = self._wanted(
            "upload",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            upload_delete=check_flag("delete", delete),
            drops_lost=delete,
            interval_seconds=check_interval(interval),
            sync_on_error=check_flag("sync_on_error", sync_on_error),
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
            fresh=check_flag("fresh", fresh),
        )
        return self.begin_upload(wanted)

    def begin_upload(self, wanted: Registration) -> Path:
        """As :meth:`upload`, of a registration that has been made already."""
        if wanted.fresh:
            check_can_be_emptied(self.cache_root, wanted.local)

        def begin(link: Link) -> None:
            link.take_stock()
            self._claim(link)
            self._empty_if_fresh(link)
            link.check_kinds()
            link.begin_use()
            link.prepare_local()
            self._begin_pushes(link)

        return self._register(wanted, begin, self._join)

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
        self._check_open()
        check_flag("adopt", adopt)
        check_local(local)
        if not is_url(remote):
            check_interval(interval)
            return _local_directory(remote, fresh)
        wanted = self._wanted(
            "sync",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            upload_exclude=None if upload_exclude is None else as_patterns(upload_exclude, "upload_exclude"),
            download_delete=check_flag("delete_local", delete_local),
            upload_delete=check_flag("delete_remote", delete_remote),
            drops_lost=delete_local and delete_remote,
            interval_seconds=check_interval(interval),
            sync_on_error=check_flag("sync_on_error", sync_on_error),
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
            fresh=check_flag("fresh", fresh),
        )
        if wanted.fresh:
            check_can_be_emptied(self.cache_root, wanted.local)

        def begin(link: Link) -> None:
            survey = link.take_stock()
            self._claim(link)
            self._empty_if_fresh(link)
            link.begin_use()
            if (survey.is_object or survey.is_prefix) and not self._is_closed(link):
                self._fetch(link, missing_ok=True, adopt=adopt)
            link.held.filled()
            link.prepare_local()
            self._begin_pushes(link)

        def join(link: Link, merged: Registration) -> None:
            if link.registration.kind == "upload":
                # What it pushes already is brought up to what S3 will be.
                self._fill(replace(wanted, kind="download"))
            self._join(link, merged)

        return self._register(wanted, begin, join)

    def _empty_if_fresh(self, link: Link) -> None:
        if link.registration.fresh:
            link.check_can_be_emptied()
            empty_root(self.cache_root, link.registration.local)

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


def _local_directory(address: StrPath, fresh: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if fresh and path.is_dir() and any(path.iterdir()):
        raise InvalidArgumentError(
            f"fresh=True empties only paths of the cache, and {path} is a local path with files", argument="fresh"
        )
    if not path.exists():
        path.mkdir(parents=True)
    return path


def open_mirrors() -> list[Mirror]:
    """The mirrors of this process that are open now."""
    return [mirror for mirror in list(mirrors) if mirror.is_open and isinstance(mirror, Mirror)]
