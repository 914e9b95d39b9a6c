"""The headers of requests that create an object: what it will carry, beside its content."""

from __future__ import annotations

from pos3.profiles import Profile


def creation_headers(profile: Profile) -> tuple[str, ...]:
    """What a request must carry so that the object is encrypted as the profile wants."""
    values = {
        "x-amz-server-side-encryption": profile.server_side_encryption or ("aws:kms" if profile.sse_kms_key_id else ""),
        "x-amz-server-side-encryption-aws-kms-key-id": profile.sse_kms_key_id,
    }
    return tuple(f"{name}: {value}" for name, value in values.items() if value)
