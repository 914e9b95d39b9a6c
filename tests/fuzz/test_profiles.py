"""Whatever stands in the profiles file, a credentials file or a profile's arguments: a profile, or a ProfileError."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import pos3
from pos3.profiles.registry import profiles_file, resolve_profile

on_one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SETTINGS = st.sampled_from(
    (
        *("endpoint", "region", "public", "local_name", "access_key", "secret_key", "session_token", "aws_profile"),
        *("credentials_file", "addressing_style", "verify", "requester_pays", "server_side_encryption"),
        "sse_kms_key_id",
    )
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["https://x", "http://", "https://[x", "https://u:p@x", "_", "..", "~nobody-here/x", "keys", "a\x00b", "auto", "x"]
)
VALUES = (
    TEXTS.filter(lambda text: text.isprintable()).map(json.dumps)
    | st.sampled_from(["true", "false", "1", "-0.0", "nan", "inf", "[]", "[1]", "{}", '{a = "b"}', "1979-05-27", '""'])
    | st.sampled_from(['"a\\u0000b"', "07:32:00", "[[[[]]]]"])
)
INI = st.lists(
    st.sampled_from(
        (
            *("[acme]", "[default]", "[DEFAULT]", "[other]", "[", "=", "# x", "", "\x00", " more"),
            *("aws_access_key_id = k", "aws_access_key_id =", "aws_secret_access_key = s", "aws_secret_access_key"),
            "aws_session_token = %(x)s",
        )
    ),
    max_size=6,
).map("\n".join)


def resolved(name: str) -> pos3.Profile | None:
    """The profile, checked for what it promises; None where it is refused."""
    try:
        profile = resolve_profile(name)
    except pos3.ProfileError:
        return None
    assert profile is not None
    check(profile)
    return profile


def check(profile: pos3.Profile) -> None:
    hash(profile)
    assert profile.local_name not in ("", "_", ".", "..")
    assert "/" not in profile.local_name
    assert profile.endpoint is None or profile.endpoint.startswith(("http://", "https://"))
    assert (profile.access_key is None) == (profile.secret_key is None)
    assert all(isinstance(flag, bool) for flag in (profile.public, profile.requester_pays))


def write(text: str | bytes) -> None:
    """Writes the profiles file so that it counts as changed."""
    path = profiles_file()
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    write.count += 1  # type: ignore[attr-defined]
    os.utime(path, ns=(0, write.count * 1_000_000))  # type: ignore[attr-defined]


write.count = 0  # type: ignore[attr-defined]


@given(st.binary(max_size=120) | st.text(max_size=120).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"x = " + b"[" * 5000)
@example(b"profiles = [1]")
@example(b"[profiles]\nacme = 1")
@on_one_file
def test_any_bytes_are_a_profiles_file_or_a_profile_error(content: bytes) -> None:
    write(content)
    resolved("acme")


@given(st.lists(st.tuples(SETTINGS, VALUES), max_size=5, unique_by=lambda pair: pair[0]), INI)
@on_one_file
def test_any_settings_are_a_profile_or_a_profile_error(table: list[tuple[str, str]], ini: str) -> None:
    (profiles_file().parent / "keys").write_text(ini)
    lines = "".join(f"{name} = {value}\n" for name, value in table)
    write(f"[profiles.acme]\n{lines}")
    profile = resolved("acme")
    if profile is not None:
        assert ("public", "true") in table or not profile.public


@given(INI | st.text(max_size=80), st.booleans())
@on_one_file
def test_any_credentials_file_is_a_key_and_its_secret_or_a_profile_error(ini: str, as_bytes: bool) -> None:
    keys = profiles_file().parent / "keys"
    keys.write_bytes(ini.encode("utf-16" if as_bytes else "utf-8", "surrogatepass"))
    keys.chmod(0o600)
    write('[profiles.acme]\nendpoint = "https://x"\ncredentials_file = "keys"\n')
    profile = resolved("acme")
    if profile is not None:
        assert profile.access_key
        assert profile.secret_key
        # A value may go on in further lines, which are indented.
        assert all(line in ini for line in profile.access_key.splitlines())


ANYTHING = TEXTS | st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.integers(), max_size=1)


@given(st.fixed_dictionaries({"local_name": ANYTHING, "endpoint": ANYTHING}), st.dictionaries(SETTINGS, ANYTHING))
def test_any_arguments_are_a_profile_or_a_profile_error(first: dict[str, Any], more: dict[str, Any]) -> None:
    more.pop("credentials_file", None)
    with suppress(pos3.ProfileError):
        check(pos3.Profile(**{**first, **more}))


@pytest.mark.parametrize("name", ["", ".", "\x00", "a\nb", "ü", "x" * 10_000], ids=ascii)
def test_any_name_is_an_unknown_profile(tmp_path: Path, name: str) -> None:
    with pytest.raises((pos3.ProfileError, pos3.InvalidURLError)):
        resolve_profile(name)
