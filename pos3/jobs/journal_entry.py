"""One registration as it is written down: enough to push what it left, and never a secret."""

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

# A secret is what a profile does not show.
_SHOWN = [item.name for item in fields(Profile) if item.repr]

Kind = type | UnionType
_RECORD: dict[str, Kind] = {
    **dict.fromkeys(("kind", "url", "local", "compare"), str),
    **dict.fromkeys(("include", "exclude", "upload_last", "overwrite"), list),
    **dict.fromkeys(("follow_symlinks", "sync_on_error"), bool),
    **dict.fromkeys(("surveyed_at", "clock_ahead_seconds"), float | int),
    "profile": dict | NoneType,
}
_REQUESTS: dict[str, type[Request]] = {"upload": UploadRequest, "sync": SyncRequest}
_PROFILE: dict[str, Kind] = {"name": str, "shown": dict, "held_keys": bool}


def check_kinds(record: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """
    Raises:
        KeyError, ValueError: a value is missing, or of another kind.
    """
    for name, kind in kinds.items():
        if not isinstance(record[name], kind):
            raise ValueError(f"{name} is {record[name]!r:.40}")


@dataclass(frozen=True)
class ProfileNote:
    """How to find a profile again: by its name, else by what it shows, if it held no keys."""

    name: str
    shown: dict[str, Any]
    held_keys: bool

    @staticmethod
    def of(profile: Profile) -> ProfileNote:
        shown = {name: getattr(profile, name) for name in _SHOWN}
        return ProfileNote(name_of_profile(profile) or "", shown, profile.access_key is not None)

    @staticmethod
    def from_record(record: dict[str, Any]) -> ProfileNote:
        """
        Raises:
            KeyError, TypeError, ValueError: it is no such record.
        """
        check_kinds(record, _PROFILE)
        if not {"local_name", "endpoint"} <= record["shown"].keys() <= set(_SHOWN):
            raise ValueError(f"the profile has {sorted(record['shown'])}")
        return ProfileNote(**record)

    def is_same_place(self, profile: Profile | None) -> bool:
        return profile is not None and profile.endpoint == self.shown["endpoint"]

    def restored(self, instead: Profile | None) -> tuple[Profile, bool]:
        """The profile, and whether only this note says where it leads; ``instead``, if that is of the same endpoint.

        Raises:
            ProfileError: neither can be had.
        """
        if self.name:
            try:
                return _known(self.name), False
            except ProfileError:
                # Registered in code, by a program that does not run any more.
                pass
        if instead is not None and self.is_same_place(instead):
            return instead, False
        if not self.held_keys:
            shown = Profile(**self.shown)
            # Neither may a note alone turn the verification of TLS off.
            return shown, shown.endpoint is not None or shown.verify is not True
        raise ProfileError(
            f"profile {self.name or self.shown['local_name']!r}: its keys were only in the memory of the process that "
            f"died; name a profile for the endpoint {self.shown['endpoint'] or 'of AWS'} with default_profile=..."
        )


def _known(name: str) -> Profile:
    found = resolve_profile(name)
    if found is None:
        raise ProfileError(f"profile {name!r} is unknown")
    return found


@dataclass(frozen=True)
class Noted:
    """A registration for upload, as noted when it began.

    ``surveyed_at`` is the store's clock at that time, in seconds since the epoch; ``clock_ahead_seconds`` is by how
    much the local clock was ahead of it. ``device`` is the number of the disk that held the local path, or None where
    it is not known. Read back, ``registration`` has no profile, but ``profile`` tells which.
    """

    registration: Registration
    profile: ProfileNote | None
    surveyed_at: float
    clock_ahead_seconds: float
    device: int | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether what is at the local path now, or that nothing is, says nothing of what was there."""
        local = self.registration.local
        return not os.path.lexists(local) or (self.device is not None and _device_of(local) != self.device)

    @staticmethod
    def of(registration: Registration, surveyed_at: float, clock_ahead_seconds: float) -> Noted:
        profile = ProfileNote.of(registration.profile) if registration.profile is not None else None
        return Noted(registration, profile, surveyed_at, clock_ahead_seconds, _device_of(registration.local))

    @property
    def is_gone(self) -> bool:
        """Whether somebody has deleted the local path; a disk that is not mounted now has not lost it."""
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
        """Whether a complete push of ``pushed`` has pushed all that this one could have left."""
        mine = self.registration
        same_place = self.profile is None if pushed.profile is None else bool(self._is_at(pushed.profile))
        same_files = pushed.request.push_filter in (mine.request.push_filter, Filter())
        return same_place and same_files and (mine.location, mine.local) == (pushed.location, pushed.local)

    def _is_at(self, profile: Profile) -> bool:
        return self.profile is not None and self.profile.is_same_place(profile)

    def as_record(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            **self.registration.request.as_record(),
            "kind": self.registration.kind,
            "url": self.url,
            "local": self.registration.local,
            "profile": None if self.profile is None else vars(self.profile),
            "surveyed_at": self.surveyed_at,
            "clock_ahead_seconds": self.clock_ahead_seconds,
            "device": self.device,
        }

    @staticmethod
    def from_record(record: dict[str, Any]) -> Noted:
        """The reverse of :meth:`as_record`, except that nothing is deleted by what comes out.

        Raises:
            KeyError, TypeError, ValueError: it is no such record.
        """
        check_kinds(record, _RECORD)
        url, local = record["url"], record["local"]
        if record["kind"] not in _REQUESTS or not os.path.isabs(local):
            raise ValueError(f"no registration for upload from {local!r:.40}")
        if "interval_seconds" in record:
            # Its name in journals of version 1.
            record = {"interval": record["interval_seconds"], **record}
        request = _REQUESTS[record["kind"]].from_record(record, url, local)
        profile = None if record["profile"] is None else ProfileNote.from_record(record["profile"])
        device = record.get("device")
        return Noted(
            Registration(request, parse(url), None, local),
            profile,
            float(record["surveyed_at"]),
            float(record["clock_ahead_seconds"]),
            device if isinstance(device, int) else None,
        )


def _device_of(local: str) -> int | None:
    """The number of the disk that holds the directory around a local path."""
    try:
        return os.stat(os.path.dirname(local)).st_dev
    except OSError:
        return None
