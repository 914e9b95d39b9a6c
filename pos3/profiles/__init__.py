"""Which endpoint, with which credentials: profiles, their registry, the profiles file, and secrets that do not show.

What a profile means for an S3 client is decided in :mod:`pos3.store`.
"""

from pos3.profiles.registry import (
    Profile,
    name_of_directory,
    name_of_profile,
    profiles_file,
    register_profile,
    resolve_profile,
)

__all__ = [
    "Profile",
    "name_of_directory",
    "name_of_profile",
    "profiles_file",
    "register_profile",
    "resolve_profile",
]
