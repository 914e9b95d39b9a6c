"""Profiles, which name an endpoint and its credentials; their registry, the profiles file, and secrets.

:mod:`pos3.store` makes the settings of an S3 client from a profile.
"""

from pos3.profiles.registry import (
    Profile,
    name_of_directory,
    name_of_profile,
    profiles_file,
    profiles_in_file,
    register_profile,
    resolve_profile,
)

__all__ = [
    "Profile",
    "name_of_directory",
    "name_of_profile",
    "profiles_file",
    "profiles_in_file",
    "register_profile",
    "resolve_profile",
]
