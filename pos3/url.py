"""One type for every address: where objects are, and which profile reaches them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from pos3.errors import InvalidURLError

_COLLAPSED = re.compile(r"^[a-z][a-z0-9+.-]+:/")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
# A secret may hold "/" and "@" itself, and the "@" at its end may be forgotten; a port is none.
_SECRET = re.compile(r"^([^/:]*:/{0,2}[^/@:]*):(?!\d{1,5}(?:/[^@]*)?$)(?:.*(?=@)|[^/]*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:]*\]|[^:]*)(:\d{1,5})?")
_AWS_ADDRESS = re.compile(
    # No name of a host is longer. Without bounds, some texts could be divided between the two in too many ways.
    r"https?://(?:([^/?#@]{1,253})\.)?s3(?:[.-][a-z0-9.-]{0,253})?\.amazonaws\.com(?:\.cn)?(?::\d+)?(?![^/?#])/?([^?#]*)"
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a prefix or object lies.

    ``key`` has no leading and no trailing slash; ``is_prefix`` is true when the URL ended in a slash, which
    means "the directory, even if an object has this name". ``profile`` is the name before "@", or "". Neither of
    the two makes another place, so they do not count in comparisons.
    """

    scheme: str
    bucket: str
    key: str
    is_prefix: bool = field(default=False, compare=False)
    profile: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"

    def child(self, path: str) -> str:
        """The URL of the object at ``path`` below this location; this location itself for ""."""
        return f"{self.scheme}://{self.bucket}/{self.object_key(path)}"

    def object_key(self, path: str) -> str:
        """The key of the object at ``path`` below this location."""
        if not path:
            return self.key
        return f"{self.key}/{path}" if self.key else path

    def overlaps(self, other: Location) -> bool:
        """Whether one of the two is, or lies below, the other."""
        if (self.scheme, self.bucket) != (other.scheme, other.bucket):
            return False
        mine, theirs = f"{self.key}/".lstrip("/"), f"{other.key}/".lstrip("/")
        return mine.startswith(theirs) or theirs.startswith(mine)


def has_scheme(text: str) -> bool:
    """Whether a text begins as URLs do, ``file://`` included."""
    return _SCHEME.match(text) is not None


def is_url(address: object) -> bool:
    """Whether ``address`` names a remote place. Local paths, ``file://`` included, do not.

    Raises:
        InvalidURLError: for an empty or all-blank string, and for a scheme that is not in lower case.
        TypeError: for anything that is neither a string nor a path.
    """
    if isinstance(address, os.PathLike):
        text = os.fspath(address)
        if isinstance(text, str) and _COLLAPSED.match(text):
            raise InvalidURLError(
                f"{shown(text)} is a URL in a path object, which has lost a slash; pass a string, 's3://bucket/key'"
            )
        return False
    if not isinstance(address, str):
        raise TypeError(f"expected a URL such as 's3://bucket/key' or a local path, got {type(address).__name__}")
    if not address.strip():
        raise InvalidURLError("the URL is empty; expected 's3://bucket/key' or a local path")
    scheme = _SCHEME.match(address)
    if scheme is None:
        if address.lower().startswith("s3:"):
            raise InvalidURLError(f"{shown(address)} is not an S3 URL; write it as 's3://bucket/key'")
        return False
    if scheme[1] != scheme[1].lower():
        raise InvalidURLError(f"{shown(address)}: the scheme must be lower case, '{scheme[1].lower()}://...'")
    return scheme[1] != "file"


def local_path(address: str | os.PathLike[str]) -> str:
    """The file system path that a local address means: ``file://`` is taken off, "~" is resolved.

    Raises:
        InvalidURLError: no path can be so.
    """
    text = os.fspath(address)
    if text.startswith("file://"):
        text = unquote(text[len("file://") :])
    if "\x00" in text:
        raise InvalidURLError(f"{shown(text)} has a NUL character, and so is no path")
    return os.path.abspath(os.path.expanduser(text))


def masked(address: str) -> str:
    """The address without what may be a secret: what stands after ":" where a profile may stand."""
    return _SECRET.sub(r"\1:***", address)


def shown(address: str) -> str:
    """The address for a message, masked and in quotes."""
    return repr(masked(address))


def _told_of_web_address(address: str) -> str:
    # What follows the path may be a signature.
    told = shown(address.partition("?")[0])
    if in_aws := _AWS_ADDRESS.match(address):
        place = unquote("/".join(part for part in in_aws.groups() if part)) or "bucket/key"
        return f"{told} is the web address of a place in S3; write it as 's3://{place}'"
    return (
        f"{told} is a web address. That of an S3 server goes into AWS_ENDPOINT_URL or the endpoint of a profile; "
        "what is there has a URL such as 's3://bucket/key'"
    )


def parse(address: str) -> Location:
    """The location that a URL names.

    The key is taken as it stands: "?", "#" and "%" are ordinary characters of S3 keys.

    Raises:
        InvalidURLError: no bucket, a bucket name that no store accepts, an empty profile before "@", or a web address.
    """
    if not is_url(address):
        raise InvalidURLError(f"{shown(address)} is not a remote URL; expected for example 's3://bucket/key'")
    scheme, rest = address.split("://", 1)
    if scheme in ("http", "https"):
        raise InvalidURLError(_told_of_web_address(address))
    authority, _, key = rest.partition("/")
    profile = ""
    if "@" in authority:
        profile, authority = authority.rsplit("@", 1)
        profile = profile.split(":", 1)[0]
        if not profile:
            raise InvalidURLError(
                f"{shown(address)}: the profile before '@' is empty; write '{scheme}://<profile>@bucket/key'"
            )
    if not authority:
        raise InvalidURLError(f"{shown(address)} names no bucket; expected '{scheme}://bucket/key'")
    if authority in (".", "..") or "\x00" in authority:
        raise InvalidURLError(f"{shown(address)}: {authority!r} is no name of a bucket")
    if not _HOST.fullmatch(authority):
        raise InvalidURLError(
            f"{shown(address)} has a ':' where only a port may follow; see {scheme}://<profile>@bucket"
        )
    if scheme == "s3" and not _BUCKET.fullmatch(authority):
        raise InvalidURLError(
            f"{shown(address)}: no bucket has such a name (three or more letters, digits, '.', '-', '_')"
        )
    return Location(scheme, authority, key.strip("/"), is_prefix=key.endswith("/") or not key, profile=profile)
