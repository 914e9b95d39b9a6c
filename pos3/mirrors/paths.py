"""The paths that mirrors return. They travel: pickled and loaded on another machine, they are valid there.

A pickled path carries a reference, which is looked up when it is pickled, so that ``path / "x"`` and ``path.parent``
travel as well. On the same machine it is loaded as the same path. On another one it arrives when it is first used where
there is a mirror: the mirror of that place restores its content, and the path becomes the local path of the content.
Without a mirror it keeps the text that it had.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path, PosixPath
from typing import Any, Protocol, Self

from pos3.errors import NoMirrorError, RemoteNotFoundError
from pos3.jobs import ReceivedRoot, Reference, reference_of, remember
from pos3.local import machine


class Restorer(Protocol):
    """A mirror that brings the content of paths."""

    @property
    def download(self) -> Callable[..., Path]: ...

    @property
    def restore(self) -> Callable[..., Path]: ...


# The machine of a path that is made of a URL.
_NO_MACHINE = ""

FindRestorer = Callable[[bool], Restorer | None]


def _no_restorer(_in_context: bool) -> Restorer | None:
    return None


_find_restorer: FindRestorer = _no_restorer


def restore_with(find: FindRestorer) -> None:
    """Sets the function that gives the mirror of a place.

    Its argument says whether the mirror must belong to the context. Otherwise the only open mirror counts as well.
    """
    global _find_restorer
    _find_restorer = find


class MirroredPath(PosixPath):
    """A :class:`pathlib.Path` that travels. It is equal to a plain path with the same text, and so is its hash.

    ``pathlib.Path(path)`` is a plain path, whose pickle needs no pos3.
    """

    # What it was pickled with on the machine that it comes from, and the run that has handed it on.
    __slots__ = ("_pos3_arrival", "_pos3_origin")

    def __reduce__(self) -> tuple[Any, ...]:
        described = _described(self)
        return (arrived, (described,)) if described is not None else (PosixPath, (str(self),))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Without this, Dask pickles it twice, and the reference is another one once a file is there.
        return "pathlib.PosixPath", str(self)


class _Arrival:
    """How a path arrives: what it was pickled with, and what is known of its way so far."""

    def __init__(self, described: dict[str, Any]):
        self.described = described
        self.lock = threading.RLock()
        self.is_arriving = False
        self.is_hashed = False

    @property
    def plain(self) -> PosixPath:
        return PosixPath(self.described["text"])

    @property
    def reference(self) -> Reference:
        return _reference(self.described)


class _ArrivingPath(MirroredPath):
    """A path of another machine. It becomes a :class:`MirroredPath` when it is first used where there is a mirror.

    All methods of pathlib read attributes of the path, so each use is seen here, on every version of Python.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name not in _READ_WITHOUT_ARRIVAL:
            _arrive(self)
        return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        return repr(_arrival(self).plain)

    # A container that is loaded asks for the hash of its elements, at a time at which nothing should be transferred.
    def __hash__(self) -> int:
        if _arrive(self, in_context=True):
            return hash(self)
        _arrival(self).is_hashed = True
        return hash(_arrival(self).plain)

    def __eq__(self, other: object) -> bool:
        if _arrive(self, in_context=True):
            return self == other
        return _arrival(self).plain == other


_READ_WITHOUT_ARRIVAL = frozenset(
    {"__class__", "__reduce__", "__reduce_ex__", "__copy__", "__deepcopy__", "_pos3_arrival", "_pos3_origin"}
)

# The names are those of the class that users expect: in the repr, in JSON that names the class, and in Prefect's keys
# of cached results, which are the same for a plain path.
for _cls in (MirroredPath, _ArrivingPath):
    _cls.__name__ = _cls.__qualname__ = PosixPath.__name__
    _cls.__module__ = PosixPath.__module__


_has_arriving = False


def has_arriving() -> bool:
    """Whether a path of another machine was ever loaded in this process. It costs nothing to ask."""
    return _has_arriving


def is_arriving(value: object) -> bool:
    """Whether ``value`` is a path that comes from another machine, and whose content was not asked for yet."""
    return type(value) is _ArrivingPath


def arriving_reference(path: Path) -> Reference | None:
    """The reference of a path that has not arrived yet; None for any other path."""
    return _arrival(path).reference if type(path) is _ArrivingPath else None


def arrive(path: Path) -> Path:
    """Restores the content of a path that has not arrived, and returns the path.

    It is the same object, unless a set or a dict may hold it by the hash that it had.

    Raises:
        RemoteNotFoundError: nothing is at the URL any more, or not yet.
        Pos3Error: further errors as for :meth:`Mirror.download`.
    """
    if type(path) is not _ArrivingPath:
        return path
    described = _arrival(path)
    if not described.is_hashed:
        _arrive(path)
        return path
    made = _arriving(described.described)
    _arrive(made)
    return made


def as_mirrored(path: Path, origin: str = "") -> Path:
    """The path as one that travels. ``origin`` names the run that hands it on, for messages elsewhere."""
    if type(path) is _ArrivingPath:
        return path
    made = path if isinstance(path, MirroredPath) else MirroredPath(path)
    if origin and not getattr(made, "_pos3_origin", ""):
        object.__setattr__(made, "_pos3_origin", origin)
    return made


