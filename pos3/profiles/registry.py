"""Profiles, which name an endpoint and its credentials: the registry, the profiles file, and the precedence.

The file (``POS3_PROFILES_FILE``, else ``$XDG_CONFIG_HOME/pos3/profiles.toml``, else
``~/.config/pos3/profiles.toml``)::

    [profiles.acme]
    endpoint = "https://s3.example.com"     # or: aws_profile = "research"
    region = "eu-north-1"
    credentials_file = "acme.creds"         # AWS style ini, section [acme] or [default]

A profile that is registered in code wins over one with the same name in the file, and that wins over one of a
framework. A profile in the URL (``s3://acme@bucket/key``) wins over the argument, and the argument wins over the
mirror's default.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pos3 import frameworks
from pos3.errors import ProfileError
from pos3.local import ForeignFileError, read_settings, warn_once
from pos3.profiles.secrets import Secret, warn_if_accessible
from pos3.redaction import escaped

AddressingStyle = Literal["auto", "path", "virtual"]
_SECRETS = ("access_key", "secret_key", "session_token")
_TEXTS = ("region", *_SECRETS, "aws_profile", "server_side_encryption", "sse_kms_key_id")
_SENT = ("region", "server_side_encryption", "sse_kms_key_id")
_FLAGS = ("public", "requester_pays")


@dataclass(frozen=True)
class Profile:
    """How to reach one S3-compatible endpoint, and with which credentials. The ``repr`` shows no secrets.

    Args:
        local_name: the directory below the cache root for the files of this endpoint. "_" is not allowed.
        endpoint: the URL of the server, such as "https://storage.example.com". None means AWS itself.
        public: anonymous access. Requests are not signed, even if there are credentials.
        region: the name of the AWS region. None takes it from the environment or the AWS profile.
        access_key, secret_key, session_token: the credentials. With them, the credentials of the environment are not
            used.
        aws_profile: the name of a profile in the AWS configuration files. Its credentials are refreshed.
        addressing_style: "path", "virtual" or "auto". "auto" takes the style from the AWS configuration file. Without
            one, it means path for a named endpoint and virtual for AWS.
        verify: False turns the check of TLS certificates off. A path names a CA bundle.
        requester_pays: accept the costs of requester-pays buckets.
        server_side_encryption: the encryption for every upload, such as "AES256" or "aws:kms".
        sse_kms_key_id: the KMS key for uploads. It implies "aws:kms".

    Raises:
        ProfileError: a value cannot work, or two values contradict each other.
    """

    local_name: str
    endpoint: str | None
    public: bool = False
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    aws_profile: str | None = field(default=None, kw_only=True)
    addressing_style: AddressingStyle = field(default="auto", kw_only=True)
    verify: bool | str = field(default=True, kw_only=True)
    requester_pays: bool = field(default=False, kw_only=True)
    server_side_encryption: str | None = field(default=None, kw_only=True)
    sse_kms_key_id: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for secret in _SECRETS:
            if isinstance(value := getattr(self, secret), str):
                object.__setattr__(self, secret, Secret(value))
        name = self.local_name
        if name == "_":
            raise ProfileError("profile local_name '_' is reserved for the default AWS configuration")
        if not isinstance(name, str) or not name or not all(c.isalnum() or c in "-_" for c in name):
            raise ProfileError(f"profile local_name {name!r}: use only letters, digits, '-' and '_'")
        where = f"profile {name!r}"
        self._check_types(where)
        if self.endpoint is not None and not str(self.endpoint).startswith(("http://", "https://")):
            raise ProfileError(f"{where}: endpoint {self.endpoint!r} must start with https:// or http://")
        self._check_controls(where)
        if "@" in str(self.endpoint).partition("://")[2].partition("/")[0]:
            raise ProfileError(f"{where}: the endpoint must hold no user and password; set access_key and secret_key")
        if "" in (self.access_key, self.secret_key):
            raise ProfileError(f"{where}: access_key or secret_key is empty; leave both out for the usual credentials")
        if bool(self.access_key) != bool(self.secret_key):
            raise ProfileError(f"{where}: access_key and secret_key must be set together, or neither")
        if self.access_key and self.aws_profile:
            raise ProfileError(f"{where}: choose one of access_key/secret_key and aws_profile")
        if self.addressing_style not in ("auto", "path", "virtual"):
            raise ProfileError(f"{where}: addressing_style {self.addressing_style!r} is not auto, path or virtual")
        if isinstance(self.verify, str) and not os.path.isfile(os.path.expanduser(self.verify)):
            raise ProfileError(f"{where}: the CA bundle verify={self.verify!r} is not a file")

    def _check_types(self, where: str) -> None:
        for kinds, expected, names in (
            ((str, type(None)), "a string", _TEXTS),
            ((bool,), "true or false", _FLAGS),
            ((bool, str), "true, false or a path", ("verify",)),
        ):
            for name in names:
                if not isinstance(getattr(self, name), kinds):
                    raise ProfileError(f"{where}: {name} must be {expected}, not {type(getattr(self, name)).__name__}")

    def _check_controls(self, where: str) -> None:
        for name in ("endpoint", *_SENT):
            value = getattr(self, name)
            if value is not None and escaped(str(value)) != str(value):
                # After a line end, the rest of the value would become another header.
                raise ProfileError(f"{where}: {name} {value!r} has a control character, such as a line end")

    @property
    def place(self) -> tuple[str | None, str | None]:
        """The endpoint or, for AWS, the AWS profile. Two profiles with equal values reach the same buckets."""
        return (self.endpoint, None if self.endpoint else self.aws_profile)


_PROFILES: dict[str, Profile] = {}
_REQUESTED_NAMES: dict[Profile, str] = {}
"""The names of the profiles that callers have requested by name."""
_IGNORED_FILES: dict[Path, str] = {}
_FILE_TABLES: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}
_LOCK = threading.Lock()


def register_profile(
    name: str,
    endpoint: str | None,
    public: bool = False,
    region: str | None = None,
    local_name: str | None = None,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    aws_profile: str | None = None,
    addressing_style: AddressingStyle = "auto",
    verify: bool | str = True,
    requester_pays: bool = False,
    server_side_encryption: str | None = None,
    sse_kms_key_id: str | None = None,
) -> None:
    """Registers a profile in this process. The name can be used as ``profile=`` and in ``s3://name@bucket/key``.

    A call with the same name and the same settings does nothing.

    Args:
        name: the name of the profile.
        endpoint: the URL of the S3 server. None means AWS, where the region of each bucket is found automatically.
        region: the name of the region. It needs an ``endpoint``, an ``aws_profile`` or ``public``.
        local_name: the directory below the cache root for the files of this profile. None means ``name``.
        public, access_key, secret_key, session_token, aws_profile, addressing_style: as for :class:`Profile`.
        verify, requester_pays, server_side_encryption, sse_kms_key_id: as for :class:`Profile`.

    Raises:
        ProfileError: the name is registered with other settings, or a value cannot work.
    """
    if not isinstance(name, str) or not name:
        raise ProfileError(f"profile name {name!r}: expected a non-empty string")
    options = {
        "endpoint": endpoint,
        "public": public,
        "region": region,
        "access_key": access_key,
        "secret_key": secret_key,
        "session_token": session_token,
        "aws_profile": aws_profile,
        "addressing_style": addressing_style,
        "verify": verify,
        "requester_pays": requester_pays,
        "server_side_encryption": server_side_encryption,
        "sse_kms_key_id": sse_kms_key_id,
    }
    profile = _build(name, options, local_name)
    with _LOCK:
        existing = _PROFILES.get(name)
        if existing is not None and existing != profile:
            raise ProfileError(f"profile {name!r} is already registered with a different configuration")
        _PROFILES[name] = profile


def resolve_profile(profile: str | Profile | None, *, url_profile: str = "") -> Profile | None:
    """The profile that applies: the one in the URL, or else the argument, or else None.

    Raises:
        ProfileError: the name is neither registered, nor in the profiles file, nor known to a framework, or its entry
            cannot work.
    """
    if not url_profile and (profile is None or isinstance(profile, Profile)):
        return profile
    name = url_profile or profile
    if not isinstance(name, str):
        raise ProfileError(f"profile {name!r}: expected a name or a pos3.Profile")
    found = _find(name)
    _REQUESTED_NAMES[found] = name
    return found


def _find(name: str) -> Profile:
    if name in _PROFILES:
        return _PROFILES[name]
    path = profiles_file()
    in_file = _tables_in(path)
    if name in in_file:
        # It is built only when it is requested, so that a broken entry does not affect the others.
        return _from_table(name, in_file[name], path)
    for find in frameworks.functions_of(frameworks.PROFILES):
        found: Profile | None = find(name)
        if found is not None:
            return found
    known = ", ".join(sorted({*_PROFILES, *in_file})) or "none"
    unused = f"{path} is not used: {_IGNORED_FILES[path]}. " if path in _IGNORED_FILES else ""
    raise ProfileError(
        f"unknown profile {name!r} (known: {known}). {unused}Register it with pos3.register_profile() "
        f"or define [profiles.{name}] in {profiles_file()}"
    )


def name_of_profile(profile: Profile) -> str | None:
    """The name under which this profile is registered or was requested; None if it has none."""
    return next((name for name, known in _known_profiles() if known == profile), None)


def name_of_directory(local_name: str) -> str | None:
    """The name of a profile with this ``local_name``, its directory in the cache; None if there is none."""
    return next(
        (
            name
            for name, known in chain(_known_profiles(), _not_requested(local_name))
            if known.local_name == local_name
        ),
        None,
    )


def _known_profiles() -> list[tuple[str, Profile]]:
    return [*_PROFILES.items(), *((name, profile) for profile, name in list(_REQUESTED_NAMES.items()))]


def _not_requested(local_name: str) -> Iterator[tuple[str, Profile]]:
    """The profiles that were not requested yet, the one with the name ``local_name`` first."""
    for name in dict.fromkeys((local_name, *_tables_in(profiles_file()))):
        # A broken entry does not affect the others.
        with contextlib.suppress(ProfileError):
            yield name, _find(name)


def profiles_file() -> Path:
    """The path of the profiles file, which need not exist."""
    # Without a home directory, "~" is not resolved, and no such file exists.
    if override := os.environ.get("POS3_PROFILES_FILE"):
        return Path(os.path.expanduser(override))
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(base)) / "pos3" / "profiles.toml"


def profiles_in_file() -> dict[str, Profile | ProfileError]:
    """Every profile of the profiles file by its name, in the order of the file; an error for one that cannot work.

    Raises:
        ProfileError: the file as a whole cannot be read.
    """
    path = profiles_file()
    return {name: _profile_or_error(name, table, path) for name, table in _tables_in(path).items()}


def _profile_or_error(name: str, table: Any, path: Path) -> Profile | ProfileError:
    try:
        return _from_table(name, table, path)
    except ProfileError as error:
        return error


def _tables_in(path: Path) -> dict[str, Any]:
    """The tables of the profiles in the file. The file is read again if it has changed."""
    try:
        status = path.stat()
    except OSError:
        return {}
    if str(path).startswith("~"):
        # A directory whose name is "~" is not the user's home.
        return {}
    with _LOCK:
        cached = _FILE_TABLES.get(path)
        changed_ns = (status.st_mtime_ns, status.st_ctime_ns)
        if cached is None or cached[0] != changed_ns:
            _IGNORED_FILES.pop(path, None)
            cached = (changed_ns, _read_tables(path))
            _FILE_TABLES[path] = cached
        return cached[1]


def _read_tables(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        tables = tomllib.loads(read_settings(path)).get("profiles", {})
    except ForeignFileError as error:
        _IGNORED_FILES[path] = str(error.strerror)
        warn_once(str(path), f"{error.strerror}. Its profiles are not used")
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        # The traceback must not have the frames of the parser, because their variables hold the text of the file.
        raise ProfileError(f"cannot read the profiles file {path}: {error}") from None
    if not isinstance(tables, dict):
        raise ProfileError(f"{path}: 'profiles' must be a table of tables, [profiles.<name>]")
    hold_secrets = [_hide_secrets(table) for table in tables.values() if isinstance(table, dict)]
    if any(hold_secrets):
        warn_if_accessible(path)
    return tables


def _hide_secrets(table: dict[str, Any]) -> bool:
    """Replaces the secrets of a table by :class:`Secret` strings, and returns whether there are any."""
    secrets = {name: Secret(value) for name in _SECRETS if isinstance(value := table.get(name), str)}
    table.update(secrets)
    return bool(secrets)


def _from_table(name: str, table: Any, path: Path) -> Profile:
    if not isinstance(table, dict):
        raise ProfileError(f"{path}: [profiles.{name}] must be a table")
    options = dict(table)
    local_name = options.pop("local_name", None)
    credentials_file = options.pop("credentials_file", None)
    if not (options.get("endpoint") or options.get("aws_profile") or options.get("region")):
        raise ProfileError(f"{path}: [profiles.{name}] needs an 'endpoint' (or 'aws_profile' for AWS)")
    options.setdefault("endpoint", None)
    if credentials_file:
        options.update(_credentials(path.parent / os.path.expanduser(str(credentials_file)), name))
    return _build(name, options, local_name, where=f"{path}: ")


def _build(name: str, options: dict[str, Any], local_name: str | None, where: str = "") -> Profile:
    known = {item.name for item in fields(Profile)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ProfileError(f"{where}profile {name!r}: unknown setting {', '.join(unknown)}")
    if options.get("region") and not (options["endpoint"] or options.get("aws_profile") or options.get("public")):
        # The endpoint was probably forgotten. The keys of another server must not be sent to AWS.
        raise ProfileError(
            f"{where}profile {name!r} has a region but no endpoint. Set the endpoint of your S3 server. For AWS "
            "itself, set aws_profile, or public, or the region's endpoint, such as https://s3.eu-north-1.amazonaws.com"
        )
    return Profile(local_name=local_name or name, **options)


def _credentials(path: Path, name: str) -> dict[str, str | None]:
    """The keys in an AWS-style credentials file, from its section [name] or else [default]."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_settings(path))
    except (configparser.Error, ValueError):
        # The message of the parser quotes the line, which may be a secret.
        raise ProfileError(f"profile {name!r}: credentials_file {path} is not a valid ini file") from None
    except ForeignFileError as error:
        raise ProfileError(f"profile {name!r}: credentials_file {path} is not used: {error.strerror}") from None
    except OSError:
        raise ProfileError(f"profile {name!r}: credentials_file {path} does not exist or cannot be read") from None
    section = next((candidate for candidate in (name, "default") if parser.has_section(candidate)), None)
    if section is None:
        raise ProfileError(
            f"profile {name!r}: {path} must have a [{name}] or [default] section; it has {parser.sections()}"
        )
    warn_if_accessible(path)
    access_key, secret_key, session_token = (
        Secret(value) if (value := parser[section].get(name)) is not None else None
        for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    )
    if not access_key or not secret_key:
        raise ProfileError(
            f"profile {name!r}: section [{section}] of {path} must set aws_access_key_id and aws_secret_access_key"
        )
    return {"access_key": access_key, "secret_key": secret_key, "session_token": session_token}
