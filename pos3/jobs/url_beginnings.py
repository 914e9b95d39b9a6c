"""The URLs that a beginning can become: buckets, and what lies one level below a prefix."""

from __future__ import annotations

from pos3.profiles import Profile, resolve_profile
from pos3.store import list_buckets, open_store
from pos3.url import parse

SCHEME = "s3://"


def url_completions(beginning: str, profile: str | Profile | None) -> list[str]:
    """The URLs of S3 that begin so, sorted; buckets and prefixes end in "/".

    Args:
        profile: a profile or its name. A profile in the URL wins.

    Raises:
        The errors of a listing, and those of a URL or a profile that cannot be used.
    """
    authority, slash, key = beginning.removeprefix(SCHEME).partition("/")
    if not slash:
        name, at, bucket = authority.rpartition("@")
        found = list_buckets(resolve_profile(profile, url_profile=name)).found
        return sorted(f"{SCHEME}{name}{at}{each.name}/" for each in found if each.name.startswith(bucket))
    directory, in_directory, name = key.rpartition("/")
    location = parse(f"{SCHEME}{authority}/{directory}{in_directory}")
    store = open_store(location, resolve_profile(profile, url_profile=location.profile), 1)
    above = f"{SCHEME}{authority}/{directory}{in_directory}"
    return [above + entry.path for entry in store.children(directory, name)]
