"""What a mirror can be asked: listings, URLs of paths, fingerprints, plans. Nothing is changed by it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Literal

from pos3.errors import (
    InvalidArgumentError,
    InvalidURLError,
    PlanRefusedError,
    RemoteNotFoundError,
)
from pos3.filters import Filter, as_patterns
from pos3.jobs import (
    Link,
    Reference,
    Registration,
    build_filter,
    check_flag,
    check_marker,
    fingerprint_of_objects,
    list_local,
    list_remote,
    refer,
)
from pos3.mirrors.life import MirrorLife
from pos3.mirrors.parts import Patterns
from pos3.options import StrPath
from pos3.plan import Compare, Plan, delete_refusal
from pos3.profiles import Profile
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
        max_delete: int | str | None = None,
        missing_ok: bool = False,
        adopt: bool = False,
        require_marker: str | None = None,
    ) -> tuple[Registration, Plan]:
        """The plan of a download, with its registration; nothing is changed.

        Where the download itself would raise PlanRefusedError, the plan says why in its ``refusal``.

        Raises:
            As by the download itself in every other case.
        """
        wanted = self._dry(
            "download",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            download_delete=check_flag("delete", delete),
            marker="" if require_marker is None else check_marker(require_marker),
        )
        link = self._link(wanted)
        link.check_source()
        plan = self._planned_download(link, missing_ok=missing_ok)
        link.check_target(plan)
        refusals = [_adoption_refusal(link, plan) if delete and not adopt else "", delete_refusal(plan, max_delete)]
        return wanted, replace(plan, refusal="\n".join(filter(None, refusals)))

    def _planned_download(self, link: Link, *, missing_ok: bool) -> Plan:
        try:
            return link.plan_download(delete=link.registration.download_delete)
        except RemoteNotFoundError:
            if not missing_ok:
                raise
            # The bucket must exist all the same.
            link.take_stock()
            return Plan("download")

    def plan_upload(
        self,
        remote: str,
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
    ) -> tuple[Registration, Plan]:
        """The plan of an upload, with its registration; nothing is changed. As for :meth:`plan_download`."""
        wanted = self._dry(
            "upload",
            remote,
            local,
            profile,
            (include, exclude, compare, max_delete),
            upload_delete=check_flag("delete", delete),
            drops_lost=delete,
            upload_last=as_patterns(upload_last, "upload_last"),
            overwrite=as_patterns(overwrite, "overwrite"),
            follow_symlinks=check_flag("follow_symlinks", follow_symlinks),
        )
        plan = self._link(wanted).plan_upload(delete=delete)
        return wanted, replace(plan, refusal=delete_refusal(plan, max_delete))

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


def _adoption_refusal(link: Link, plan: Plan) -> str:
    try:
        link.check_adoption(plan)
    except PlanRefusedError as refusal:
        return str(refusal)
    return ""
