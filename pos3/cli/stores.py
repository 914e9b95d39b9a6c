"""Opens the store of a command that asks a store by itself, without the calls of a mirror."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pos3.errors import OfflineError
from pos3.jobs import DownloadRequest, offline_store
from pos3.mirrors import network_of
from pos3.options import MirrorOptions
from pos3.profiles import Profile, resolve_profile
from pos3.store import Store, open_store
from pos3.url import Location

T = TypeVar("T")


def profile_of(arguments: Namespace, url_profile: str) -> Profile | None:
    """The profile of a command: that of the URL, or of ``--profile``, or of the environment, or none.

    Raises:
        ProfileError: it cannot be used.
    """
    chosen = resolve_profile(arguments.profile, url_profile=url_profile)
    return chosen or resolve_profile(_options_of(arguments).default_profile)


def check_online(arguments: Namespace) -> None:
    """Returns if the command may send requests.

    Raises:
        OfflineError: the environment says that none is sent.
    """
    if _options_of(arguments).offline is True:
        raise OfflineError(f"'{arguments.name}' needs the store, and POS3_OFFLINE says that no request is sent")


def ask_store(arguments: Namespace, location: Location, call: Callable[[Store], T]) -> T:
    """What ``call`` makes of the store of a location; without the network, of what the cache has on record of it.

    Raises:
        InvalidURLError, ProfileError, CredentialsError: it cannot be reached.
        OfflineError: there is no network, and the cache does not hold everything.
    """
    options = _options_of(arguments)
    request = DownloadRequest(remote=str(location))
    with _opened(arguments, location) as store:

        def call_offline(reason: str) -> T:
            return call(offline_store(store, location, request, options.real_cache_root, reason))

        return network_of(options.offline).ask(store.endpoint, lambda: call(store), call_offline)


@contextmanager
def opened_store(arguments: Namespace, location: Location) -> Iterator[Store]:
    """The store of a location. Its connections are closed at the end of the block.

    Raises:
        InvalidURLError, ProfileError, CredentialsError: it cannot be reached.
        OfflineError: the environment says that no request is sent.
    """
    check_online(arguments)
    with _opened(arguments, location) as store:
        yield store


def _options_of(arguments: Namespace) -> MirrorOptions:
    options: MirrorOptions = arguments.options
    return options.or_environment()


@contextmanager
def _opened(arguments: Namespace, location: Location) -> Iterator[Store]:
    options = _options_of(arguments)
    store = open_store(location, profile_of(arguments, location.profile), options.given_workers)
    try:
        yield store
    finally:
        store.hang_up()
