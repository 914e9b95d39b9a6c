"""The block with the options of a flow run's mirror."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, model_validator

import pos3
from pos3.orchestration.blocks.profile import Pos3Profile


class Pos3Mirror(Block):
    """Options for the mirror of a flow run: ``pos3_flow(mirror="<block name>")``.

    An empty field is an option that is not given. :func:`pos3.mirror` explains the options.
    """

    _block_type_name = "pos3 Mirror"
    _block_type_slug = "pos3-mirror"
    _description = "Options of the mirror that a flow run with pos3_flow opens."

    model_config = ConfigDict(hide_input_in_errors=True)

    cache_root: str | None = Field(default=None, description="Directory on the worker for files without a local path.")
    show_progress: bool | None = Field(default=None, description="Log lines about transfers that take long.")
    max_workers: int | None = Field(default=None, description="The most requests of one transfer at the same time.")
    default_profile: Pos3Profile | str | None = Field(
        default=None, description="A profile or its name, for URLs that name no profile."
    )
    max_upload_bytes_per_second: float | None = Field(
        default=None, description="The most bytes a second of all uploads."
    )
    max_download_bytes_per_second: float | None = Field(
        default=None, description="The most bytes a second of all downloads."
    )
    cache_limit: int | str | None = Field(
        default=None, description="The most bytes in the cache, or a size such as 50GB."
    )
    shutdown_timeout: float | None = Field(
        default=None, description="Seconds for the last pushes when the process is told to stop."
    )
    output_root: str | None = Field(default=None, description="URL below which run_dir() creates directories.")
    offline: bool | Literal["auto"] | None = Field(
        default=None,
        description="On: use only the cache, and keep uploads. auto: only while the store cannot be reached.",
    )

    @model_validator(mode="after")
    def _can_work(self) -> Pos3Mirror:
        pos3.MirrorOptions(**self._options()).checked()
        return self

    def to_options(self) -> dict[str, Any]:
        """The fields of the block as options of a mirror.

        Raises:
            ProfileError: the default profile cannot work on this machine.
        """
        options = self._options()
        profile = self.default_profile
        return options | ({"default_profile": profile.to_profile()} if isinstance(profile, Pos3Profile) else {})

    def _options(self) -> dict[str, Any]:
        names = set(type(self).model_fields) & set(vars(pos3.MirrorOptions()))
        return {name: value for name in names if (value := getattr(self, name)) is not None}