def reference_to_travel(path: Path) -> Reference | None:
    """The reference with which a path would be pickled now, or None."""
    return arriving_reference(path) or reference_of(str(path))


def _described(path: MirroredPath) -> dict[str, Any] | None:
    """What the path is pickled with; None for a path that means the same, or nothing, on every machine."""
    arrival: _Arrival | None = getattr(path, "_pos3_arrival", None)
    if arrival is not None and (type(path) is _ArrivingPath or arrival.described["reference"] is None):
        return arrival.described
    text = str(path)
    reference = reference_of(text) if path.is_absolute() else None
    if reference is None and not (path.is_absolute() and os.path.lexists(text)):
        return None
    return {
        "text": text,
        "machine": machine(),
        "reference": {**vars(reference)} if reference is not None else None,
        "origin": getattr(path, "_pos3_origin", ""),
    }


def arrived(described: dict[str, Any]) -> Path:
    """Loads a pickled path. It sends no request. Pickles contain the name of this function."""
    if described["machine"] == _NO_MACHINE:
        return path_of_url(described["text"])
    if described["machine"] != machine():
        return _arriving(described) if described["reference"] is not None else _foreign(described)
    if described["reference"] is not None:
        reference = _reference(described)
        remember(reference.root, ReceivedRoot(replace(reference, path="")))
    path = MirroredPath(described["text"])
    object.__setattr__(path, "_pos3_origin", described["origin"])
    return path


def path_of_url(url: str) -> Path:
    """A path that is the download of a URL. It is downloaded when the path is first used where there is a mirror.

    Until then, its text is the URL. No request is sent here.
    """
    reference = Reference(root_url=url, path="", root=url, cache_root="")
    path = _arriving({"text": url, "machine": _NO_MACHINE, "reference": {**vars(reference)}, "origin": ""})
    # pathlib would make one slash of two.
    object.__setattr__(path, "_str", url)
    return path


def _arriving(described: dict[str, Any]) -> _ArrivingPath:
    global _has_arriving
    _has_arriving = True
    # PosixPath.__new__ would use the path before it has its arrival.
    path: _ArrivingPath = object.__new__(_ArrivingPath)
    object.__setattr__(path, "_pos3_arrival", _Arrival(described))
    object.__setattr__(path, "_pos3_origin", described["origin"])
    _take_text(path, described["text"])
    return path


_MAX_FOREIGN = 10_000
_foreign_paths: dict[str, str] = {}


def _foreign(described: dict[str, Any]) -> Path:
    global _has_arriving
    _has_arriving = True
    path = MirroredPath(described["text"])
    object.__setattr__(path, "_pos3_arrival", _Arrival(described))
    object.__setattr__(path, "_pos3_origin", described["origin"])
    if len(_foreign_paths) > _MAX_FOREIGN:
        _foreign_paths.clear()
    _foreign_paths[described["text"]] = f"{described['origin'] or 'a process'} on {described['machine'].split()[0]}"
    return path


def origin_of_foreign(path: str) -> tuple[str, str] | None:
    """The path of another machine that is ``path`` or contains it, and what has handed it on; None if there is none.

    It knows those paths that lie outside of every mirror there, so nothing can bring them here.
    """
    while path and path not in _foreign_paths:
        path = os.path.dirname(path) if path != os.sep else ""
    return (path, _foreign_paths[path]) if path else None


def _reference(described: dict[str, Any]) -> Reference:
    known = {item.name for item in fields(Reference)}
    return Reference(**{name: value for name, value in described["reference"].items() if name in known})


def _arrival(path: Path) -> _Arrival:
    arrival: _Arrival = object.__getattribute__(path, "_pos3_arrival")
    return arrival


def _arrive(path: Path, *, in_context: bool = False) -> bool:
    """Makes ``path`` a path of this machine, if there is a mirror."""
    arrival = _arrival(path)
    with arrival.lock:
        if type(path) is MirroredPath:
            return True
        if arrival.is_arriving:
            return False
        arrival.is_arriving = True
        try:
            mirror = _find_restorer(in_context)
            if mirror is None:
                return False
            local = str(_restored(mirror, arrival))
        except NoMirrorError:
            return False
        finally:
            arrival.is_arriving = False
        _take_text(path, local)
        object.__setattr__(path, "__class__", MirroredPath)
        return True


def _restored(mirror: Restorer, arrival: _Arrival) -> Path:
    reference = arrival.reference
    if arrival.described["machine"] == _NO_MACHINE:
        return mirror.download(reference.root_url)
    try:
        return mirror.restore(reference, travels=True)
    except RemoteNotFoundError as error:
        when = "not pushed yet, or gone" if reference.pushes else "gone"
        origin = arrival.described["origin"] or f"a process on {arrival.described['machine'].split()[0]}"
        raise RemoteNotFoundError(
            f"{origin} passed {reference.local}, a copy of {reference.url}, which is {when}: {error}"
        ) from error


def _take_text(path: Path, text: str) -> None:
    """Gives the path all that pathlib keeps of ``text``, and nothing that it keeps of another text."""
    fresh = PosixPath(text)
    for cls in PosixPath.__mro__:
        for name in vars(cls).get("__slots__", ()):
            try:
                object.__setattr__(path, name, object.__getattribute__(fresh, name))
            except AttributeError:
                with contextlib.suppress(AttributeError):
                    object.__delattr__(path, name)
