"""The options of a flow's mirror, from all places in which they can be given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pos3

if TYPE_CHECKING:
    from pos3.orchestration.blocks import Pos3Mirror

MirrorChoice: TypeAlias = "pos3.MirrorOptions | Mapping[str, Any] | Pos3Mirror | str"

IN_FLOWS = pos3.MirrorOptions(show_progress=False)
_NAMES = tuple(item.name for item in fields(pos3.MirrorOptions))


@dataclass(frozen=True)
class OptionLayers:
    """Choices of options, each over the one before it: for each option, the last one that gives it counts.

    A string names a block. Below all choices are the environment's options, and below those the defaults.
    """

    layers: tuple[MirrorChoice, ...] = ()

    def under(self, choice: MirrorChoice | OptionLayers | None) -> OptionLayers:
        """These layers below ``choice``; None gives no option.

        Raises:
            InvalidArgumentError: it names an option that there is not, or is no choice of options at all.
        """
        if isinstance(choice, OptionLayers):
            return OptionLayers((*self.layers, *choice.layers))
        return self if choice is None else OptionLayers((*self.layers, _checked(choice)))

    def resolve(self) -> pos3.MirrorOptions:
        """The options that a run on this machine has.

        Raises:
            InvalidArgumentError: there is no such block, or a variable of the environment has a value that cannot work.
            ProfileError: a block cannot be loaded or cannot work.
        """
        given = self._given()
        named = pos3.MirrorOptions.named_by_environment(set(_NAMES) - set(given))
        defaults = {name: getattr(IN_FLOWS, name) for name in _NAMES}
        return pos3.MirrorOptions(**{**defaults, **named, **given})

    def over(self, outer: pos3.MirrorOptions) -> pos3.MirrorOptions:
        """The options of a subflow: those of the mirror that it could join, and over them what these layers give.

        It is ``outer`` itself, if these layers change nothing.

        Raises:
            As for :meth:`resolve`.
        """
        if not self.layers:
            return outer
        chosen = replace(outer, **self._given())
        return outer if _meaning(chosen) == _meaning(outer) else chosen

    def _given(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for layer in self.layers:
            given |= _values(layer)
        return given


def _checked(choice: MirrorChoice) -> MirrorChoice:
    if isinstance(choice, pos3.MirrorOptions) or (isinstance(choice, str) and choice):
        return choice
    if not isinstance(choice, Mapping):
        from pos3.orchestration.blocks import Pos3Mirror

        if isinstance(choice, Pos3Mirror):
            return choice
        raise pos3.InvalidArgumentError(
            f"mirror={choice!r}: expected pos3.MirrorOptions, a dict of its options, a Pos3Mirror block or its name",
            argument="mirror",
        )
    if unknown := [str(name) for name in choice if name not in _NAMES]:
        raise pos3.InvalidArgumentError(
            f"mirror: there is no option {', '.join(unknown)}; the options are {', '.join(_NAMES)}"
        )
    return dict(choice)


def _values(layer: MirrorChoice) -> Mapping[str, Any]:
    """The options that a layer gives. A :class:`pos3.MirrorOptions` gives those that it was made with."""
    if isinstance(layer, str):
        return _block(layer).to_options()
    if isinstance(layer, pos3.MirrorOptions):
        return layer.given_options()
    return layer if isinstance(layer, Mapping) else layer.to_options()


def _block(name: str) -> Pos3Mirror:
    from pos3.orchestration.blocks import Pos3Mirror, load_block

    try:
        return load_block(Pos3Mirror, name)
    except LookupError:
        raise pos3.InvalidArgumentError(
            f"mirror={name!r}: there is no Pos3Mirror block of that name; save one, or check PREFECT_API_URL",
            argument="mirror",
        ) from None


def _meaning(options: pos3.MirrorOptions) -> dict[str, Any]:
    """The options as they work, so that two ways to write one option compare equal."""
    return {
        **{name: getattr(options, name) for name in _NAMES},
        "cache_root": os.path.realpath(os.path.expanduser(os.fspath(options.cache_root))),
        "cache_limit": options.cache_limit_bytes,
        "default_profile": pos3.Mirror(options).default_profile,
    }
