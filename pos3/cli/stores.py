"""Opens the store of a command that asks a store by itself, without a mirror."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from pos3.profiles import Profile, resolve_profile
from pos3.store import Store, open_store
from pos3.url import Location


def profile_of(arguments: Namespace, url_profile: str) -> Profile | None:
    """The profile of a command: that of the URL, or of ``--profile``, or of the environment, or none.

    Raises:
        ProfileError: it cannot be used.
    """
    chosen = resolve_profile(arguments.profile, url_profile=url_profile)
    return chosen or resolve_profile(arguments.options.or_environment().default_profile)


@contextmanager
def opened_store(arguments: Namespace, location: Location) -> Iterator[Store]:
    """The store of a location. Its connections are closed at the end of the block.

    Raises:
        InvalidURLError, ProfileError, CredentialsError: it cannot be reached.
    """
    options = arguments.options.or_environment()
    store = open_store(location, profile_of(arguments, location.profile), options.given_workers)
    try:
        yield store
    finally:
        store.hang_up()
