"""One entry of a journal: what is needed to push the files of a registration later. It never holds a secret."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any

from pos3.errors import ProfileError
from pos3.filters import Filter
from pos3.jobs.registration import Registration
from pos3.jobs.requests import Request, SyncRequest, UploadRequest
from pos3.profiles import Profile, name_of_profile, resolve_profile
from pos3.url import parse

# The repr of a profile leaves out its secrets.
_SHOWN_FIELDS = [item.name for item in fields(Profile) if item.repr]

ValueType = type | UnionType
_ENTRY_TYPES: dict[str, ValueType] = {
    **dict.fromkeys(("kind", "url", "local", "compare"), str),
    **dict.fromkeys(("include", "exclude"), list),
    **dict.fromkeys(("surveyed_at", "clock_ahead_seconds"), float | int),
    "profile": dict | NoneType,
}
# Not every kind of request has them.
_OPTIONAL_TYPES: dict[str, ValueType] = {
    **dict.fromkeys(("upload_last", "overwrite"), list),
    **dict.fromkeys(("follow_symlinks", "sync_on_error"), bool),
}
_REQUESTS: dict[str, type[Request]] = {"upload": UploadRequest, "sync": SyncRequest}
_PROFILE_TYPES: dict[str, ValueType] = {"name": str, "shown": dict, "held_keys": bool}


def check_types(values: Mapping[str, Any], types: Mapping[str, ValueType]) -> None:
    """Returns if ``values`` has a value of the right type for each name in ``types``.

    Raises:
        KeyError, ValueError: a value is missing, or has another type.
    """
    for name, expected in types.items():
        if not isinstance(values[name], expected):
            raise ValueError(f"{name} is {values[name]!r:.40}")


@dataclass(frozen=True)
class JournalProfile:
    """A profile as a journal stores it, without its keys.

    ``shown`` holds the fields that are no secrets. ``held_keys`` says whether the profile had keys. The names of these
    fields are the keys in the file.
    """

    name: str
    shown: dict[str, Any]
    held_keys: bool

    @staticmethod
    def of(profile: Profile) -> JournalProfile:
        shown = {name: getattr(profile, name) for name in _SHOWN_FIELDS}
        return JournalProfile(name_of_profile(profile) or "", shown, profile.access_key is not None)

    @staticmethod
    def from_json(values: dict[str, Any]) -> JournalProfile:
        """The profile with these values.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of a profile.
        """
        check_types(values, _PROFILE_TYPES)
        if not {"local_name", "endpoint"} <= values["shown"].keys() <= set(_SHOWN_FIELDS):
            raise ValueError(f"the profile has {sorted(values['shown'])}")
        return JournalProfile(**values)

    def has_endpoint_of(self, profile: Profile | None) -> bool:
        return profile is not None and profile.endpoint == self.shown["endpoint"]

    def resolve(self, substitute: Profile | None) -> tuple[Profile, bool]:
        """The profile, and whether its endpoint is known from the journal alone.

        The profile is looked up by its name. If that fails, ``substitute`` is taken if it has the same endpoint, and
        else the stored fields if the profile had no keys.

        Raises:
            ProfileError: no profile can be found.
        """
        if self.name:
            try:
                return _profile_named(self.name), False
            except ProfileError:
                # A program that has ended may have registered it in its code.
                pass
        if substitute is not None and self.has_endpoint_of(substitute):
            return substitute, False
        if not self.held_keys:
            shown = Profile(**self.shown)
            # A journal alone must not turn off the verification of TLS either.
            return shown, shown.endpoint is not None or shown.verify is not True
        raise ProfileError(
            f"profile {self.name or self.shown['local_name']!r}: its keys were only in the memory of the process that "
            f"died; name a profile for the endpoint {self.shown['endpoint'] or 'of AWS'} with default_profile=..."
        )


def _profile_named(name: str) -> Profile:
    profile = resolve_profile(name)
    if profile is None:
        raise ProfileError(f"profile {name!r} is unknown")
    return profile


@dataclass(frozen=True)
class JournalEntry:
    """A registration for upload, as it was when it began.

    ``surveyed_at`` is the time of the store's clock at that moment, in seconds since the epoch. The local clock was
    ``clock_ahead_seconds`` ahead of it. ``device`` is the number of the disk that held the local path, or None if it is
    not known. ``was_offline`` says that the mirror could not reach the store, so that the next one that can pushes the
    files. In an entry that was read from a journal, ``registration`` has no profile, and ``profile`` replaces it.
    """

    registration: Registration
    profile: JournalProfile | None
    surveyed_at: float
    clock_ahead_seconds: float
    device: int | None = None
    was_offline: bool = False

    @staticmethod
    def of(
        registration: Registration, surveyed_at: float, clock_ahead_seconds: float, *, was_offline: bool = False
    ) -> JournalEntry:
        profile = JournalProfile.of(registration.profile) if registration.profile is not None else None
        device = _device_of(registration.local)
        return JournalEntry(registration, profile, surveyed_at, clock_ahead_seconds, device, was_offline)

    @property
    def is_local_unavailable(self) -> bool:
        """Whether the local path is missing now, or lies on another disk than at the registration."""
        local = self.registration.local
        return not os.path.lexists(local) or (self.device is not None and _device_of(local) != self.device)

    @property
    def is_local_deleted(self) -> bool:
        """Whether somebody has deleted the local path. If its disk is not mounted, that is not so."""
        local = self.registration.local
        if os.path.lexists(local):
            return False
        device = _device_of(local)
        return device is not None and self.device in (None, device)

    @property
    def url(self) -> str:
        location = self.registration.location
        return f"{location}/" if location.is_prefix and location.key else str(location)

    def is_covered_by(self, pushed: Registration) -> bool:
        """Whether a complete push of ``pushed`` has pushed every file that this entry could have left."""
        mine = self.registration
        same_endpoint = self.profile is None if pushed.profile is None else self._has_endpoint_of(pushed.profile)
        same_files = pushed.request.push_filter in (mine.request.push_filter, Filter())
        return same_endpoint and same_files and (mine.location, mine.local) == (pushed.location, pushed.local)

    def _has_endpoint_of(self, profile: Profile) -> bool:
        return self.profile is not None and self.profile.has_endpoint_of(profile)

    def as_json(self) -> dict[str, Any]:
        """The entry as values that can be written as JSON."""
        return {
            **self.registration.request.as_json(),
            "kind": self.registration.kind,
            "url": self.url,
            "local": self.registration.local,
            "profile": None if self.profile is None else vars(self.profile),
            "surveyed_at": self.surveyed_at,
            "clock_ahead_seconds": self.clock_ahead_seconds,
            "device": self.device,
            "was_offline": self.was_offline,
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> JournalEntry:
        """The entry with these values, which come from :meth:`as_json`. A push of its registration deletes nothing.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of an entry.
        """
        check_types(values, _ENTRY_TYPES)
        check_types(values, {name: kind for name, kind in _OPTIONAL_TYPES.items() if name in values})
        url, local = values["url"], values["local"]
        if values["kind"] not in _REQUESTS or not os.path.isabs(local):
            raise ValueError(f"no registration for upload from {local!r:.40}")
        if "interval_seconds" in values:
            # Journals of version 1 have this name.
            values = {"interval": values["interval_seconds"], **values}
        request = _REQUESTS[values["kind"]].from_json(values, url, local)
        profile = None if values["profile"] is None else JournalProfile.from_json(values["profile"])
        device = values.get("device")
        return JournalEntry(
            Registration(request, parse(url), None, local),
            profile,
            float(values["surveyed_at"]),
            float(values["clock_ahead_seconds"]),
            device if isinstance(device, int) else None,
            values.get("was_offline") is True,
        )


def _device_of(local: str) -> int | None:
    """The number of the disk that holds the directory around a local path."""
    try:
        return os.stat(os.path.dirname(local)).st_dev
    except OSError:
        return None
