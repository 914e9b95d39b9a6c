"""Signs requests: by libcurl if it can, and otherwise by botocore's signer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from pos3.redaction import add_secrets

_SERVICE = "s3"
_UNSIGNED_BODY = "UNSIGNED-PAYLOAD"
_WITHOUT_BODY = Config(s3={"payload_signing_enabled": False})


@dataclass(frozen=True)
class Signing:
    """The signature of requests to one bucket.

    Args:
        region: the region in signatures; for SigV4A a set of regions, such as "*".
        service: the service in signatures.
        chosen: makes the signer of botocore, if it is not SigV4 with the credentials of the session.
    """

    region: str
    service: str = _SERVICE
    chosen: Callable[[], Any] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether libcurl can sign. For other services, it would encode paths twice."""
        return self.chosen is None and self.service == _SERVICE

    def headers(self, method: str, url: str, headers: Sequence[str], credentials: Any, body: bytes) -> list[str]:
        """The headers of a request with botocore's signature. The path is signed as it is.

        Args:
            headers: the other headers. If they have ``x-amz-content-sha256``, it is used in place of the hash of the
                body, for example for bodies that are read from a file.
            credentials: the current credentials of the session.
        """
        signer = S3SigV4Auth(credentials, self.service, self.region) if self.chosen is None else self.chosen()
        if signer.credentials is not credentials:
            add_secrets((signer.credentials.secret_key, signer.credentials.token))
        request = AWSRequest(method, url, dict(header.split(": ", 1) for header in headers), body)
        if content := request.headers.get("x-amz-content-sha256"):
            # Signers in Python and in C hash the given body, unless they are given the hash.
            signer.payload = lambda _request: content
            signer._get_existing_sha256 = lambda _request: content
            if content == _UNSIGNED_BODY:
                request.context["client_config"] = _WITHOUT_BODY
        signer.add_auth(request)
        return [f"{name}: {value}" for name, value in request.headers.items()]
