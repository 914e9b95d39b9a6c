"""What a mirror brings here: downloads, and what references stand for."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from pos3.errors import IncompleteSetError, RemoteNotFoundError
from pos3.jobs import Closed, Link, Reference, Registration, check_flag, check_local, check_marker, is_coherent
from pos3.mirrors.parts import Patterns
from pos3.mirrors.questions import Questions
from pos3.options import StrPath
from pos3.plan import Compare
from pos3.profiles import Profile
from pos3.url import is_url, local_path, parse, shown

logger = logging.getLogger("pos3")


class Downloads(Questions):
    """The part of a :class:`pos3.Mirror` that fills local paths; its uploads build on it."""

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
            exclude: globs of what is left alone on both sides (see :mod:`pos3.filters.matching`).
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
        check_flag("missing_ok", missing_ok)
        check_flag("adopt", adopt)
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
            self._push_what_is_read(link)
            self._claim(link)
            link.begin_use()
            try:
                self._fetch(link, missing_ok=missing_ok, adopt=adopt)
            finally:
                link.held.end()

        path = self._register(wanted, begin)
        self._bound_cache()
        return path

    def _fill(self, wanted: Registration) -> None:
        """Downloads once, without a registration of its own."""
        link = self._link(wanted)
        self._claim(link)
        try:
            self._fetch(link, missing_ok=True, adopt=False)
        finally:
            link.end_use()

    def _push_what_is_read(self, link: Link) -> None:
        """What this mirror pushes to the same objects from other local paths is in the store first."""
        wanted = link.registration
        for other in self._registry.pushing():
            pushed = other.registration
            overlaps = pushed.profile == wanted.profile and pushed.location.overlaps(wanted.location)
            if overlaps and not is_coherent(wanted, pushed) and os.getpid() == self._pid:
                self._engine.run(other, Link.push)

    def _is_closed(self, link: Link) -> bool:
        """Whether another open mirror uploads from just this path, so that nothing is to be added to it."""
        local = os.path.realpath(link.registration.local)
        return any(isinstance(guard, Closed) and guard.local == local for guard in link.find_guards())

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
        # It may have been made on another machine, where the endpoint has another address.
        reference = replace(reference, endpoint=self._endpoint(parse(reference.url).scheme, profile))
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
            is_restored=True,
        )
        return self._download(wanted)


def _passed_through(address: StrPath, missing_ok: bool) -> Path:
    path = Path(os.path.realpath(local_path(address)))
    if not missing_ok and not path.exists():
        raise RemoteNotFoundError(f"{shown(os.fspath(address))} is taken as a local path, and nothing is there")
    return path
