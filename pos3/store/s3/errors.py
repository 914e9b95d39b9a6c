"""Translates errors of S3 and botocore into errors of pos3. All modules of the client use it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from xml.etree import ElementTree

from botocore import exceptions as botocore_errors

from pos3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsError,
    EndpointError,
    ObjectChangedError,
    ProfileError,
    RemoteNotFoundError,
    StoreError,
)
from pos3.redaction import redacted
from pos3.store.base import KeyRefusedError
from pos3.store.retry import BusyError, UnreachableError
from pos3.store.s3.xml import first_text, parsed

_CREDENTIAL_CODES = {
    "InvalidAccessKeyId": "the access key is not known at {endpoint}",
    "SignatureDoesNotMatch": "the secret key is wrong, or the request was changed on its way",
    "ExpiredToken": "the session token has expired; get new credentials",
    "ExpiredTokenException": "the session token has expired; get new credentials",
    "TokenRefreshRequired": "the session token has expired; get new credentials",
    "InvalidToken": "the session token is not valid at {endpoint}",
    "RequestTimeTooSkewed": "this machine's clock differs too much from the server's; set it right",
    "AuthorizationHeaderMalformed": "the region does not fit the bucket; set region in the profile",
    "InvalidClientTokenId": "the access key is not known at {endpoint}",
}
_TRANSIENT_CODES = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException",
    "RequestLimitExceeded", "BandwidthLimitExceeded", "503", "500", "502", "504", "429", "IncompleteBody", "BadDigest",
    "XAmzContentSHA256Mismatch", "InvalidPart", "InvalidPartOrder", "NoSuchUpload",
}  # fmt: skip
PARTS_CODES = frozenset(("NoSuchUpload", "InvalidPart", "InvalidPartOrder", "BadDigest"))
"""The parts of a multipart upload are not there as they were sent, or it is not: none yet, or none any more."""
# Temporary errors of a store that gets too many requests.
_OVERLOAD_CODES = {
    "SlowDown", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded",
    "BandwidthLimitExceeded", "503", "429",
}  # fmt: skip
_OVERLOAD_STATUSES = {503, 429}
_REFUSED_KEY_CODES = {"InvalidObjectName", "XMinioInvalidObjectName"}
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
# Without an XML error of S3, these mean that the answer is from another server.
_STRANGE_STATUSES = frozenset({*range(300, 400), 404, 405}) - {304}
_XML_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*+<(?!!doctype html|html)", re.IGNORECASE)
# Longer texts are not more useful, and take time to search.
_LONGEST_TEXT = 1024
# A name and what it is set to: words begin where words begin, and nothing is given back, so that each place is looked
# at once.
_SET = re.compile(r"(?<![\w-])([\w-]++)([\"']?\s*+[=:]\s*+[\"']?)([^\s,;&<\"']++)")
# Parts of a refused request that a server may quote.
_QUOTED_NAMES = ("signature", "credential", "token", "password")

# The region becomes a part of signatures and of host names, so it must look like one.
REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
# Errors of botocore for settings that contradict each other or the bucket.
_SETTINGS_ERRORS = (
    botocore_errors.EndpointProviderError,
    botocore_errors.EndpointVariantError,
    botocore_errors.InvalidConfigError,
    botocore_errors.InvalidDefaultsMode,
    botocore_errors.InvalidRegionError,
    botocore_errors.InvalidS3UsEast1RegionalEndpointConfigError,
    botocore_errors.ParamValidationError,
    botocore_errors.UnknownSignatureVersionError,
    botocore_errors.UnsupportedS3ArnError,
    botocore_errors.UnsupportedS3ConfigurationError,
    botocore_errors.UnsupportedS3AccesspointConfigurationError,
)


class NoSuchUploadError(BusyError):
    """The multipart upload does not exist: not yet, on a server with delays, or not any more."""


class ChecksumWantedError(StoreError):
    """The store accepts only bodies with a checksum, for example a bucket with Object Lock by default."""


class StrangeAnswerError(EndpointError):
    """The answer is not from an S3 server, or from one that does not support such requests."""


_CHECKSUM_CODES = frozenset(("InvalidRequest", "MissingContentMD5"))


def error_for(code: str, status: int, message: str, where: str, endpoint: str = "the endpoint") -> StoreError:
    """The error for an S3 error code, or for an HTTP status without a code.

    ``endpoint`` is the endpoint that has answered.
    """
    code = code if _CODE.fullmatch(code) else ""
    message = _without_quotes(message[: 4 * _LONGEST_TEXT])
    if code in _TRANSIENT_CODES or status == 429 or (status >= 500 and status != 501):
        busy = NoSuchUploadError if code == "NoSuchUpload" else BusyError
        error = busy(f"{where}: the store answered {code or status} ({message or 'no message'})")
        error.code = code
        error.is_overload = code in _OVERLOAD_CODES or status in _OVERLOAD_STATUSES
        return error
    if code == "NoSuchBucket":
        return BucketNotFoundError(
            f"{where}: the bucket does not exist at {endpoint}; check its name, and whether this is the right endpoint"
        )
    if code == "NoSuchVersion":
        return RemoteNotFoundError(f"{where}: this version was deleted for good")
    if code in ("NoSuchKey", "404", "NotFound") or status == 404:
        return RemoteNotFoundError(f"{where}: nothing is at this URL any more, or the URL is wrong")
    if code in _CREDENTIAL_CODES:
        return CredentialsError(f"{where}: {code}: {_CREDENTIAL_CODES[code].format(endpoint=endpoint)}")
    if code in ("PreconditionFailed", "412") or status == 412:
        return ObjectChangedError(f"{where}: the object was replaced while it was being read")
    if code == "InvalidRange" or status == 416:
        return ObjectChangedError(f"{where}: the object was replaced by a shorter one while it was being read")
    if code in _CHECKSUM_CODES and any(name in message.lower() for name in ("content-md5", "checksum")):
        return ChecksumWantedError(f"{where}: the store answered {code}: {message}")
    if code == "InvalidObjectState":
        return StoreError(
            f"{where}: {code}: the object is archived; restore it first, or leave such objects out with "
            "skip_archived=True"
        )
    if code in ("AccessDenied", "403", "AllAccessDisabled", "Forbidden") or status in (401, 403):
        told = ": ".join(part for part in (code or str(status), message) if part)
        return AccessDeniedError(f"{where}: access denied ({told}); check the credentials and the policy")
    if code in ("301", "PermanentRedirect") or status == 301:
        return EndpointError(
            f"{where}: the bucket is in another region or at another endpoint; set region in the profile"
        )
    kind = KeyRefusedError if code in _REFUSED_KEY_CODES else StoreError
    return kind(f"{where}: the store answered {code or status}: {message or 'no message'}")


def translated(error: Exception, where: str) -> Exception:
    """``error`` as an error of pos3. An error that is not from a store is returned unchanged."""
    if isinstance(error, botocore_errors.ClientError):
        details = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(details.get("Code", ""))
        return error_for(code, status, str(details.get("Message", "")), where)
    if isinstance(error, (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError)):
        return CredentialsError(
            f"{where}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, "
            "or use a profile with public=True"
        )
    if isinstance(error, botocore_errors.ProfileNotFound):
        return _unknown_aws_profile(str(error.kwargs.get("profile", "")), where)
    if isinstance(error, (botocore_errors.CredentialRetrievalError, botocore_errors.TokenRetrievalError)):
        return CredentialsError(f"{where}: the credentials could not be refreshed: {error}")
    if isinstance(error, botocore_errors.SSLError):
        return EndpointError(f"{where}: no trusted TLS connection to the endpoint: {_short(error)}")
    if isinstance(
        error, (botocore_errors.HTTPClientError, botocore_errors.ConnectionError, botocore_errors.IncompleteReadError)
    ):
        return UnreachableError(f"{where}: cannot reach the endpoint: {_short(error)}")
    if isinstance(error, botocore_errors.MissingDependencyException):
        return ProfileError(f"{where}: requests are signed with SigV4A, which needs a package: pip install awscrt")
    if isinstance(error, _SETTINGS_ERRORS):
        return ProfileError(f"{where}: {_short(error)}")
    if isinstance(error, botocore_errors.BotoCoreError):
        return StoreError(f"{where}: {type(error).__name__}: {_short(error)}")
    return error


def _unknown_aws_profile(name: str, where: str) -> ProfileError:
    variable = next((item for item in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE") if os.environ.get(item) == name), "")
    named = f"{variable}={name!r}" if variable else f"{where}: aws_profile={name!r}"
    return ProfileError(f"{named}: there is no such profile in ~/.aws/config or ~/.aws/credentials")


def error_of_body(status: int, body: bytes, where: str, endpoint: str = "the endpoint") -> StoreError:
    """The error for an answer with a bad HTTP status. Its body may be XML with details, or empty."""
    return error_for(_code_in(body), status, first_text(body, "Message")[:_LONGEST_TEXT], where, endpoint)


def region_in(body: bytes, status: int) -> str:
    """The region that an answer names for signatures; "" if it names none."""
    if status != 400 or _code_in(body) != "AuthorizationHeaderMalformed":
        return ""
    region = first_text(body, "Region")
    return region if REGION.fullmatch(region) else ""


def read_answer(body: bytes, name: str, where: str, *, other_name: str = "") -> ElementTree.Element:
    """The element ``name``, or ``other_name``, that the body of a successful answer must be.

    Raises:
        UnreachableError: it is no XML, or truncated.
        StoreError: it is something else. S3 may send an error with status 200, too.
    """
    try:
        root = parsed(body)
    except ValueError as error:
        raise UnreachableError(f"{where}: the answer is not valid XML ({error})") from error
    found = root.tag.rpartition("}")[2]
    if found == "Error":
        raise error_of_body(200, body, where)
    if found not in (name, other_name):
        raise StoreError(f"{where}: the answer is no {name}; check the endpoint's URL")
    return root


def is_strange(status: int, body: bytes) -> bool:
    """Whether an error is not from an S3 server. S3 describes each error in XML, except in answers to HEAD.

    Errors of busy servers and of gateways do not count as strange.
    """
    if status >= 500 or _code_in(body):
        return False
    return status in _STRANGE_STATUSES or (status == 400 and is_strange_page(body))


def is_strange_page(body: bytes) -> bool:
    """Whether a body is not XML from its beginning on, for example an HTML page. An empty body may be truncated."""
    return bool(body.strip()) and _XML_BEGINS.match(body) is None


def strange(kind: type[StoreError], status: int, location: str, endpoint: str, where: str) -> StoreError:
    """The error for an answer that is not from an S3 server.

    Args:
        location: the target of a redirect; "" for none.
    """
    try:
        found = urlsplit(location[:_LONGEST_TEXT])
    except ValueError:
        found = urlsplit("")
    if found.netloc:
        told = f"redirects to {found.scheme}://{found.netloc.rpartition('@')[2]}"
    else:
        told = f"answered {status} without an S3 error"
    return kind(
        f"{where}: {endpoint} {told}: no S3 server is there, or it has no such bucket; check the endpoint's URL"
    )


def _short(error: Exception) -> str:
    """The text of the error without the body of the answer, which may quote the session token."""
    return redacted(_without_quotes(str(error).partition("<")[0]).strip())[:300]


def _code_in(body: bytes) -> str:
    """The error code; "" if the text cannot be a code."""
    code = first_text(body, "Code")[:_LONGEST_TEXT].strip()
    return code if _CODE.fullmatch(code) else ""


def _without_quotes(message: str) -> str:
    """The beginning of a message. Quotes from a signed request are replaced by ``***``."""
    # Secrets are masked before the text is cut, because a part of a secret is harder to find.
    return _SET.sub(_without_value, redacted(message, keeps_lines=True)[:_LONGEST_TEXT])


def _without_value(found: re.Match[str]) -> str:
    name = found[1].lower()
    is_quoted = name.endswith(_QUOTED_NAMES) or "secret" in name
    return f"{found[1]}{found[2]}***" if is_quoted else found[0]


def _clean(error: Exception) -> None:
    """Removes secrets from an error of an SDK: quotes in its text, and frames that contain signed requests."""
    error.args = (_short(error),)
    error.__traceback__ = error.__cause__ = error.__context__ = None


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Raises errors in the block as errors of pos3. Their cause is the original error, without secrets."""
    try:
        yield
    except Exception as error:
        mapped = translated(error, where)
        if mapped is error:
            raise
        _clean(error)
        raise mapped from error
