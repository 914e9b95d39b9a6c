"""Whether a request is signed with a secret: SigV4 and SigV4A, as a server of AWS checks them."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

SIGV4, SIGV4A = "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def is_signed(method: str, target: str, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the Authorization header of a request that arrived so is right, and its hash of the body.

    Args:
        headers: by their names in lower case.
    """
    algorithm, _, rest = headers["authorization"].partition(" ")
    fields = dict(re.findall(r"(\w+)=([^, ]+)", rest))
    access_key, scope = fields["Credential"].split("/", 1)
    content = headers["x-amz-content-sha256"]
    if content not in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"):
        return False
    path, _, query = target.partition("?")
    canonical = "\n".join(
        (
            method,
            path,
            "&".join(sorted(item if "=" in item else f"{item}=" for item in query.split("&") if item)),
            *(f"{name}:{' '.join(headers[name].split())}" for name in fields["SignedHeaders"].split(";")),
            "",
            fields["SignedHeaders"],
            content,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((algorithm, headers["x-amz-date"], scope, digest)).encode()
    if algorithm == SIGV4:
        key = f"AWS4{secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.compare_digest(hmac.digest(key, text, "sha256").hex(), fields["Signature"])
    assert algorithm == SIGV4A
    try:
        public = _private_key(access_key, secret).public_key()
        public.verify(bytes.fromhex(fields["Signature"]), text, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _private_key(access_key: str, secret: str) -> ec.EllipticCurvePrivateKey:
    """The key that SigV4A derives from a secret."""
    for counter in range(1, 255):
        text = b"\0\0\0\x01" + SIGV4A.encode() + b"\0" + access_key.encode() + bytes([counter]) + b"\0\0\x01\0"
        candidate = int.from_bytes(hmac.digest(f"AWS4A{secret}".encode(), text, "sha256"), "big")
        if candidate <= _ORDER - 2:
            return ec.derive_private_key(candidate + 1, ec.SECP256R1())
    raise AssertionError("no key")
