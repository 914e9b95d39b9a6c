"""``pos3_flow``, a Prefect flow with one mirror for each flow run."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from prefect.flows import Flow

import pos3
from pos3 import MirrorOptions, Profile
from pos3.orchestration.internals import of_same_kind_of_method
from pos3.orchestration.results import PathSerializer, default_serializer
from pos3.orchestration.runtime import (
    FlowOptions,
    Hooks,
    MirrorChoice,
    OptionLayers,
    StrPath,
    deployed_environment,
    describe_url_parameters,
    globals_of_annotations,
    layers_of,
    with_attempts,
    with_environment,
    with_url_paths,
    wrap_function,
)

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

HOOKS = ("on_completion_hooks", "on_failure_hooks", "on_cancellation_hooks", "on_crashed_hooks", "on_running_hooks")
P = ParamSpec("P")
R = TypeVar("R")


class MirroredFlow(Flow[P, R]):
    """A flow that keeps its mirror through ``with_options``, even with another task runner."""

    has_pos3_mirror: ClassVar[bool] = True

    def with_options(  # type: ignore[override] # the options of Prefect's, in one type
        self, *, mirror: MirrorChoice | None = None, **options: Unpack[FlowOptions]
    ) -> MirroredFlow[P, R]:
        """Returns a copy of the flow with other options. ``mirror`` changes options of its mirror.

        Args:
            mirror: as for :func:`pos3_flow`. These options win over the options that were given there.

        Raises:
            InvalidArgumentError: an option does not exist.
        """
        if isinstance(self.result_serializer, PathSerializer):
            # If a serializer is passed on, Prefect persists results.
            options.setdefault("result_serializer", None)
        changed = super().with_options(**cast(dict[str, Any], options))
        of_same_kind_of_method(changed, self)
        return _mirrored(changed, layers_of(self.fn).with_layer(mirror))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_annotation_globals": globals_of_annotations(self.fn)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        needed = state.pop("_annotation_globals", {})
        vars(self).update(state)
        for name, value in needed.items():
            self.fn.__globals__.setdefault(name, value)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Validates parameters as any flow does. A URL may stand for a path. It is downloaded when the body begins.

        Raises:
            InvalidURLError: a URL for a path is malformed.
        """
        return super().validate_parameters(with_url_paths(self.fn, parameters))

    if not TYPE_CHECKING:  # Types are those of Flow.

        @functools.wraps(Flow.to_deployment)
        def to_deployment(self, *args, **kwargs):
            made = super().to_deployment(*args, **kwargs)
            if inspect.isawaitable(made):
                # Inside of an event loop, Prefect gives what ato_deployment() of its own class returns.
                return _deployed_with_options(self, made)
            return _with_options_in_environment(self, made)

        @functools.wraps(Flow.ato_deployment)
        async def ato_deployment(self, *args, **kwargs):
            return await _deployed_with_options(self, super().ato_deployment(*args, **kwargs))

        @functools.wraps(Flow.serve)
        def serve(self, *args, **kwargs):
            if environment := deployed_environment(self):
                raise pos3.InvalidArgumentError(
                    f"with_options(mirror=...) cannot be served, because each run loads the flow from its code; change "
                    f"the code, or set {', '.join(environment)} in the environment of this process",
                    argument="mirror",
                )
            return super().serve(*args, **kwargs)


def _with_options_in_environment(flow: Flow[..., Any], deployment: RunnerDeployment) -> RunnerDeployment:
    """The deployment, with the mirror options that its runs would not have otherwise."""
    environment = deployed_environment(flow)
    if environment:
        deployment.job_variables = with_environment(deployment.job_variables, environment)
    return deployment


async def _deployed_with_options(flow: Flow[..., Any], made: Awaitable[RunnerDeployment]) -> RunnerDeployment:
    return _with_options_in_environment(flow, await made)


def _mirrored_class(cls: type[Flow[Any, Any]]) -> type[Flow[Any, Any]]:
    if issubclass(cls, MirroredFlow):
        return cls
    if cls is Flow:
        return MirroredFlow
    return types.new_class(cls.__name__, (MirroredFlow, cls))


