"""How requests are signed: by libcurl where it can, else by botocore's own signer."""

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
    """What signs the requests to one bucket.

    Args:
        region: the region that signatures name; for SigV4A a set of regions, such as "*".
        service: the service that they name.
        chosen: makes the signer that botocore has chosen in place of SigV4 with the session's credentials.
    """

    region: str
    service: str = _SERVICE
    chosen: Callable[[], Any] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether libcurl can do it. Paths of other services it would encode twice."""
        return self.chosen is None and self.service == _SERVICE

    def headers(self, method: str, url: str, headers: Sequence[str], credentials: Any, body: bytes) -> list[str]:
        """The headers of a request, with botocore's signature over its path as it stands.

        Args:
            headers: what is sent anyway. ``x-amz-content-sha256`` in it counts, whatever the body is: what is read
                from a file while it is sent has been hashed before.
            credentials: those of the session at this moment.
        """
        signer = S3SigV4Auth(credentials, self.service, self.region) if self.chosen is None else self.chosen()
        if signer.credentials is not credentials:
            add_secrets((signer.credentials.secret_key, signer.credentials.token))
        request = AWSRequest(method, url, dict(header.split(": ", 1) for header in headers), body)
        if content := request.headers.get("x-amz-content-sha256"):
            # Signers hash the body that they are shown, unless told what they would find: in Python, and in C.
            signer.payload = lambda _request: content
            signer._get_existing_sha256 = lambda _request: content
            if content == _UNSIGNED_BODY:
                request.context["client_config"] = _WITHOUT_BODY
        signer.add_auth(request)
        return [f"{name}: {value}" for name, value in request.headers.items()]
