"""Loads saved blocks by name."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound

import pos3

B = TypeVar("B", bound=Block)

_BLOCK_NAME = re.compile(r"[a-z0-9-]+")


def load_block(kind: type[B], name: str) -> B:
    """Loads a saved block. It works in any thread, with or without an event loop.

    Raises:
        LookupError: there is no block with this name.
        ProfileError: the block cannot be loaded.
    """
    if not _BLOCK_NAME.fullmatch(name):
        raise LookupError(name)
    try:
        loaded: Any = kind.load(name, _sync=True)  # type: ignore[call-arg]
    except Exception as error:  # noqa: BLE001 - Prefect has no type for it
        if isinstance(error.__cause__, ObjectNotFound):
            raise LookupError(name) from None
        raise pos3.ProfileError(f"the {kind.__name__} block {name!r} cannot be loaded: {_cause(error)}") from None
    return cast(B, loaded)


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"
