"""Paths in results: stored as what they stand for, and downloaded where they are loaded.

What is stored is an ordinary pickle in which each mirrored path is a call of :func:`restored`. So results are loaded by
Prefect's own serializer, in any process that can import pos3, and run states can be read where pos3 is not installed.
"""

from __future__ import annotations

import base64
import io
from collections import ChainMap
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped]
from prefect.context import FlowRunContext, TaskRunContext
from prefect.serializers import PickleSerializer, Serializer
from prefect.settings import get_current_settings
from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

import pos3
from pos3.orchestration.results.reading import mirror_for_reading

D = TypeVar("D")
_LocalPath = type(Path())


class PathSerializer(PickleSerializer[D]):
    """Prefect's pickles, in which paths of a mirror lead to their content on other machines too.

    A path that the current mirror has registered, or that lies in its cache, is stored as its URL, at any depth of the
    result. Where the result is loaded, it becomes a local path with that content: see :func:`restored`. All else is
    stored as Prefect's default serializer does. Stored are URLs and names of profiles, no credentials.

    ``pos3_flow`` uses it for flow and tasks, unless another serializer is chosen.
    """

    type: str = Field(default="pos3", frozen=True)

    def __init__(self, **data: Any) -> None:
        # What is written down says "pickle", since a pickle it is.
        super().__init__(**{**data, "type": "pickle"})

    @model_serializer(mode="wrap")
    def _described(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        described: dict[str, Any] = handler(self)
        # As Python objects, serializers travel to processes that write results themselves.
        return described if info.mode == "json" else {**described, "type": "pos3"}

    def dumps(self, obj: D) -> bytes:
        with io.BytesIO() as file:
            _PathPickler(file).dump(obj)
            return base64.encodebytes(file.getvalue())


def default_serializer() -> Serializer[Any] | None:
    """For flows that name none: None where Prefect's settings name another than its own default."""
    return PathSerializer() if get_current_settings().results.default_serializer == "pickle" else None


class _PathPickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO):
        # Read once, by the base class.
        self.dispatch_table = ChainMap(
            {_LocalPath: partial(_reduced, origin=_origin())}, cloudpickle.Pickler.dispatch_table
        )
        super().__init__(file)


def _reduced(path: Path, origin: str) -> Any:
    reference = _reference(path)
    if reference is None:
        return path.__reduce__()
    return restored, ({**vars(reference)}, origin)


def _reference(path: Path) -> pos3.Reference | None:
    with suppress(pos3.Pos3Error), mirror_for_reading() as mirror:
        return mirror.reference(path)
    return None


def _origin() -> str:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    parts = []
    if task is not None:
        parts.append(f"task run {task.task_run.name!r}")
    if flow is not None and flow.flow_run is not None:
        parts.append(f"flow run {flow.flow_run.name!r}")
    return " of ".join(parts) or "a result"


def restored(stored: dict[str, Any], origin: str) -> Path:
    """The local path of a stored reference: called when a result is loaded. Results name this function.

    In a mirror, a path whose content is there costs no transfer, and else it is downloaded. Outside of one, the path is
    returned if it exists and the cache of this machine knows it.

    Args:
        stored: the fields of a :class:`pos3.Reference`.
        origin: whose result it is, for messages.

    Raises:
        RemoteNotFoundError: nothing is at the URL any more, or not yet.
        NoMirrorError: no mirror is open, and the content is not on this machine.
    """
    known = {item.name for item in fields(pos3.Reference)}
    reference = pos3.Reference(**{name: value for name, value in stored.items() if name in known})
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


# Pickles name a function by its module. Stored results name the package, and older versions of pos3 know it as well.
restored.__module__ = "pos3.orchestration.results"
