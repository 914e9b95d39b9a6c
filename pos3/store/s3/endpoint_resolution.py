"""Finds the address of a bucket and the signer of its requests, in the same way as boto3's own client.

It sends no request, except for the region of a bucket, and for a session of a directory bucket.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse, HeadersDict

from pos3.store.endpoints import shown_address
from pos3.store.s3.client import Connection
from pos3.store.s3.errors import translating
from pos3.store.s3.signing import Signing

_KEY = "k"
# botocore uses other addresses for ARNs and for some kinds of buckets.
_SPECIAL = re.compile(r"arn:.*|.*--(?:x|xa|ol|op)-s3", re.DOTALL)
_PLAIN_VERSIONS = ("v4", "s3v4")
# Most keys need no percent-encoding, and this check is faster.
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~/-]*")


@dataclass(frozen=True)
class ResolvedEndpoint:
    """How one bucket is reached.

    Args:
        base_url: the URL of the bucket. The URL of an object is this and its percent-encoded key.
        endpoint: the endpoint, without secrets.
        addressing: where the name of the bucket is, in words.
    """

    base_url: str
    endpoint: str
    addressing: str
    signing: Signing

    def url(self, key: str, query: str = "") -> str:
        """The URL of an object, or of the bucket for "". ``query`` is in its final form."""
        path = key if _UNRESERVED.fullmatch(key) else quote(key, safe="/~")
        return f"{self.base_url}{path}?{query}" if query else self.base_url + path


def resolve_endpoint(connection: Connection, bucket: str) -> ResolvedEndpoint:
    """The address of a bucket, and the signer of its requests.

    Both are the same as those of boto3 with the same settings.

    Raises:
        ProfileError: settings contradict each other or the bucket, or need a package that is not installed.
        CredentialsError: there are no credentials, and the endpoint depends on them.
        StoreError: a request for the bucket's region or for a session has failed.
    """
    if _is_plain(connection, bucket):
        # This is the usual case of a private server. Making a client would take longer than many transfers.
        base_url = f"{connection.endpoint.rstrip('/')}/{bucket}/"
        return ResolvedEndpoint(base_url, connection.shown_endpoint, "path", Signing(connection.region))
    with translating(f"s3://{bucket}"):
        return _asked(connection, bucket)


def _is_plain(connection: Connection, bucket: str) -> bool:
    """Whether botocore is not needed: the endpoint is named, and the bucket is in the path."""
    settings = connection.s3_settings
    return (
        not connection.tells_regions
        and not _SPECIAL.fullmatch(bucket)
        and settings.get("addressing_style") in (None, "auto", "path")
        and not settings.get("use_accelerate_endpoint")
    )


def _asked(connection: Connection, bucket: str) -> ResolvedEndpoint:
    region = connection.region_of(bucket) if connection.tells_regions and not _SPECIAL.fullmatch(bucket) else ""
    url, signing = _captured(connection, bucket, region)
    base_url = url.partition("?")[0].removesuffix(_KEY)
    parts = urlsplit(base_url)
    is_in_path = parts.path.endswith(f"/{quote(bucket)}/")
    return ResolvedEndpoint(
        base_url,
        shown_address(f"{parts.scheme}://{parts.netloc}") if connection.is_aws else connection.shown_endpoint,
        "path" if is_in_path else "virtual-hosted",
        signing,
    )


def _captured(connection: Connection, bucket: str, region: str) -> tuple[str, Signing]:
    """The URL of an object as boto3's client would request it, and how it would sign the request.

    Args:
        region: the known region of the bucket; "" lets the client decide.
    """
    noted: dict[str, Any] = {}

    def move(builtins: dict[str, Any], **_: object) -> None:
        if region and region != connection.client_region:
            builtins["AWS::Region"] = region

    def note(**sent: Any) -> None:
        noted.update(sent)

    def answer(request: Any, **_: object) -> AWSResponse:
        noted["url"] = request.url
        return AWSResponse(request.url, 200, HeadersDict(), io.BytesIO())

    client = connection.client
    handlers = (
        ("before-endpoint-resolution.s3", move),
        ("before-sign.s3.GetObject", note),
        ("before-send.s3.GetObject", answer),
    )
    with connection.lock:
        for event, handler in handlers:
            client.meta.events.register_last(event, handler)
        try:
            client.get_object(Bucket=bucket, Key=_KEY)
        finally:
            for event, handler in handlers:
                client.meta.events.unregister(event, handler)
    return noted["url"], _signing(noted)


def _signing(noted: dict[str, Any]) -> Signing:
    context = noted["request"].context.get("signing", {})
    region = context.get("region") or noted["region_name"]
    service = context.get("signing_name") or noted["signing_name"]
    version = noted["signature_version"]
    if version in _PLAIN_VERSIONS or version is UNSIGNED:
        return Signing(region, service)
    wanted = {"signing_name": service, "region_name": region, "signature_version": version}
    wanted |= {name: context[name] for name in ("identity_cache", "cache_key") if context.get(name) is not None}
    signer = noted["request_signer"]
    return Signing(region, service, lambda: signer.get_auth_instance(**wanted))
