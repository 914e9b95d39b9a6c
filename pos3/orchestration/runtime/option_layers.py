"""The options of a flow's mirror, combined from all the ways to give them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import pos3

if TYPE_CHECKING:
    from pos3.orchestration.blocks import Pos3Mirror

MirrorChoice: TypeAlias = "pos3.MirrorOptions | Mapping[str, Any] | Pos3Mirror | str"

FLOW_DEFAULTS = pos3.MirrorOptions(show_progress=False)
_NAMES = tuple(item.name for item in fields(pos3.MirrorOptions))


@dataclass(frozen=True)
class OptionLayers:
    """Layers of mirror options. For each option, the last layer that has it wins.

    A string is the name of a block. Options that no layer has come from the environment, or else are the defaults.
    """

    layers: tuple[MirrorChoice, ...] = ()

    def with_layer(self, choice: MirrorChoice | OptionLayers | None) -> OptionLayers:
        """These layers with ``choice`` on top; None adds no layer.

        Raises:
            InvalidArgumentError: ``choice`` has an option that does not exist, or is of another type.
        """
        if isinstance(choice, OptionLayers):
            return OptionLayers((*self.layers, *choice.layers))
        return self if choice is None else OptionLayers((*self.layers, _checked(choice)))

    def resolve(self) -> pos3.MirrorOptions:
        """The options of a run on this machine.

        Raises:
            InvalidArgumentError: a block does not exist, or a variable of the environment has a value that cannot work.
            ProfileError: a block cannot be loaded or cannot work.
        """
        given = self.given_options()
        named = pos3.MirrorOptions.named_by_environment(set(_NAMES) - set(given))
        return FLOW_DEFAULTS.giving(**named, **given)

    def applied_to(self, outer: pos3.MirrorOptions) -> pos3.MirrorOptions:
        """The options of a subflow: ``outer``, those of the mirror that it could join, with these layers on top.

        If the layers change nothing, the result is ``outer`` itself.

        Raises:
            As for :meth:`resolve`.
        """
        if not self.layers:
            return outer
        chosen = outer.giving(**self.given_options())
        return outer if _effective_values(chosen) == _effective_values(outer) else chosen

    def added_to(self, other: OptionLayers) -> OptionLayers:
        """These layers without those at the bottom that they have in common with ``other``."""
        count = len(other.layers)
        return OptionLayers(self.layers[count:]) if self.layers[:count] == other.layers else self

    def given_options(self) -> dict[str, Any]:
        """The options that any layer has, with the values that win.

        Raises:
            As for :meth:`resolve`.
        """
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
            f"mirror: there is no option {', '.join(unknown)}; the options are {', '.join(_NAMES)}", argument="mirror"
        )
    return dict(choice)


def _values(layer: MirrorChoice) -> Mapping[str, Any]:
    """The options that a layer has. A :class:`pos3.MirrorOptions` has those that were given when it was created."""
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


def _effective_values(options: pos3.MirrorOptions) -> dict[str, Any]:
    """The options in a normal form, in which two ways to write the same option are equal."""
    return {
        **{name: getattr(options, name) for name in _NAMES},
        "cache_root": os.path.realpath(os.path.expanduser(os.fspath(options.cache_root))),
        "cache_limit": options.cache_limit_bytes,
        "default_profile": pos3.Mirror(options).default_profile,
        "max_workers": options.given_workers,
    }
