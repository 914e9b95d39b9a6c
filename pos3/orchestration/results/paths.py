"""Stores the paths in results as URLs, and downloads them where the results are loaded.

A stored result is an ordinary pickle in which each mirrored path is a call of :func:`restored`. So Prefect's own
serializer can load results in any process that can import pos3, and run states can be read where pos3 is not installed.
"""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path, PosixPath
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped]
from prefect.serializers import PickleSerializer, Serializer
from prefect.settings import get_current_settings
from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

import pos3
from pos3.mirrors import arriving_reference
from pos3.orchestration.results.reading import mirror_for_reading
from pos3.orchestration.runtime import run_names

D = TypeVar("D")


class PathSerializer(PickleSerializer[D]):
    """Prefect's pickle serializer, extended for paths of a mirror: their content can be loaded on other machines.

    A path that the current mirror has registered, or that is in its cache, is stored as its URL. This works at any
    depth of the result. When the result is loaded, the URL becomes a local path with the same content: see
    :func:`restored`. All other values are stored as by Prefect's default serializer. The result contains URLs and names
    of profiles, but no credentials.

    ``pos3_flow`` uses it for the flow and its tasks, unless you choose another serializer.
    """

    type: str = Field(default="pos3", frozen=True)

    def __init__(self, **data: Any) -> None:
        # The stored type is "pickle", because Prefect's pickle serializer can load it.
        super().__init__(**{**data, "type": "pickle"})

    @model_serializer(mode="wrap")
    def _described(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        described: dict[str, Any] = handler(self)
        # As a Python object, the serializer is sent to processes that write results, so there it keeps its own type.
        return described if info.mode == "json" else {**described, "type": "pos3"}

    def dumps(self, obj: D) -> bytes:
        with io.BytesIO() as file:
            _PathPickler(file).dump(obj)
            return base64.encodebytes(file.getvalue())


def default_serializer() -> Serializer[Any] | None:
    """The serializer of flows that choose none; None if Prefect's settings name another one than Prefect's default."""
    return PathSerializer() if get_current_settings().results.default_serializer == "pickle" else None


class _PathPickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self._origin = run_names() or "a result"

    def reducer_override(self, obj: Any) -> Any:
        if issubclass(type(obj), PosixPath):
            reference = _reference(obj)
            # A path without a URL is stored as a plain one, which loads where pos3 is not installed.
            return (restored, ({**vars(reference)}, self._origin)) if reference is not None else _plain(obj)
        return super().reducer_override(obj)


def _reference(path: Path) -> pos3.Reference | None:
    arriving = arriving_reference(path)
    if arriving is not None:
        return arriving
    with suppress(pos3.Pos3Error), mirror_for_reading() as mirror:
        return mirror.reference(path)
    return None


def _plain(path: Path) -> tuple[Any, ...]:
    return PosixPath, path.parts


def restored(stored: dict[str, Any], origin: str) -> Path:
    """Returns the local path of a stored reference.

    A stored result contains the name of this function, and loading the result calls it. With a mirror, the content is
    downloaded unless it is there. Without a mirror, the path is returned if it exists and the cache of this machine has
    a record of it.

    Args:
        stored: the fields of a :class:`pos3.Reference`.
        origin: the run of the result, for messages.

    Raises:
        RemoteNotFoundError: nothing is at the URL any more, or not yet.
        NoMirrorError: no mirror is open, and the content is not on this machine.
    """
    known = {item.name for item in fields(pos3.Reference)}
    kept = {name: value for name, value in stored.items() if name in known}
    # Only the content is stored. Whoever loads it, also much later, has nothing to do with the upload of that time.
    reference = replace(pos3.Reference(**kept), exists=True, upload=None)
    try:
        with mirror_for_reading() as mirror:
            return mirror.restore(reference)
    except pos3.NoMirrorError as error:
        copy = reference.local_copy()
        if copy is not None:
            return copy
        raise pos3.NoMirrorError(
            f"{origin} returned {reference.local}, a copy of {reference.url}, and this machine has none: "
            f"load the result inside 'with pos3.mirror():' to download it ({error})"
        ) from None
    except pos3.RemoteNotFoundError as error:
        when = "not pushed yet, or gone" if reference.pushes else "gone"
        raise pos3.RemoteNotFoundError(
            f"{origin} returned {reference.local}, a copy of {reference.url}, which is {when}: {error}"
        ) from error


# Pickles name a function with its module. Stored results name the package, which older versions of pos3 have as well.
restored.__module__ = "pos3.orchestration.results"
