"""Proxies of a flow run's mirror, which pass each call on to it, for example from another process."""

from __future__ import annotations

import abc
import functools
import inspect
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Client
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pos3
from pos3.local import machine
from pos3.orchestration.internals import is_called_by_task
from pos3.orchestration.remote.address import MirrorAddress, check_private
from pos3.orchestration.remote.broker import CONFIRM, ENSURE_STORED, OPTIONS, UPLOADS
from pos3.orchestration.storing import Metadata, OtherProcess, TaskData, arguments_here
from pos3.orchestration.ui import RunHere, add_reference, run_here
from pos3.parts import part_or_address
from pos3.url import looks_damaged

Arguments = Mapping[str, Any]
_PATH_ARGUMENTS = ("remote", "local", "prefix", "path_or_url", "path")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REGISTERING = ("download", "upload", "sync")
_MAX_ARGUMENTS = 100
_NO_ARGUMENTS: Arguments = MappingProxyType({})


class MirrorGoneError(pos3.NoMirrorError):
    """The mirror of the flow run cannot be used: it is closed, its process has died, or it is on another machine."""


class MirrorProxy(abc.ABC):
    """Has the methods of a mirror, with the same arguments, and passes each call on by its name."""

    @abc.abstractmethod
    def call(self, method: str, arguments: Arguments) -> Any:
        """Calls a method of the mirror behind this proxy. Local paths are absolute."""

    @abc.abstractmethod
    def confirm(self) -> None:
        """Returns if everything that was registered until now will be pushed at the end of the mirror.

        Raises:
            MirrorGoneError: the mirror is gone, or its final push has begun.
        """

    @abc.abstractmethod
    def ensure_stored(self, task_data: TaskData) -> Metadata:
        """Returns when the uploads that a task run uses are stored. Nothing is deleted.

        The result is the metadata of the assets that it materializes, where it is known.

        Raises:
            MirrorGoneError: the mirror is gone, or its final push has begun.
            TransferError: some files failed.
        """

    @property
    @abc.abstractmethod
    def options(self) -> pos3.MirrorOptions:
        """The options of the mirror behind this proxy.

        Raises:
            MirrorGoneError: the mirror is gone, or its final push has begun.
        """

    @property
    def is_open(self) -> bool:
        return True

    def _call_by_name(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        arguments = _signature(method).bind(None, *args, **kwargs).arguments
        del arguments["self"]
        return self.call(method, {name: _absolute(name, value) for name, value in arguments.items()})

    def download(self, *args: Any, **kwargs: Any) -> Path:
        path: Path = self._call_by_name("download", args, kwargs)
        remote = args[0] if args else kwargs["remote"]
        part = part_or_address(remote)
        add_reference(part.url if isinstance(part, pos3.Part) else remote)
        return path

    def upload(self, *args: Any, **kwargs: Any) -> Path:
        path: Path = self._call_by_name("upload", args, kwargs)
        return path

    def sync(self, *args: Any, **kwargs: Any) -> Path:
        path: Path = self._call_by_name("sync", args, kwargs)
        return path

    def bisync(self, *args: Any, **kwargs: Any) -> Path:
        path: Path = self._call_by_name("bisync", args, kwargs)
        return path

    def publish(self, *args: Any, **kwargs: Any) -> Path:
        path: Path = self._call_by_name("publish", args, kwargs)
        return path

    def ls(self, *args: Any, **kwargs: Any) -> list[Any]:
        entries: list[Any] = self._call_by_name("ls", args, kwargs)
        return entries

    def flush(self, *args: Any, **kwargs: Any) -> pos3.Report:
        report: pos3.Report = self._call_by_name("flush", args, kwargs)
        return report

    def report(self) -> pos3.Report:
        report: pos3.Report = self.call("report", _NO_ARGUMENTS)
        return report

    def fingerprint(self, *args: Any, **kwargs: Any) -> str | None:
        fingerprint: str | None = self._call_by_name("fingerprint", args, kwargs)
        return fingerprint

    def partition(self, *args: Any, **kwargs: Any) -> list[pos3.Part]:
        parts: list[pos3.Part] = self._call_by_name("partition", args, kwargs)
        return parts

    def url_of(self, *args: Any, **kwargs: Any) -> str | None:
        url: str | None = self._call_by_name("url_of", args, kwargs)
        return url

    def reference(self, *args: Any, **kwargs: Any) -> pos3.Reference | None:
        reference: pos3.Reference | None = self._call_by_name("reference", args, kwargs)
        return reference

    def restore(self, *args: Any, **kwargs: Any) -> Path:
        path: Path = self._call_by_name("restore", args, kwargs)
        return path

    def plan_download(self, *args: Any, **kwargs: Any) -> pos3.TransferPlan:
        plan: pos3.TransferPlan = self._call_by_name("plan_download", args, kwargs)
        return plan

    def plan_upload(self, *args: Any, **kwargs: Any) -> pos3.TransferPlan:
        plan: pos3.TransferPlan = self._call_by_name("plan_upload", args, kwargs)
        return plan

    def plan_bisync(self, *args: Any, **kwargs: Any) -> pos3.TwoWayPlan:
        plan: pos3.TwoWayPlan = self._call_by_name("plan_bisync", args, kwargs)
        return plan


class BrokeredMirror(MirrorProxy):
    """The mirror behind a broker's socket. Errors of the mirror are raised in the calling process."""

    def __init__(self, address: MirrorAddress):
        self.address = address

    def __repr__(self) -> str:
        return f"<pos3.orchestration.BrokeredMirror of flow run {self.address.flow_run_id}>"

    @property
    def mirror(self) -> BrokeredMirror:
        return self

    def confirm(self) -> None:
        self.call(CONFIRM, _NO_ARGUMENTS)

    def ensure_stored(self, task_data: TaskData) -> Metadata:
        uploads = self.call(UPLOADS, _NO_ARGUMENTS)
        urls = task_data.used_urls(uploads) if uploads else set()
        if not urls:
            return {}
        arguments = {"urls": urls, "assets": task_data.assets, "leaves_record": task_data.leaves_record}
        metadata: Metadata = self.call(ENSURE_STORED, arguments)
        return metadata

    @property
    def options(self) -> pos3.MirrorOptions:
        options: pos3.MirrorOptions = self.call(OPTIONS, _NO_ARGUMENTS)
        return options

    def call(self, method: str, arguments: Arguments) -> Any:
        if not self.address.socket:
            raise MirrorGoneError("the flow run's mirror is not served to other processes")
        if self.address.machine not in ("", machine()):
            # The socket may be here, in a directory that is shared, and the files that it speaks of are not.
            raise MirrorGoneError("the flow run's mirror is on another machine")
        try:
            # Replies are unpickled, so they must not come from another user.
            check_private(os.path.dirname(self.address.socket))
            with Client(self.address.socket, family="AF_UNIX") as connection:
                connection.send_bytes(self.address.flow_run_id.bytes)
                connection.send((method, dict(arguments), _caller(), _run_of(method)))
                outcome, content = connection.recv()
        except (OSError, EOFError) as error:
            reason = str(error) or "its process ended"
            raise MirrorGoneError(f"the flow run's mirror cannot be reached: {reason}") from error
        if outcome == "closing":
            raise MirrorGoneError("the flow run's mirror is closing")
        if outcome == "error":
            raise content
        return content


class NoMirror(MirrorProxy):
    """Takes the place of the mirror of a flow run if there is no flow run."""

    def confirm(self) -> None:
        self.call(CONFIRM, _NO_ARGUMENTS)

    def ensure_stored(self, task_data: TaskData) -> Metadata:
        metadata: Metadata = self.call(ENSURE_STORED, _NO_ARGUMENTS)
        return metadata

    @property
    def options(self) -> pos3.MirrorOptions:
        options: pos3.MirrorOptions = self.call(OPTIONS, _NO_ARGUMENTS)
        return options

    def call(self, method: str, arguments: Arguments) -> Any:
        raise MirrorGoneError("the task belongs to no flow run")


@functools.cache
def _signature(method: str) -> inspect.Signature:
    return inspect.signature(getattr(pos3.Mirror, method))


def _caller() -> OtherProcess:
    return OtherProcess.NESTED_TASK if is_called_by_task() else OtherProcess.TASK


def _run_of(method: str) -> RunHere | None:
    """The run of this context. With a registration, it has its arguments, which tell what it depends on."""
    run = run_here()
    if run is None or method not in _REGISTERING:
        return run
    return replace(run, arguments=tuple(itertools.islice(arguments_here(), _MAX_ARGUMENTS)))


def _absolute(name: str, value: Any) -> Any:
    """A relative local path made absolute with this process's directory; any other value unchanged."""
    if name not in _PATH_ARGUMENTS or not isinstance(value, str | os.PathLike):
        return value
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip() or _SCHEME.match(text) or looks_damaged(text):
        return value
    return os.path.abspath(os.path.expanduser(text))
