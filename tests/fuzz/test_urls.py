"""Whatever stands in place of a URL: a place, or one error that shows no secret."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import pos3
from pos3.errors import InvalidURLError
from pos3.jobs.registration import local_root, looks_like_file
from pos3.url import Location, is_url, parse

PIECES = st.sampled_from(
    (
        *(
            "arn:aws:s3:eu-west-1:123456789012:accesspoint",
            "arn:",
            "s3",
            "S3",
            "gs",
            "memory",
            "file",
            "s3a",
            ":",
            "/",
            "//",
            "://",
            "@",
            ".",
            "..",
            "bucket",
            "b",
            "key",
            "x.pt",
        ),
        *("~", "\x00", "\n", " ", "%2e", "?", "#", "ü", "\udcff", "[", "]", "\\", "-", "_"),
    )
)
ADDRESSES = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60)
REMOTE = st.builds("{}://{}".format, st.sampled_from(["s3", "memory", "gs"]), ADDRESSES)


def parsed(address: str) -> Location | None:
    """The place, or None where the address is refused."""
    try:
        return parse(address) if is_url(address) else None
    except InvalidURLError:
        return None


@given(ADDRESSES | REMOTE)
def test_any_text_is_a_place_or_an_invalid_url(address: str) -> None:
    location = parsed(address)
    if location is None:
        return
    assert location.bucket
    assert not set(location.bucket_directory) & set("/\x00")
    assert not location.key.startswith("/")
    assert not location.key.endswith("/")
    assert location.profile == "" or location.profile in address
    assert isinstance(looks_like_file(location), bool)


@given(ADDRESSES | REMOTE)
def test_a_place_written_as_text_is_the_same_place(address: str) -> None:
    location = parsed(address)
    if location is not None and "@" not in location.bucket:
        assert parse(str(location)) == location


@given(ADDRESSES | REMOTE)
def test_the_cache_path_of_any_place_lies_below_its_part_of_the_cache(address: str) -> None:
    location = parsed(address)
    if location is None:
        return
    try:
        local = local_root(location, None, "/cache", None)
    except InvalidURLError:
        return
    part = "_" if location.scheme == "s3" else f"{location.scheme}+_"
    assert os.path.normpath(local) == local
    assert local.startswith(f"/cache/{part}/{location.bucket_directory}")


DAMAGED = (
    "s3//",
    "s3;//",
    "s3.//",
    "s3 ://",
    " s3://",
    '"s3://',
    "<s3://",
    "[x](s3://",
    "\ufeffs3://",
    "url=s3://",
    "x/s3://",
)
_SECRET_TEXT = st.text(st.sampled_from("abc123/+=@:#?% \n"), max_size=12)


@given(
    st.sampled_from(["s3://", "S3://", "s3:/", "s3:", "gs://", "nonsense://", "3s://", *DAMAGED]),
    st.sampled_from(["", "who", "AKIAEXAMPLE"]),
    st.builds("{}hunter2{}".format, _SECRET_TEXT, _SECRET_TEXT),
    st.sampled_from(["bucket", "bad bucket", "b", "", "..", "bucket/key", "bucket/a@b"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_error_shows_what_stands_between_colon_and_at(
    tmp_path: Path, scheme: str, name: str, secret: str, rest: str
) -> None:
    # Schemes other than S3's have ports.
    assume(scheme in DAMAGED or scheme.lower().startswith("s3:") or not re.match(r"\d{1,5}/", secret))
    address = f"{scheme}{name}:{secret}@{rest}"
    # A path object makes a local path of some.
    for make in (str, Path) if "\x00" not in address and scheme not in DAMAGED else (str,):
        with (
            pos3.mirror(tmp_path / "cache", show_progress=False),
            pytest.raises((pos3.InvalidArgumentError, pos3.RemoteNotFoundError)) as failure,
        ):
            pos3.download(make(address))
        assert "hunter2" not in f"{failure.value}{failure.value!r}"


@given(ADDRESSES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_local_address_is_a_path_or_an_error_of_pos3(tmp_path: Path, address: str) -> None:
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        try:
            is_local = not is_url(address)
        except InvalidURLError:
            return
        if is_local:
            with suppress(pos3.RemoteNotFoundError, pos3.InvalidArgumentError):
                assert pos3.download(address).is_absolute()
