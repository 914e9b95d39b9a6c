"""The block with the settings and credentials of an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, model_validator

import pos3

if TYPE_CHECKING:
    Credentials = Any
else:
    try:
        from prefect_aws.credentials import AwsCredentials, MinIOCredentials
    except ImportError:
        Credentials = None
    else:
        # The order matters: AwsCredentials have no required fields, so they would accept the data of any other block.
        Credentials = MinIOCredentials | AwsCredentials | None


class Pos3Profile(Block):
    """How pos3 reaches one S3-compatible endpoint.

    In a flow run, you can use the name of the block as the name of a profile:

    - ``pos3.download(url, profile="<block name>")``
    - ``s3://<block name>@bucket/key``
    - ``default_profile="<block name>"``

    A profile with this name that is registered or in the profiles file wins over the block. :class:`pos3.Profile`
    explains the settings.
    """

    _block_type_name = "pos3 Profile"
    _block_type_slug = "pos3-profile"
    _description = "How pos3 reaches one S3-compatible endpoint, with which credentials."

    # Messages about wrong input must not quote it, because it may be a secret.
    model_config = ConfigDict(hide_input_in_errors=True)

    endpoint: str | None = Field(default=None, description="URL of the S3 server; empty means AWS itself.")
    region: str | None = Field(default=None, description="AWS region; empty takes it from the environment.")
    public: bool = Field(default=False, description="Anonymous access: requests are not signed.")
    access_key: SecretStr | None = Field(default=None, description="The access key; needs the secret key, too.")
    secret_key: SecretStr | None = None
    session_token: SecretStr | None = None
    credentials: Credentials = Field(
        default=None, description="AwsCredentials or MinIOCredentials of prefect-aws, instead of the keys above."
    )
    aws_profile: str | None = Field(
        default=None, description="A profile of the worker's AWS configuration files, whose credentials are refreshed."
    )
    local_name: str | None = Field(
        default=None, description="Directory below the cache root; empty means the name of the block."
    )
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    verify: bool | str = Field(
        default=True, description="Off: TLS certificates are not checked. A path: a CA bundle on the worker."
    )
    requester_pays: bool = Field(default=False, description="Accept the costs of requester-pays buckets.")
    server_side_encryption: str | None = Field(
        default=None, description="Encryption of uploads, such as AES256 or aws:kms."
    )
    sse_kms_key_id: str | None = Field(default=None, description="The KMS key for uploads; implies aws:kms.")

    @model_validator(mode="after")
    def _can_work(self) -> Pos3Profile:
        # A CA bundle need not exist here, because it is a file of the worker.
        _profile(self.local_name or "profile", self._settings() | {"verify": True})
        return self

    def to_profile(self) -> pos3.Profile:
        """Returns the block as a profile, for the argument ``profile`` of the functions of pos3.

        Raises:
            ProfileError: it cannot work on this machine, or it has no ``local_name`` and was not saved.
        """
        name = self.local_name or self._block_document_name
        if not name:
            raise pos3.ProfileError("a Pos3Profile that is not saved needs a local_name; save it, or set local_name")
        return _profile(name, self._settings())

    def _settings(self) -> dict[str, Any]:
        own = {
            "endpoint": self.endpoint,
            "region": self.region,
            "public": self.public,
            "access_key": _revealed(self.access_key),
            "secret_key": _revealed(self.secret_key),
            "session_token": _revealed(self.session_token),
            "aws_profile": self.aws_profile,
            "addressing_style": self.addressing_style,
            "verify": self.verify,
            "requester_pays": self.requester_pays,
            "server_side_encryption": self.server_side_encryption,
            "sse_kms_key_id": self.sse_kms_key_id,
        }
        if self.credentials is None:
            return _checked(own)
        if self.access_key or self.secret_key or self.session_token or self.aws_profile:
            raise pos3.ProfileError("a Pos3Profile takes either credentials or keys or aws_profile; choose one")
        # The fields of the block win over the settings that its credentials also contain.
        borrowed = _of_prefect_aws(self.credentials)
        settings = own | {name: value for name, value in borrowed.items() if own[name] in (None, True)}
        # With AwsCredentials, a missing endpoint means AWS.
        return _checked(settings) if hasattr(self.credentials, "minio_root_user") else settings


def _profile(name: str, settings: dict[str, Any]) -> pos3.Profile:
    return pos3.Profile(name, **settings)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, if the endpoint was not forgotten. The keys of another server must not be sent to AWS."""
    if settings["region"] and not (settings["endpoint"] or settings["aws_profile"] or settings["public"]):
        raise pos3.ProfileError(
            "a Pos3Profile with a region needs an endpoint, too. For AWS itself, set aws_profile, or public, or take "
            "AwsCredentials as its credentials"
        )
    return settings


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() or None if secret is not None else None


def _of_prefect_aws(credentials: Any) -> dict[str, Any]:
    """The settings in ``AwsCredentials`` or ``MinIOCredentials``."""
    client = credentials.aws_client_parameters
    common = {
        "region": credentials.region_name,
        "endpoint": client.endpoint_url,
        "verify": str(client.verify_cert_path) if client.verify_cert_path else client.verify is not False,
    }
    if hasattr(credentials, "minio_root_user"):
        return common | {
            "access_key": credentials.minio_root_user,
            "secret_key": _revealed(credentials.minio_root_password),
        }
    if getattr(credentials, "assume_role_arn", None):
        raise pos3.ProfileError(
            "a Pos3Profile cannot use AwsCredentials with assume_role_arn, which would expire in the middle of a run; "
            "put role_arn into a profile of the worker's AWS configuration and name that with aws_profile"
        )
    return common | {
        "access_key": credentials.aws_access_key_id,
        "secret_key": _revealed(credentials.aws_secret_access_key),
        "session_token": credentials.aws_session_token,
        "aws_profile": credentials.profile_name,
    }
