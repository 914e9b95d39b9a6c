"""The options of a mirror, and how the environment gives their values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass, fields, replace
from typing import Any, Literal, TypeVar, cast

from pos3.errors import InvalidArgumentError
from pos3.local import NO_HOME, expanded
from pos3.profiles import Profile
from pos3.reports import parse_bytes
from pos3.url import is_url, parse, quoted

StrPath = str | os.PathLike[str]
OfflineChoice = bool | Literal["auto"]
DEFAULT_CACHE_ROOT = "~/.cache/positronic/s3/"
_PREFIX = "POS3_"
T = TypeVar("T")


class Unset:
    """A placeholder for an option that the caller has not given. It equals the default, and has the same repr."""

    __slots__ = ("default",)

    def __init__(self, default: object):
        self.default = default

    def __eq__(self, other: object) -> bool:
        return bool(self.default == (other.default if isinstance(other, Unset) else other))

    def __hash__(self) -> int:
        return hash(self.default)

    def __bool__(self) -> bool:
        return bool(self.default)

    def __repr__(self) -> str:
        return repr(self.default)

    def __reduce__(self) -> tuple[type[Unset], tuple[object]]:
        return Unset, (self.default,)


def unset(default: T) -> T:
    """The placeholder for an option. The type checker takes it for the default value."""
    return cast(T, Unset(default))


@dataclass(frozen=True)
class MirrorOptions:
    """The arguments of :func:`pos3.mirror` as one value. It can be stored, compared and pickled.

    :func:`pos3.mirror` explains the options. An option that was given wins over the environment, even if it equals the
    default. Two values are equal if their options are equal. It does not matter which of the options were given.

    Args:
        given: the names of the options that count as given. None means all options that are passed. An option that
            differs from its default always counts as given. :func:`dataclasses.replace` passes this argument on.
    """

    cache_root: StrPath = unset(DEFAULT_CACHE_ROOT)  # noqa: RUF009
    show_progress: bool = unset(True)
    max_workers: int = unset(10)
    default_profile: str | Profile | None = unset(None)  # noqa: RUF009
    max_upload_bytes_per_second: float | None = unset(None)
    cache_limit: int | str | None = unset(None)
    shutdown_timeout: float = unset(25.0)
    output_root: StrPath | None = unset(None)  # noqa: RUF009
    max_download_bytes_per_second: float | None = unset(None)
    offline: OfflineChoice = unset(False)  # noqa: RUF009
    _: KW_ONLY
    given: InitVar[frozenset[str] | None] = None

    def __post_init__(self, given: frozenset[str] | None) -> None:
        given_names = set(given or ())
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Unset):
                object.__setattr__(self, item.name, value.default)
            elif given is None or value != item.default:
                given_names.add(item.name)
        object.__setattr__(self, "given", frozenset(given_names))

    @staticmethod
    def unset(default: T) -> T:
        """Returns a default for an argument of your function that you pass on as an option. It counts as not given."""
        return unset(default)

    def given_options(self) -> dict[str, Any]:
        """Returns the options that were given, with their values."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name in vars(self)["given"]}

    def or_environment(self, environment: Mapping[str, str] = os.environ) -> MirrorOptions:
        """Returns these options, with values from the environment for the options that were not given.

        The variable of ``cache_root`` is ``POS3_CACHE_ROOT``, and so on. An empty variable counts as not set.

        Raises:
            InvalidArgumentError: the value of a variable is wrong. The error names the variable.
        """
        not_given = [item.name for item in fields(self) if item.name not in vars(self)["given"]]
        return self.giving(**self.named_by_environment(not_given, environment))

    def giving(self, **options: Any) -> MirrorOptions:
        """Returns a copy with other values for some options. They count as given, even if they equal the defaults."""
        return replace(self, **options, given=vars(self)["given"] | options.keys())

    @staticmethod
    def named_by_environment(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """Returns each option in ``names`` that has a variable in the environment, with its value.

        Raises:
            InvalidArgumentError: the value of a variable is wrong. The error names the variable.
        """
        variables = {name: variable_of(name) for name in names}
        found = {name: variable for name, variable in variables.items() if environment.get(variable)}
        return {name: _parse(variable, environment[variable], name) for name, variable in found.items()}

    def checked(self) -> MirrorOptions:
        """Returns these options if all of them are valid.

        Raises:
            InvalidArgumentError: an option is wrong; the error names it.
        """
        root = os.fspath(self.cache_root) if isinstance(self.cache_root, (str, os.PathLike)) else None
        if not isinstance(root, str) or not root or "\x00" in root:
            raise InvalidArgumentError(
                f"cache_root={self.cache_root!r}: expected a directory, as a string or path object",
                argument="cache_root",
            )
        try:
            is_remote = is_url(self.cache_root)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"cache_root={error}", argument="cache_root") from None
        if is_remote:
            raise InvalidArgumentError(
                f"cache_root={quoted(root)} is a URL; expected a local directory", argument="cache_root"
            )
        if isinstance(self.max_workers, bool) or not isinstance(self.max_workers, int) or self.max_workers < 1:
            raise InvalidArgumentError(
                f"max_workers={self.max_workers!r}: expected a whole number of at least 1", argument="max_workers"
            )
        for name in ("max_upload_bytes_per_second", "max_download_bytes_per_second"):
            _check_rate(name, getattr(self, name))
        timeout = self.shutdown_timeout
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
            raise InvalidArgumentError(
                f"shutdown_timeout={timeout!r}: expected seconds as a number", argument="shutdown_timeout"
            )
        if not 0 < timeout < math.inf:
            raise InvalidArgumentError(
                f"shutdown_timeout={timeout!r}: expected seconds above 0", argument="shutdown_timeout"
            )
        if self.cache_limit is not None:
            self._cache_limit_bytes(self.cache_limit)
        self._check_output_root()
        if not isinstance(self.offline, bool) and self.offline != "auto":
            raise InvalidArgumentError(f"offline={self.offline!r}: expected True, False or 'auto'", argument="offline")
        return self

    def _check_output_root(self) -> None:
        if self.output_root is None:
            return
        root = os.fspath(self.output_root) if isinstance(self.output_root, (str, os.PathLike)) else None
        if not isinstance(root, str) or not root.strip() or "\x00" in root:
            raise InvalidArgumentError(
                f"output_root={self.output_root!r}: expected a URL such as 's3://bucket/outputs'",
                argument="output_root",
            )
        try:
            if is_url(self.output_root):
                parse(root)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"output_root={error}", argument="output_root") from None

    @property
    def given_workers(self) -> int | None:
        """``max_workers`` if it was given, here or by the environment. None lets each store find the number."""
        return self.max_workers if "max_workers" in vars(self)["given"] else None

    @property
    def real_cache_root(self) -> str:
        """The absolute path of the cache, with links resolved.

        It is NO_HOME for the default cache root if no home directory is known.

        Raises:
            InvalidArgumentError: another cache root needs a home directory, and none is known.
        """
        try:
            return os.path.realpath(expanded(self.cache_root, "cache_root"))
        except InvalidArgumentError:
            if os.fspath(self.cache_root) != DEFAULT_CACHE_ROOT:
                raise
            return NO_HOME

    @property
    def cache_limit_bytes(self) -> int | None:
        """The limit of the cache in bytes. None means no limit."""
        return None if self.cache_limit is None else self._cache_limit_bytes(self.cache_limit)

    @staticmethod
    def _cache_limit_bytes(limit: int | str) -> int:
        if isinstance(limit, bool) or not isinstance(limit, (int, str)):
            raise InvalidArgumentError(
                f"cache_limit={limit!r}: expected a whole number of bytes, or a size such as '50GB'",
                argument="cache_limit",
            )
        try:
            size_bytes = parse_bytes(limit)
        except (ValueError, OverflowError) as error:
            raise InvalidArgumentError(f"cache_limit={limit!r}: {error}", argument="cache_limit") from None
        if size_bytes < 0:
            raise InvalidArgumentError(
                f"cache_limit={limit!r}: expected bytes, or a size such as '50GB'", argument="cache_limit"
            )
        return size_bytes


