"""Lists the versions of the objects of one bucket, including delete markers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import NamedTuple
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from pos3.errors import StoreError
from pos3.etags import token
from pos3.store.base import Version
from pos3.store.retry import UnreachableError
from pos3.store.s3.errors import read_answer
from pos3.store.s3.http import Client
from pos3.store.s3.listing import right_before, timestamp_ns
from pos3.store.s3.requests import Request, Response
from pos3.store.s3.xml import next_key_marker, text_of, unquoted
from pos3.store.tasks import ended

logger = logging.getLogger("pos3.store")
_NONE_NOTED = "null"
"""The id of a version that a bucket has from a time without versioning."""
_LONGEST_SIZE = 18
PAGE_SIZE = 1000


class _Page(NamedTuple):
    """Versions, sorted by key, and the markers of the next page; "" after the last one."""

    versions: list[Version]
    is_in_order: bool
    """Whether the server listed them in the order of their keys."""
    key_marker: str = ""
    id_marker: str = ""


class Versions:
    """The versions of the objects of one bucket."""

    def __init__(self, client: Client, bucket: str):
        self._client = client
        self._where = f"s3://{bucket}"
        self._is_checked = False

    async def check_kept(self) -> None:
        """Returns if the bucket keeps versions.

        Raises:
            StoreError: it does not, so its earlier content is not known.
        """
        if self._is_checked:
            return
        request = Request("GET", "", "versioning=", where=f"versioning of {self._where}")
        status = await self._client.ask(request, lambda response: _versioning_status(response, request.where))
        if not status:
            raise StoreError(
                f"{self._where}: the bucket has no versioning, so its earlier content is not known. "
                "If you turn versioning on, later versions are kept",
                url=self._where,
            )
        if status.lower() != "enabled":
            logger.warning("%s: versioning is suspended, so what was replaced since then is not known", self._where)
        self._is_checked = True

    async def pages(self, prefix: str, after: str = "") -> AsyncGenerator[list[Version], None]:
        """All versions of the keys that begin with ``prefix``, in pages, sorted by key.

        The versions of one key are in the order of the store, also across pages.

        Args:
            after: a key. Earlier keys may be missing.

        Raises:
            StoreError: the listing has several pages and is not in the order of keys.
        """
        page = await self._first_page(prefix, after)
        while page.key_marker:
            following = asyncio.get_running_loop().create_task(self._asked(prefix, page.key_marker, page.id_marker))
            try:
                yield page.versions
                before, page = page, await following
            finally:
                if following.cancel():
                    await ended(following)
            if before.id_marker == _NONE_NOTED and not page.versions:
                raise StoreError(
                    f"{self._where}/{prefix}: the store said that more versions follow those of {before.key_marker!r}, "
                    "but it lists none, so some may be missing",
                    url=f"{self._where}/{prefix}",
                )
            if (page.key_marker, page.id_marker) == (before.key_marker, before.id_marker):
                raise StoreError(f"{self._where}/{prefix}: the store repeats one page of versions for ever")
        yield page.versions

    async def _first_page(self, prefix: str, after: str) -> _Page:
        """The first page of versions after a key. If the store cannot begin there, it is the first page of all keys.

        Some servers skip a version if the key to begin after does not exist. So the request begins at the key itself.
        If the page does not begin with it, everything is listed.
        """
        if after:
            try:
                page = await self._asked(prefix, right_before(after), "")
                if page.versions and page.versions[0].key == after:
                    return page
            except StoreError as error:
                if type(error) is not StoreError:
                    raise
        return await self._asked(prefix, "", "")

    async def _asked(self, prefix: str, key_marker: str, id_marker: str) -> _Page:
        query = {"versions": "", "prefix": prefix, "encoding-type": "url", "max-keys": str(PAGE_SIZE)}
        if key_marker:
            query["key-marker"] = key_marker
        if id_marker:
            query["version-id-marker"] = id_marker
        where = f"listing versions of {self._where}/{prefix}"
        request = Request("GET", "", urlencode(sorted(query.items()), quote_via=quote, safe=""), where=where)
        page = await self._client.ask(request, lambda response: _page(response, where))
        # A page begins behind a key, so a server passes over what it would list after larger ones on the page before.
        if not page.is_in_order and (key_marker or page.key_marker):
            raise StoreError(
                f"{self._where}/{prefix}: versions are not listed in the order of their keys, so some may be missing"
            )
        return page


def _versioning_status(response: Response, where: str) -> str:
    # Servers use different names for the root element.
    answer = read_answer(response.body, "VersioningConfiguration", where, other_name="GetBucketVersioningResponse")
    return text_of(answer, "Status")


def _page(response: Response, where: str) -> _Page:
    """The versions in an answer."""
    root = read_answer(response.body, "ListVersionsResult", where)
    is_quoted = text_of(root, "EncodingType") == "url"
    try:
        versions = [
            _version(element, kind == "DeleteMarker", is_quoted)
            for element in root
            if (kind := element.tag.rpartition("}")[2]) in ("Version", "DeleteMarker")
        ]
    except (ValueError, OverflowError) as error:
        raise UnreachableError(f"{where}: the page is no listing of versions ({error})") from error
    last_listed = versions[-1] if versions else None
    # Some servers list all delete markers of a page after its versions.
    by_kind = ([version.key for version in versions if version.is_delete is kind] for kind in (False, True))
    is_in_order = all(keys == sorted(keys) for keys in by_kind)
    versions.sort(key=lambda version: version.key)
    truncated = text_of(root, "IsTruncated").strip().lower()
    if truncated not in ("true", "false"):
        raise UnreachableError(f"{where}: the page does not say whether more pages follow")
    if truncated == "false":
        return _Page(versions, is_in_order)
    key_marker = next_key_marker(root, versions[-1].key if versions else "", is_quoted)
    if not key_marker:
        raise UnreachableError(f"{where}: the page does not say whether more pages follow")
    id_marker = text_of(root, "NextVersionIdMarker")
    # Swift writes "null" for any version, and would list nothing more after it.
    if id_marker == _NONE_NOTED and last_listed is not None and last_listed.key == key_marker:
        id_marker = last_listed.version_id
    return _Page(versions, is_in_order, key_marker, id_marker)


def _version(element: ElementTree.Element, is_delete: bool, is_quoted: bool) -> Version:
    """A version from an element of the answer.

    Raises:
        ValueError, OverflowError: it has no key, time or size.
    """
    key = unquoted(text_of(element, "Key"), is_quoted)
    modified, size = text_of(element, "LastModified"), text_of(element, "Size")
    if not key or not modified or not (is_delete or (size.isdecimal() and len(size) <= _LONGEST_SIZE)):
        raise ValueError(f"key {key!r} of size {size!r} at {modified!r}")
    return Version(
        key,
        text_of(element, "VersionId") or _NONE_NOTED,
        timestamp_ns(modified),
        text_of(element, "IsLatest").strip().lower() == "true",
        is_delete,
        0 if is_delete else int(size),
        token(text_of(element, "ETag")),
        text_of(element, "StorageClass"),
    )
