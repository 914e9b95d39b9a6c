"""The headers of requests that create an object: its metadata and its encryption."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pos3.errors import InvalidArgumentError
from pos3.profiles import Profile
from pos3.store.s3.requests import can_be_sent
from pos3.url import media_types

_CONTENT_TYPE = "content-type"
# pos3 sets these itself. A key of the customer would also be needed in downloads.
_NOT_TAKEN = ("Checksum", "MpuObjectSize", "RequestPayer", "SSECustomer")
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/x-brotli",
    "compress": "application/x-compress",
}


def encryption_headers(profile: Profile) -> tuple[str, ...]:
    """The headers with which the store encrypts an object as the profile says."""
    values = {
        "x-amz-server-side-encryption": profile.server_side_encryption or ("aws:kms" if profile.sse_kms_key_id else ""),
        "x-amz-server-side-encryption-aws-kms-key-id": profile.sse_kms_key_id,
    }
    return tuple(f"{name}: {value}" for name, value in values.items() if value)


def headers_of(extra_args: Mapping[str, Any]) -> tuple[str, ...]:
    """The headers that boto3 would send for these ``ExtraArgs`` of ``upload_file``.

    Raises:
        InvalidArgumentError: boto3 has no such argument, its value cannot be sent, or pos3 does not support it.
    """
    if not extra_args:
        return ()
    from boto3.s3.transfer import S3Transfer

    allowed = [name for name in S3Transfer.ALLOWED_UPLOAD_ARGS if not name.startswith(_NOT_TAKEN)]
    for name in extra_args:
        if name not in allowed:
            raise _refused(f"{name!r} is none of {', '.join(allowed)}")
    headers = [f"{name}: {value}" for name, value in _serialized(extra_args).items()]
    for header in headers:
        if not can_be_sent(header):
            raise _refused(f"no request can carry {header!r}: only ASCII, and no line ends")
    return tuple(headers)


def _serialized(extra_args: Mapping[str, Any]) -> dict[str, str]:
    import botocore.session
    from botocore.exceptions import BotoCoreError
    from botocore.serialize import create_serializer
    from botocore.validate import ParamValidator

    operation = botocore.session.get_session().get_service_model("s3").operation_model("PutObject")
    parameters = {"Bucket": "bucket", "Key": "key", **extra_args}
    report = ParamValidator().validate(parameters, operation.input_shape)
    if report.has_errors():
        raise _refused(report.generate_report())
    try:
        request = create_serializer("rest-xml").serialize_to_request(parameters, operation)
    except (BotoCoreError, ValueError, TypeError) as error:
        raise _refused(str(error)) from error
    return {str(name): str(value) for name, value in request["headers"].items()}


def _refused(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"extra_args: {message}", argument="extra_args")


@functools.lru_cache(maxsize=1024)
def combined(always: tuple[str, ...], chosen: tuple[str, ...], content_type: str) -> tuple[str, ...]:
    """All headers of one object. Headers of the caller replace those of the profile and the type.

    Args:
        content_type: the type by the object's name; "" for none.
    """
    names = {_name(header) for header in chosen}
    typed = (f"Content-Type: {content_type}",) if content_type and _CONTENT_TYPE not in names else ()
    return (*(header for header in always if _name(header) not in names), *chosen, *typed)


def _name(header: str) -> str:
    return header.partition(":")[0].lower()


def content_type_of(key: str) -> str:
    """The media type for the suffix of a key, or ""."""
    _, dot, extension = key.rpartition("/")[2].rpartition(".")
    return _type_of_extension(extension.lower()) if dot else ""


@functools.lru_cache(maxsize=1024)
def _type_of_extension(extension: str) -> str:
    media_type, encoding = media_types().guess_type(f"x.{extension}")
    return _COMPRESSED.get(encoding, "") if encoding else media_type or ""
