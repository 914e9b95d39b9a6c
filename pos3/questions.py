"""What a mirror can be asked: listings, URLs of paths, fingerprints, plans. Nothing is changed by it."""

from __future__ import annotations

import os
from typing import Any, Literal

from pos3.errors import (
    InvalidArgumentError,
    InvalidURLError,
)
from pos3.filters import Filter, as_patterns
from pos3.fingerprint import fingerprint_of_objects
from pos3.life import MirrorLife
from pos3.ls import list_local, list_remote
from pos3.options import StrPath
from pos3.parts import Patterns
from pos3.plan import Compare, Plan
from pos3.profiles import Profile
from pos3.references import Reference, refer
from pos3.registration import (
    Registration,
    build_filter,
)
from pos3.url import is_url, shown


class Questions(MirrorLife):
    """The calls of a :class:`pos3.Mirror` that change nothing."""

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
            raise InvalidArgumentError(
                f"{shown(os.fspath(path))} belongs to no registration and to no URL of the cache"
            )
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
        return refer(os.fspath(path), self.cache_root, registrations, self._default_profile, self._endpoint)

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
            ConflictError, and without ``adopt`` PlanRefusedError, as by the download itself.
        """
        wanted = self._dry("download", remote, local, profile, (include, exclude, compare, None))
        link = self._link(wanted)
        plan = link.plan_download(delete=delete)
        link.check_target(plan)
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
            upload_delete=delete,
            drops_lost=delete,
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
