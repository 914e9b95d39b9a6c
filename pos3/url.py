"""Parses URLs into locations: where objects are, and which profile reaches them."""

from __future__ import annotations

import functools
import mimetypes
import os
import re
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import unquote

from pos3.errors import InvalidURLError
from pos3.local import ENCODING_HINT, STATE_DIRECTORY, expanded, is_file_name

# Hadoop's names for S3.
_S3_SCHEMES = ("s3", "s3a", "s3n")
PART_PREFIX = "part+"
"""Begins the scheme of a text that stands for a part of a URL (:class:`pos3.Part`)."""
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
# Text editors, shells and chats put such characters around a URL, or replace characters of the URL by them. Blanks and
# invisible characters are dropped first. No local path begins like this; a file "s3:" in the current directory is
# "./s3:".
_QUOTES = "\"'`\u00ab\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00b4"
_LIKE_ASCII = str.maketrans("\u2236\ua789\u02f8\u2215\u2044", "::://")
_DAMAGED = re.compile(
    r".*://"
    r"|[^\w./~]*(?:[a-z][a-z0-9+.-]+:/|s3[an]?/?[:;]|(?:s3[an]?|gs|gcs|https?)[^\w/\\]*[/\\]{2})",
    re.IGNORECASE | re.DOTALL,
)
# This matches the part before the bucket or the profile in a damaged URL. The possessive quantifiers avoid
# backtracking.
_DAMAGED_S3_HEAD = re.compile(r"\W*+s3[an]?+[^\w/\\:;@]*+[:;]?+[\s/\\]*+", re.IGNORECASE)
_DAMAGED_HEAD_END = re.compile(r"[:;]\s*+[/\\]++\s*+")
# A secret may contain "/" and "@", and the "@" after it may be missing. A port is not a secret.
_SECRET = re.compile(r"^([^/:]*:/{0,2}[^/@:]*):(?!\d{1,5}(?:/[^@]*)?$)(?:.*(?=@)|[^/]*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:]*\]|[^:]*)(:\d{1,5})?")
_AWS_ADDRESS = re.compile(
    # No host name is longer. Without these bounds, the expression could backtrack for very long on some texts.
    r"https?://(?:([^/?#@]{1,253})\.)?s3(?:[.-][a-z0-9.-]{0,253})?\.amazonaws\.com(?:\.cn)?(?::\d+)?(?![^/?#])/?([^?#]*)"
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
# An ARN may have ":" in place of each of its slashes.
_ARN = (
    r"arn:aws[a-z-]{0,20}:"
    r"(?:s3(?:-object-lambda)?:[a-z0-9-]{0,40}:[0-9]{12}:accesspoint[/:][A-Za-z0-9][A-Za-z0-9.-]{0,62}"
    r"|s3-outposts:[a-z0-9-]{1,40}:[0-9]{12}:outpost[/:][A-Za-z0-9-]{1,63}[/:]accesspoint[/:][A-Za-z0-9][A-Za-z0-9-]{0,62})"
    r"(?=/|\Z)"
)
_ACCESS_POINT = re.compile(_ARN)
_NO_SECRET = re.compile(rf"s3[an]?://(?:[^/@:]*@)?{_ARN}")


@dataclass(frozen=True, slots=True)
class Location:
    """The place of a prefix or an object.

    ``key`` has no leading and no trailing slash. ``is_prefix`` is true if the URL ended in a slash, which means "the
    directory, even if an object has this name". ``profile`` is the name before "@", or "". Comparisons ignore
    ``is_prefix`` and ``profile``. ``bucket`` may be the ARN of an access point. No other name of a bucket has slashes.
    """

    scheme: str
    bucket: str
    key: str
    is_prefix: bool = field(default=False, compare=False)
    profile: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"

    @property
    def bucket_directory(self) -> str:
        """The bucket as the name of one directory, which no other bucket has."""
        # ":" is the other way to write an ARN's slash, and stands in no other name of a bucket of S3.
        return self.bucket.replace("/", ":")

    def child(self, path: str) -> str:
        """The URL of the object at ``path`` below this location. For "", it is the URL of this location."""
        return f"{self.scheme}://{self.bucket}/{self.object_key(path)}"

    def object_key(self, path: str) -> str:
        """The key of the object at ``path`` below this location."""
        if not path:
            return self.key
        return f"{self.key}/{path}" if self.key else path

    def overlaps(self, other: Location) -> bool:
        """Whether both are the same, or one lies below the other."""
        if (self.scheme, self.bucket) != (other.scheme, other.bucket):
            return False
        mine, theirs = f"{self.key}/".lstrip("/"), f"{other.key}/".lstrip("/")
        return mine.startswith(theirs) or theirs.startswith(mine)


@functools.cache
def media_types() -> mimetypes.MimeTypes:
    """Python's own table of the media types of suffixes, so that a key means the same on every machine."""
    return mimetypes.MimeTypes(filenames=())


def has_scheme(text: str) -> bool:
    """Whether a text begins with a URL scheme; ``file://`` is one, too."""
    return _SCHEME.match(text) is not None


def is_url(address: object) -> bool:
    """Whether ``address`` is the URL of a remote location, and not a local path or a ``file://`` URL.

    Raises:
        InvalidURLError: for an empty or all-blank string, for a scheme that is not in lower case, and for a text that
            looks like a damaged URL, such as one in quotes, even if a local path with this name exists.
        TypeError: for anything that is neither a string nor a path.
    """
    if isinstance(address, os.PathLike):
        text = os.fspath(address)
        if isinstance(text, str) and looks_damaged(text):
            raise InvalidURLError(
                f"{_damaged(text)} is a URL in a path object, which has lost a slash; pass a string, 's3://bucket/key'"
            )
        return False
    if not isinstance(address, str):
        raise TypeError(f"expected a URL such as 's3://bucket/key' or a local path, got {type(address).__name__}")
    if not address.strip():
        raise InvalidURLError("the URL is empty; expected 's3://bucket/key' or a local path")
    scheme = _SCHEME.match(address)
    if scheme is None:
        if looks_damaged(address):
            raise InvalidURLError(
                f"{_damaged(address)} looks like a damaged URL; write it as 's3://bucket/key', with nothing around it. "
                "A local path of such a name begins with './' and has no '//'"
            )
        return False
    if scheme[1] != scheme[1].lower():
        raise InvalidURLError(
            f"{quoted(address)}: the scheme must be lower case, '{scheme[1].lower()}://...'", url=masked(address)
        )
    return scheme[1] != "file"


def profile_of_all_buckets(address: str) -> str | None:
    """The profile, or "", of a URL that means all buckets, ``s3://`` or ``s3://<profile>@``; None for any other."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in _S3_SCHEMES or "/" in rest or (rest and not rest.endswith("@")) or rest == "@":
        return None
    return rest.removesuffix("@").split(":", 1)[0]


def looks_damaged(text: str) -> bool:
    """Whether a text is most likely a URL with an error in it. The text itself is not a valid URL."""
    visible = unicodedata.normalize("NFKC", text).translate(_LIKE_ASCII)
    bare = "".join(
        letter
        for letter in visible
        if not (letter in _QUOTES or letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf"))
    )
    return _DAMAGED.match(bare) is not None


def _damaged(address: str) -> str:
    """A damaged URL as messages show it. It is not clear where a secret is, so more than the secret may be masked."""
    head = _DAMAGED_S3_HEAD.match(address) or _DAMAGED_HEAD_END.search(address)
    start = head.end() if head is not None else 0
    rest = address[start:]
    name, colon, secret = rest.partition(":")
    if "@" in secret:
        rest = f"{name}:***{secret[secret.rindex('@') :]}"
    elif colon and "/" not in name:
        rest = f"{name}:***{secret[secret.find('/') :] if '/' in secret else ''}"
    return repr(address[:start] + rest)


def local_path(address: str | os.PathLike[str]) -> str:
    """The absolute path of a local address. ``file://`` is removed, and "~" is resolved.

    Raises:
        InvalidURLError: the text cannot be a path.
    """
    text = os.fspath(address)
    if text.startswith("file://"):
        text = unquote(text[len("file://") :])
    if "\x00" in text:
        raise InvalidURLError(f"{quoted(text)} has a NUL character, and so is no path", url=masked(text))
    if not is_file_name(text):
        raise InvalidURLError(f"{quoted(text)} is no path for this process, {ENCODING_HINT}", url=masked(text))
    return os.path.abspath(expanded(text))


def masked(address: str) -> str:
    """The address with ``***`` in place of a possible secret, which follows ":" in the part before "@"."""
    return address if _NO_SECRET.match(address) else _SECRET.sub(r"\1:***", address)


def quoted(address: str) -> str:
    """The address as messages show it: masked and in quotes."""
    return repr(masked(address))


def _message_for_web_address(address: str) -> str:
    # The part after the path may be a signature.
    web_url = quoted(address.partition("?")[0])
    if in_aws := _AWS_ADDRESS.match(address):
        place = unquote("/".join(part for part in in_aws.groups() if part)) or "bucket/key"
        return f"{web_url} is the web address of a place in S3; write it as 's3://{place}'"
    return (
        f"{web_url} is a web address. That of an S3 server goes into AWS_ENDPOINT_URL or the endpoint of a profile; "
        "what is there has a URL such as 's3://bucket/key'"
    )


def _check_names_place(scheme: str, address: str) -> None:
    """Returns if the URL names a place, and not something else that looks like the URL of one.

    Raises:
        InvalidURLError: it does not; the error says what to write.
    """
    if scheme in ("http", "https"):
        raise InvalidURLError(_message_for_web_address(address))
    if scheme.startswith(PART_PREFIX):
        raise InvalidURLError(
            f"{quoted(address)} is a part of a URL; download, ls, plan_download and fingerprint take parts, and "
            "everything else takes whole URLs",
            url=masked(address),
        )
    if scheme == "pos3":
        raise InvalidURLError(
            f"{quoted(address)} is for libraries that read through fsspec; pos3 itself takes 's3://bucket/key'",
            url=masked(address),
        )


def parse(address: str) -> Location:
    """The location that a URL names.

    The key is taken as it stands: "?", "#" and "%" are ordinary characters of S3 keys. ``s3a://`` and ``s3n://`` mean
    ``s3://``. In place of the bucket, the ARN of an access point may stand: of a bucket, of several regions, of an
    outpost, or one that runs a function.

    Raises:
        InvalidURLError: the URL has no bucket, a bucket name that no store accepts, an empty profile before "@", or an
            ARN that is not of an access point; or it is a web address, or for fsspec (``pos3://``).
    """
    if not is_url(address):
        raise InvalidURLError(
            f"{quoted(address)} is not a remote URL; expected for example 's3://bucket/key'", url=masked(address)
        )
    scheme, rest = address.split("://", 1)
    scheme = "s3" if scheme in _S3_SCHEMES else scheme
    _check_names_place(scheme, address)
    authority, _, key = rest.partition("/")
    profile = ""
    if "@" in authority:
        profile, authority = authority.rsplit("@", 1)
        profile = profile.split(":", 1)[0]
        if not profile:
            raise InvalidURLError(
                f"{quoted(address)}: the profile before '@' is empty; write '{scheme}://<profile>@bucket/key'",
                url=masked(address),
            )
    if not authority:
        raise InvalidURLError(
            f"{quoted(address)} names no bucket; expected '{scheme}://bucket/key'", url=masked(address)
        )
    if scheme == "s3" and authority.startswith("arn:"):
        authority, key = _access_point(f"{authority}/{key}" if "/" in rest else authority, address)
    elif authority in (".", "..", STATE_DIRECTORY) or "\x00" in authority:
        raise InvalidURLError(f"{quoted(address)}: {authority!r} is no name of a bucket", url=masked(address))
    elif not _HOST.fullmatch(authority):
        raise InvalidURLError(
            f"{quoted(address)} has a ':' where only a port may follow; see {scheme}://<profile>@bucket",
            url=masked(address),
        )
    elif scheme == "s3" and not _BUCKET.fullmatch(authority):
        raise InvalidURLError(
            f"{quoted(address)}: no bucket has such a name (three or more letters, digits, '.', '-', '_')",
            url=masked(address),
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidURLError(
            f"{quoted(address)} is not valid UTF-8, and so no object has such a key", url=masked(address)
        ) from None
    return Location(scheme, authority, key.strip("/"), is_prefix=key.endswith("/") or not key, profile=profile)


def _access_point(text: str, address: str) -> tuple[str, str]:
    """The ARN that a text begins with, written with slashes, and the key after it."""
    found = _ACCESS_POINT.match(text)
    if found is None:
        raise InvalidURLError(
            f"{quoted(address)} begins with no ARN of an access point; expected "
            "'s3://arn:aws:s3:<region>:<account>:accesspoint/<name>/<key>'",
            url=masked(address),
        )
    *owner, resource = found[0].split(":", 5)
    return ":".join((*owner, resource.replace(":", "/"))), text[found.end() + 1 :]
