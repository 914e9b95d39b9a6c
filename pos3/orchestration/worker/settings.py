"""The settings of a worker, from environment variables."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pos3

T = TypeVar("T")
_PREFIX = "POS3_WORKER_"
NAMES = ("POOL", "QUEUE", "TYPE", "LIMIT", "NAME", "GRACE", "RESTARTS", "JOB_TEMPLATE", "RECOVER")


class WrongSettingError(ValueError):
    """A variable is missing, or its value cannot work. The message is one line that names it."""


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker. ``mirror`` has the options of its flow runs' mirrors, from the ``POS3_*`` variables.

    Args:
        pool: ``POS3_WORKER_POOL``, the work pool. It is created if there is none.
        queues: ``POS3_WORKER_QUEUE``, names with commas between them; none for all queues of the pool.
        kind: ``POS3_WORKER_TYPE``, such as "process", "docker" or "kubernetes".
        limit: ``POS3_WORKER_LIMIT``, how many flow runs may run at the same time; None for any number.
        name: ``POS3_WORKER_NAME``, which no other worker may have; made from the host's name if it is not given.
        grace_seconds: ``POS3_WORKER_GRACE``, from SIGTERM to the end of the last flow run.
        restarts: ``POS3_WORKER_RESTARTS``, how often a flow run whose worker was killed starts again.
        recovers_all: ``POS3_WORKER_RECOVER``, "all" or "own": whether the start also pushes to endpoints that only
            journals of unknown origin name. That is safe if no one but the worker can write to the cache's volume.
        job_template: ``POS3_WORKER_JOB_TEMPLATE``, a base job template for a pool that is created; None for Prefect's.
    """

    pool: str
    mirror: pos3.MirrorOptions
    queues: tuple[str, ...] = ()
    kind: str = "process"
    limit: int | None = None
    name: str = "pos3"
    grace_seconds: float = 40.0
    restarts: int = 3
    job_template: Path | None = None
    recovers_all: bool = False

    @property
    def cache_root(self) -> Path:
        return Path(self.mirror.cache_root).expanduser()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> WorkerSettings:
        """The settings that the environment variables give.

        Raises:
            WrongSettingError: a variable is missing, or its value cannot work.
        """
        given = {name: environment.get(f"{_PREFIX}{name}", "").strip() for name in NAMES}
        unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name[len(_PREFIX) :] not in given)
        if unknown:
            raise WrongSettingError(f"{unknown[0]}: no such setting; there are {', '.join(map(_variable, NAMES))}")
        if not given["POOL"]:
            raise WrongSettingError("POS3_WORKER_POOL is not set; name the work pool to take flow runs from")
        mirror = _mirror_options(environment)
        grace_seconds = _number(given, "GRACE", float, mirror.shutdown_timeout + 15)
        if not mirror.shutdown_timeout < grace_seconds < float("inf"):
            raise WrongSettingError(
                f"POS3_WORKER_GRACE={given['GRACE']!r}: expected more seconds than POS3_SHUTDOWN_TIMEOUT, "
                f"which is {mirror.shutdown_timeout:g}; a flow run needs that long for its last push"
            )
        settings = cls(
            pool=given["POOL"],
            mirror=mirror,
            queues=tuple(name.strip() for name in given["QUEUE"].split(",") if name.strip()),
            kind=given["TYPE"] or cls.kind,
            limit=_number(given, "LIMIT", int, None, at_least=1),
            name=given["NAME"] or f"pos3-{socket.gethostname()}",
            grace_seconds=grace_seconds,
            restarts=_number(given, "RESTARTS", int, cls.restarts),
            job_template=Path(given["JOB_TEMPLATE"]) if given["JOB_TEMPLATE"] else None,
            recovers_all=_recovers_all(given["RECOVER"]),
        )
        settings._check_files(environment)
        return settings

    def _check_files(self, environment: Mapping[str, str]) -> None:
        profiles = environment.get("POS3_PROFILES_FILE")
        for variable, path in (("POS3_PROFILES_FILE", profiles), (_variable("JOB_TEMPLATE"), self.job_template)):
            if path and not os.access(path, os.R_OK):
                raise WrongSettingError(f"{variable}={str(path)!r} cannot be read; is the file mounted?")
        try:
            self.cache_root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongSettingError(f"POS3_CACHE_ROOT={str(self.cache_root)!r}: {error.strerror}") from None
        if not os.access(self.cache_root, os.W_OK | os.X_OK):
            raise WrongSettingError(
                f"POS3_CACHE_ROOT={str(self.cache_root)!r} cannot be written by user {os.getuid()}; "
                "mount a volume that this user owns"
            )


def _variable(name: str) -> str:
    return _PREFIX + name


def _recovers_all(text: str) -> bool:
    if text not in ("", "own", "all"):
        raise WrongSettingError(f"{_variable('RECOVER')}={text!r}: expected 'own' or 'all'")
    return text == "all"


def _mirror_options(environment: Mapping[str, str]) -> pos3.MirrorOptions:
    try:
        options = pos3.MirrorOptions().or_environment(environment).checked()
        # The mirror checks whether the default profile can be used.
        pos3.Mirror(options)
    except pos3.Pos3Error as error:
        text = " ".join(str(error).split())
        option = error.argument if isinstance(error, pos3.InvalidArgumentError) else ""
        variable = f"POS3_{option.upper()}"
        if variable in environment and text.startswith(f"{option}="):
            text = f"{variable}{text.removeprefix(option)}"
        raise WrongSettingError(text) from None
    return options


def _number(
    given: Mapping[str, str], name: str, parse: Callable[[str], T], default: T | None, *, at_least: int = 0
) -> T:
    text = given[name]
    if not text:
        return default  # type: ignore[return-value]
    try:
        value = parse(text)
    except ValueError:
        value = None
    if value is None or not value >= at_least:  # type: ignore[operator]
        raise WrongSettingError(f"{_variable(name)}={text!r}: expected a number of at least {at_least}")
    return value