def _mirrored(flow: Flow[P, R], options: OptionLayers) -> MirroredFlow[P, R]:
    made = copy.copy(flow)
    made.__class__ = _mirrored_class(type(flow))
    made.task_runner = with_attempts(flow.task_runner)
    made.fn = wrap_function(flow.fn, options)
    for name in HOOKS:
        setattr(made, name, Hooks(getattr(flow, name)[:]))
    if flow.result_serializer is None:
        made.result_serializer = default_serializer()
    describe_url_parameters(made)
    return cast(MirroredFlow[P, R], made)


class FlowDecorator(Protocol):
    """Makes a mirrored flow from a function or from a flow. Its signature is the same."""

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
    output_root: StrPath | None = MirrorOptions.output_root,
    max_download_bytes_per_second: float | None = MirrorOptions.max_download_bytes_per_second,
    offline: bool | Literal["auto"] = MirrorOptions.offline,
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
    output_root: StrPath | None = MirrorOptions.output_root,
    max_download_bytes_per_second: float | None = MirrorOptions.max_download_bytes_per_second,
    offline: bool | Literal["auto"] = MirrorOptions.offline,
    **flow_options: Unpack[FlowOptions],
) -> Any:
    """Makes a Prefect flow. Each run has one mirror, which the flow and its tasks use by ``pos3.download`` and so on.

    The mirror opens with the first attempt of the run. It stays open during retries and their delays, and pushes in the
    background. When the function has returned, the run waits for submitted tasks and pushes everything. Only then is
    the run completed. If a push fails, the attempt fails, and the retries of the flow apply.

    A run can also end with an exception, a returned failed state, a timeout, a cancellation or a signal. In these
    cases, only registrations with ``sync_on_error`` are pushed, and nothing is deleted. A suspended run pushes
    everything and deletes nothing. A subflow uses the mirror of its parent. A call of ``flow.fn()`` has a mirror of its
    own.

    A parameter with the annotation ``Path``, or with a container of paths, also takes URLs. They are downloaded before
    the function is called.

    The decorator works with and without options. It also works on an existing flow, and does not change that flow. The
    function may be sync or async, a sync or async generator, or a method.

    Args:
        function: a function or a flow.
        mirror: options of the mirror as one value: a :class:`pos3.MirrorOptions`, a dict, a :class:`Pos3Mirror` block,
            or the name of a block. The arguments below win over it, and ``flow.with_options(mirror=...)`` wins over
            both. A given argument wins over the environment, even if it equals the default. Options that are not given
            come from the environment (``POS3_CACHE_ROOT`` and so on).
        show_progress: show long transfers as lines in the log of the run.
        cache_root, max_workers, default_profile, cache_limit, shutdown_timeout: as for :func:`pos3.mirror`. They are
            checked when a run opens its mirror.
        max_upload_bytes_per_second, max_download_bytes_per_second: as for :func:`pos3.mirror`.
        output_root: the URL or the local path below which :func:`run_dir` creates directories.
        offline: as for :func:`pos3.mirror`. If an upload waits for the store at the end, the run fails, because
            Completed means stored.
        flow_options: the options of ``prefect.flow``. The default of ``result_serializer`` is a
            :class:`PathSerializer`.

    Raises:
        InvalidArgumentError: ``mirror`` has an option that does not exist.
    """
    arguments = MirrorOptions(
        cache_root,
        show_progress,
        max_workers,
        default_profile,
        max_upload_bytes_per_second,
        cache_limit,
        shutdown_timeout,
        output_root,
        max_download_bytes_per_second,
        offline,
    )
    options = OptionLayers().with_layer(mirror).with_layer(arguments)

    def decorate(given: Callable[..., Any]) -> MirroredFlow[..., Any]:
        if isinstance(given, Flow):
            flow = cast(Flow[..., Any], given)
            changed = flow.with_options(**cast(dict[str, Any], flow_options))
            of_same_kind_of_method(changed, flow)
            return _mirrored(changed, layers_of(flow.fn).with_layer(options))
        # Flow derives name, version and entrypoint from the function, so it must get the user's function.
        return _mirrored(Flow(given, **cast(dict[str, Any], flow_options)), options)

    return decorate if function is None else decorate(function)
