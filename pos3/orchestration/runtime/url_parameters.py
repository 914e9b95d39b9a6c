"""Flow parameters that are annotated as paths accept URLs. They are downloaded when the body of the flow begins.

The URL is taken from the raw parameter, since pydantic would make ``s3:/bucket/data`` of ``s3://bucket/data/``. In its
place comes a path that arrives in the mirror of the run, so the parameter that Prefect shows stays the URL.
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path, PosixPath, PurePath
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, WithJsonSchema
from pydantic.types import PathType

from pos3.mirrors import path_of_url
from pos3.url import is_url

_PATHS = (Path, PosixPath, PurePath)
_UNIONS = (Union, types.UnionType)
_SERIES = (list, tuple, set, frozenset, collections.deque)
_SERIES_ORIGINS = (*_SERIES, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPING_ORIGINS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_IN_SCHEMA = WithJsonSchema(
    {
        "type": "string",
        "format": "path",
        "description": "A local path, or a URL such as s3://bucket/data, which is downloaded before the flow begins.",
        "examples": ["s3://bucket/data"],
    }
)


def with_url_paths(function: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The raw parameters of a flow, with a path in place of each URL where the annotation asks for a path.

    Raises:
        InvalidURLError: such a URL is malformed.
    """
    hints = _hints(function)
    return {name: _converted(value, hints.get(name)) for name, value in parameters.items()}


def describe_url_parameters(flow: Flow[Any, Any]) -> None:
    """Makes the schema of the flow's parameters say that a path may be given as a URL.

    Prefect makes it of ``inspect.signature(flow)``, also for deployments.
    """
    hints = _hints(flow.fn)
    described = {name: _described(hint) for name, hint in hints.items()}
    if all(described[name] is hints[name] for name in hints):
        return
    signature = inspect.signature(flow.fn)
    parameters = [
        each.replace(annotation=described.get(name, each.annotation)) for name, each in signature.parameters.items()
    ]
    returned = hints.get("return", signature.return_annotation)
    flow.__signature__ = signature.replace(parameters=parameters, return_annotation=returned)  # type: ignore[attr-defined]
    flow.parameters = parameter_schema(flow)


def globals_of_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals that the annotations of a function name, if they are kept as texts.

    A function that is pickled by value, such as that of a served flow, keeps the globals that its code uses. Those of
    its annotations have to be kept as well, or its parameters cannot be validated where it is loaded.
    """
    given = inspect.unwrap(function)
    available = getattr(given, "__globals__", {})
    names: set[str] = set()
    for annotation in getattr(given, "__annotations__", {}).values():
        if isinstance(annotation, str):
            with contextlib.suppress(SyntaxError, ValueError):
                names.update(compile(annotation, "<annotation>", "eval").co_names)
    return {name: available[name] for name in names if name in available}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation may be any expression; Prefect does without as well
        return {}


def _converted(value: Any, hint: Any) -> Any:
    """``value`` with a path in place of each URL where ``hint`` has a path; the same object if there is none."""
    if isinstance(value, str | PurePath):
        return path_of_url(str(value)) if _takes_path(hint) and is_url(value) else value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _converted(value, arguments[0])
    if origin in _UNIONS:
        made = (_converted(value, each) for each in arguments)
        return next((each for each in made if each is not value), value)
    if isinstance(value, _SERIES) and origin in _SERIES_ORIGINS:
        return _converted_series(value, arguments)
    if isinstance(value, Mapping):
        hints = _hints_of_fields(hint, arguments if origin in _MAPPING_ORIGINS else (), value)
        made_items = {key: _converted(each, hints.get(key)) for key, each in value.items()}
        return made_items if any(made_items[key] is not value[key] for key in value) else value
    return value


def _converted_series(values: Any, arguments: tuple[Any, ...]) -> Any:
    is_fixed = len(arguments) > 1 and arguments[-1] is not Ellipsis
    hints = arguments if is_fixed else arguments[:1] * len(values)
    made = [_converted(each, hint) for each, hint in zip(values, hints, strict=False)]
    if len(made) != len(values) or all(new is old for new, old in zip(made, values, strict=True)):
        return values
    return type(values)(made)


def _hints_of_fields(hint: Any, arguments: tuple[Any, ...], value: Mapping[Any, Any]) -> dict[Any, Any]:
    """The annotations of the values of a mapping, which may hold the fields of a model."""
    if len(arguments) == 2:
        return dict.fromkeys(value, arguments[1])
    if not isinstance(hint, type):
        return {}
    if issubclass(hint, BaseModel):
        by_name = {name: Annotated[each.annotation, None, *each.metadata] for name, each in hint.model_fields.items()}
        by_alias = {each.alias: by_name[name] for name, each in hint.model_fields.items() if each.alias}
        return {**by_name, **by_alias}
    if is_dataclass(hint):
        hints = _hints(hint)
        return {each.name: hints.get(each.name) for each in fields(hint)}
    return _hints(hint) if issubclass(hint, dict) else {}


def _takes_path(hint: Any) -> bool:
    """Whether a text given for ``hint`` becomes a path.

    pydantic's ``FilePath`` and ``DirectoryPath`` look for the file before anything can be downloaded, so they do not.
    """
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        return _takes_path(inner) and not any(isinstance(each, PathType) for each in metadata)
    if get_origin(hint) in _UNIONS:
        return str not in get_args(hint) and any(map(_takes_path, get_args(hint)))
    return hint in _PATHS


def _described(hint: Any) -> Any:
    """``hint`` with a description for the schema at each path; the same object if there is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PATHS:
        return Annotated[hint, _IN_SCHEMA]
    if origin is None or origin is collections.abc.Callable or not arguments:
        return hint
    if origin is Annotated:
        inner = _described(arguments[0])
        is_plain = inner is arguments[0] or (not _takes_path(hint) and arguments[0] in _PATHS)
        return hint if is_plain else Annotated[inner, *arguments[1:]]
    if origin in _UNIONS and str in arguments:
        return hint
    made = tuple(map(_described, arguments))
    if all(new is old for new, old in zip(made, arguments, strict=True)):
        return hint
    return Union[made] if origin in _UNIONS else origin[made]  # noqa: UP007 - the members are not known here
