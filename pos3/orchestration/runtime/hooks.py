"""Gives hooks of flow runs and task runs a mirror. What they register is pushed when they return."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from anyio import to_thread
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.context import FlowRunContext
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger, task_run_logger

import pos3
from pos3.orchestration.internals import TaskHooks
from pos3.orchestration.remote import Arguments, BrokeredMirror, MirrorAddress, MirrorGoneError, MirrorProxy
from pos3.orchestration.runtime.flow_function import layers_of
from pos3.orchestration.runtime.option_layers import OptionLayers
from pos3.orchestration.runtime.run import RunMirror
from pos3.orchestration.storing import Metadata, TaskData
from pos3.orchestration.ui import RunView

T = TypeVar("T")
Hook = Callable[..., Any]


class Hooks(list[T]):
    """The hooks of a flow of one kind. The list has the user's functions, and each has a mirror while it is called.

    It relies on Prefect's flows, which keep hooks in lists, append to them, and iterate over them to call the hooks.
    ``tests/orchestration/test_internals.py`` pins this.
    """

    def __iter__(self) -> Iterator[T]:
        hooks: list[Any] = self[:]
        return iter([cast(T, _in_mirror(hook)) for hook in hooks])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self[:],)


class HookMirror(MirrorProxy):
    """The mirror of a hook: that of its run, if it is open, or else a mirror of its own with the run's options.

    It is chosen at the first call. It deletes nothing.
    """

    def __init__(self, flow: Flow[Any, Any] | None, flow_run: FlowRun | None, task_run: TaskRun | None = None):
        self._flow = flow
        self._flow_run = flow_run
        self._task_run = task_run
        self._lock = threading.Lock()
        self._registered: set[str] = set()
        self._chosen: RunMirror | BrokeredMirror | _OwnMirror | None = None
        self._is_over = False

    def __repr__(self) -> str:
        return f"<pos3.orchestration.HookMirror {self._chosen}>"

    @property
    def is_open(self) -> bool:
        return not self._is_over

    @property
    def options(self) -> pos3.MirrorOptions:
        return self._choose().options

    def call(self, method: str, arguments: Arguments) -> Any:
        made = getattr(self._choose().mirror, method)(**arguments)
        if method in ("upload", "sync"):
            self._registered.add(str(made))
        return made

    def confirm(self) -> None: ...

    def ensure_stored(self, task_data: TaskData) -> Metadata:
        self._choose().ensure_stored(task_data)
        return {}

    def finish(self) -> None:
        """Pushes what the hook has registered. After that, the mirror accepts no calls.

        Raises:
            TransferError: some files failed.
        """
        self._is_over = True
        chosen = self._chosen
        if chosen is not None and self._registered:
            try:
                chosen.ensure_stored(TaskData(registered=frozenset(self._registered)))
            except BaseException as error:
                self.fail(error)
                raise
        self._close(None)

    def fail(self, error: BaseException) -> None:
        """Ends it after an exception. A mirror of its own then pushes only registrations with ``sync_on_error``."""
        self._is_over = True
        self._close(error)

    def _close(self, error: BaseException | None) -> None:
        if isinstance(self._chosen, _OwnMirror):
            self._chosen.close(error)

    def _choose(self) -> RunMirror | BrokeredMirror | _OwnMirror:
        with self._lock:
            if self._is_over:
                raise pos3.NoMirrorError(
                    "this mirror belongs to a hook that has returned; call pos3 before the hook returns"
                )
            if self._chosen is None:
                self._chosen = self._mirror_of_run() or self._open_own_mirror()
            return self._chosen

    def _mirror_of_run(self) -> RunMirror | BrokeredMirror | None:
        if self._flow_run is None:
            return None
        address = MirrorAddress.read_from(self._flow_run)
        run = RunMirror.find(address.flow_run_id)
        if run is not None and run.mirror.is_open:
            return run
        with contextlib.suppress(MirrorGoneError):
            brokered = BrokeredMirror(address)
            brokered.confirm()
            return brokered
        # A subflow that has not begun or has ended has no address. If its options are those of its parent, that is
        # used.
        parent = RunMirror.current()
        return parent if parent is not None and self._layers().applied_to(parent.options) is parent.options else None

    def _open_own_mirror(self) -> _OwnMirror:
        run = self._task_run or self._flow_run
        log = task_run_logger(run) if isinstance(run, TaskRun) else flow_run_logger(run)
        flow_name = self._flow.name if self._flow is not None else ""
        view = RunView(self._flow_run.id if self._flow_run is not None else None, log, flow_name=flow_name)
        group = str(MirrorAddress.read_from(self._flow_run).flow_run_id) if self._flow_run is not None else ""
        return _OwnMirror(view, self._layers().resolve(), group)

    def _layers(self) -> OptionLayers:
        return layers_of(self._flow.fn) if self._flow is not None else OptionLayers()


class _OwnMirror:
    def __init__(self, view: RunView, options: pos3.MirrorOptions, group: str):
        self.options = options
        self._view = view
        self.mirror = view.new_mirror(options, group=group).open()
        view.opened()

    def ensure_stored(self, task_data: TaskData) -> None:
        self.mirror.finish(delete=False)

    def close(self, error: BaseException | None) -> None:
        if not self.mirror.is_open:
            return
        try:
            self.mirror.close(error, push=error is not None)
        finally:
            self._view.closed(self.mirror, is_urgent=True)


def _in_mirror(hook: Hook) -> Hook:
    @functools.wraps(hook)
    def in_mirror(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(lambda flow, flow_run, state: None).bind(*args, **kwargs).arguments
        mirror = HookMirror(given["flow"], given["flow_run"])
        with _closing_on_error(mirror):
            with pos3.activate(mirror):
                result = hook(*args, **kwargs)
            if asyncio.iscoroutine(result):
                return _awaited(mirror, result)
            mirror.finish()
        return result

    return in_mirror


async def _awaited(mirror: HookMirror, hook: Any) -> Any:
    with _closing_on_error(mirror):
        with pos3.activate(mirror):
            result = await hook
        await to_thread.run_sync(mirror.finish)
    return result


@contextlib.contextmanager
def _closing_on_error(mirror: HookMirror) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        mirror.fail(error)
        raise


@contextlib.contextmanager
def around_task_hooks(hooks: TaskHooks) -> Iterator[Callable[[], object]]:
    """Gives the hooks of a task run a mirror, unless the user has opened one around it."""
    context = FlowRunContext.get()
    flow = context.flow if context is not None else None
    flow_run = context.flow_run if context is not None else None
    current: pos3.MirrorLike | None = None
    with contextlib.suppress(pos3.NoMirrorError):
        current = pos3.current_mirror()
    address = MirrorAddress.read_from(flow_run) if flow_run is not None else None
    run_mirror = RunMirror.mirror_of(address.flow_run_id) if address is not None else None
    if isinstance(current, pos3.Mirror) and current is not run_mirror:
        yield lambda: None
        return
    mirror = HookMirror(flow, flow_run, hooks.task_run)
    with _closing_on_error(mirror), pos3.activate(mirror):
        yield mirror.finish
