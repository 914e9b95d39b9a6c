"""``pos3_flow``: a Prefect flow with one mirror per flow run."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from prefect.flows import Flow

from pos3 import MirrorOptions, Profile
from pos3.orchestration.results import PathSerializer, default_serializer
from pos3.orchestration.runtime import (
    FlowOptions,
    Hooks,
    MirrorChoice,
    OptionLayers,
    StrPath,
    layers_of,
    scoped,
    wrapped,
)

HOOKS = ("on_completion_hooks", "on_failure_hooks", "on_cancellation_hooks", "on_crashed_hooks", "on_running_hooks")
P = ParamSpec("P")
R = TypeVar("R")


class MirroredFlow(Flow[P, R]):
    """A flow that keeps its mirror through ``with_options``, also where that brings another task runner."""

    has_pos3_mirror: ClassVar[bool] = True

    def with_options(  # type: ignore[override] # the options of Prefect's, in one type
        self, *, mirror: MirrorChoice | None = None, **options: Unpack[FlowOptions]
    ) -> MirroredFlow[P, R]:
        """As for any flow; ``mirror`` changes options of the mirror as well.

        Args:
            mirror: as for :func:`pos3_flow`, and over what was given there.

        Raises:
            InvalidArgumentError: there is no such option.
        """
        if isinstance(self.result_serializer, PathSerializer):
            # Prefect takes a serializer that is passed on for a wish to persist results.
            options.setdefault("result_serializer", None)
        return _mirrored(super().with_options(**cast(dict[str, Any], options)), layers_of(self.fn).under(mirror))


def _mirrored_class(cls: type[Flow[Any, Any]]) -> type[Flow[Any, Any]]:
    if issubclass(cls, MirroredFlow):
        return cls
    if cls is Flow:
        return MirroredFlow
    return types.new_class(cls.__name__, (MirroredFlow, cls))


def _mirrored(flow: Flow[P, R], options: OptionLayers) -> MirroredFlow[P, R]:
    made = copy.copy(flow)
    made.__class__ = _mirrored_class(type(flow))
    made.task_runner = scoped(flow.task_runner)
    made.fn = wrapped(flow.fn, options)
    for name in HOOKS:
        setattr(made, name, Hooks(getattr(flow, name)[:]))
    if flow.result_serializer is None:
        made.result_serializer = default_serializer()
    return cast(MirroredFlow[P, R], made)


class FlowDecorator(Protocol):
    """Makes a flow of a function, or a mirrored flow of a flow. Either keeps its signature."""

    @overload
    def __call__(self, function: Flow[P, R], /) -> MirroredFlow[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> MirroredFlow[P, R]: ...


@overload
def pos3_flow(function: Flow[P, R], /) -> MirroredFlow[P, R]: ...


@overload
def pos3_flow(function: Callable[P, R], /) -> MirroredFlow[P, R]: ...


@overload
def pos3_flow(
    function: None = None,
    /,
    *,
    mirror: MirrorChoice | None = None,
    cache_root: StrPath = MirrorOptions.cache_root,
    show_progress: bool = MirrorOptions.unset(False),
    max_workers: int = MirrorOptions.max_workers,
    default_profile: str | Profile | None = MirrorOptions.default_profile,
    max_upload_bytes_per_second: float | None = MirrorOptions.max_upload_bytes_per_second,
    cache_limit: int | str | None = MirrorOptions.cache_limit,
    shutdown_timeout: float = MirrorOptions.shutdown_timeout,
    **flow_options: Unpack[FlowOptions],
) -> FlowDecorator: ...


def pos3_flow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    mirror: MirrorChoice | None = None,
    cache_root: StrPath = MirrorOptions.cache_root,
    show_progress: bool = MirrorOptions.unset(False),
    max_workers: int = MirrorOptions.max_workers,
    default_profile: str | Profile | None = MirrorOptions.default_profile,
    max_upload_bytes_per_second: float | None = MirrorOptions.max_upload_bytes_per_second,
    cache_limit: int | str | None = MirrorOptions.cache_limit,
    shutdown_timeout: float = MirrorOptions.shutdown_timeout,
    **flow_options: Unpack[FlowOptions],
) -> Any:
    """Makes a Prefect flow whose runs each have one mirror, for ``pos3.download`` and the others in flow and tasks.

    The mirror opens with the run's first attempt and stays open through retries and their delays, pushing in the
    background. When the function has ended well, submitted tasks are waited for and everything is pushed: only then
    does the run count as completed, and a push that fails makes the attempt fail, which the flow's retries repeat.
    A run that ends in any other way (an exception, a returned failed state, a timeout, cancellation, a signal) pushes
    only what was registered with ``sync_on_error``, and deletes nothing. A suspended run pushes without deleting.
    A subflow uses its parent's mirror. Called as ``flow.fn()``, the function has a mirror for the call.

    Works bare, with options, and on an existing flow, which is not changed; for sync and async functions, generators of
    both kinds, and methods.

    Args:
        function: a function or a flow.
        mirror: options of the mirror as one value: a :class:`pos3.MirrorOptions`, a dict of some of its options, a
            :class:`Pos3Mirror` block, or the name of one. The arguments below go over it, and
            ``flow.with_options(mirror=...)`` over both. An argument that is given beats the environment, even
            if it equals the default. What nobody has said comes from the environment (``POS3_CACHE_ROOT`` and so on).
        show_progress: log lines in the run's log about transfers that take long.
        cache_root, max_workers, default_profile, max_upload_bytes_per_second, cache_limit, shutdown_timeout: see
            :func:`pos3.mirror`. They are checked when a run opens its mirror.
        flow_options: those of ``prefect.flow``. If none is chosen, ``result_serializer`` is a
            :class:`PathSerializer`.

    Raises:
        InvalidArgumentError: ``mirror`` names an option that there is not.
    """
    arguments = MirrorOptions(
        cache_root,
        show_progress,
        max_workers,
        default_profile,
        max_upload_bytes_per_second,
        cache_limit,
        shutdown_timeout,
    )
    options = OptionLayers().under(mirror).under(arguments)

    def decorate(given: Callable[..., Any]) -> MirroredFlow[..., Any]:
        if isinstance(given, Flow):
            flow = cast(Flow[..., Any], given)
            return _mirrored(flow.with_options(**cast(dict[str, Any], flow_options)), layers_of(flow.fn).under(options))
        # Flow derives name, version and entrypoint from the function, so it must see the user's.
        return _mirrored(Flow(given, **cast(dict[str, Any], flow_options)), options)

    return decorate if function is None else decorate(function)