def _check_rate(name: str, rate: float | None) -> None:
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise InvalidArgumentError(f"{name}={rate!r}: expected bytes per second as a number", argument=name)
    if not 0 < rate < math.inf:
        raise InvalidArgumentError(f"{name}={rate!r}: expected bytes per second above 0", argument=name)


def variable_of(option: str) -> str:
    """The environment variable of an option: ``POS3_CACHE_ROOT`` for ``cache_root``."""
    return f"{_PREFIX}{option.upper()}"


def default_cache_root() -> str:
    """The cache root of callers that give none."""
    return os.environ.get(variable_of("cache_root")) or DEFAULT_CACHE_ROOT


def _parse_bool(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[text.strip().lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _parse_offline(text: str) -> OfflineChoice:
    if text.strip().lower() == "auto":
        return "auto"
    try:
        return _parse_bool(text)
    except ValueError:
        raise ValueError("expected true, false or auto") from None


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("expected a whole number") from None


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("expected a number") from None


_PARSERS: dict[str, Callable[[str], Any]] = {
    "cache_root": str,
    "show_progress": _parse_bool,
    "max_workers": _parse_int,
    "default_profile": str,
    "max_upload_bytes_per_second": _parse_float,
    "cache_limit": str,
    "shutdown_timeout": _parse_float,
    "output_root": str,
    "max_download_bytes_per_second": _parse_float,
    "offline": _parse_offline,
}


def _parse(variable: str, text: str, option: str) -> Any:
    try:
        value = _PARSERS[option](text)
        replace(MirrorOptions(), **{option: value}).checked()
        return value
    except ValueError as error:
        raise InvalidArgumentError(f"{variable}={text!r}: {error}", argument=option) from None
