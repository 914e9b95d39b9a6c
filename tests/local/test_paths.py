"""Which local paths lie within which."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pos3.filters import check_relative
from pos3.local import (
    Scan,
    are_nested,
    is_below,
    is_within,
    is_within_relative,
    lies_in_cache,
    local_entries,
    relative,
)
from pos3.state.claims import Claim, ClaimList

# Few and similar names, so that one path often lies in another, or nearly does.
relative_paths = st.lists(st.sampled_from(["a", "ab", "a.b", "é", " ", "-"]), max_size=4).map("/".join)
absolute_paths = relative_paths.map("/{}".format)


@given(path=absolute_paths, directory=absolute_paths)
@example(path="/", directory="/")
@example(path="/a", directory="/")
@example(path="/ab", directory="/a")
def test_a_path_lies_within_a_directory_if_pathlib_says_so(path: str, directory: str) -> None:
    is_inside = PurePosixPath(path).is_relative_to(directory)
    assert is_within(path, directory) == is_inside
    assert is_within(f"{path}/", directory) == is_within(path, f"{directory}/") == is_inside
    assert is_below(path, directory) == (is_inside and path != directory)
    assert are_nested(path, directory) == are_nested(directory, path)
    assert are_nested(path, directory) == (is_inside or PurePosixPath(directory).is_relative_to(path))
    if is_inside:
        assert os.path.normpath(os.path.join(directory, relative(path, directory))) == path


@given(path=relative_paths, directory=relative_paths)
@example(path="", directory="")
@example(path="a", directory="")
@example(path="", directory="a")
def test_relative_paths_lie_within_each_other_as_the_absolute_ones_do(path: str, directory: str) -> None:
    absolute = [os.path.join("/root", each).rstrip("/") for each in (path, directory)]
    assert is_within_relative(path, directory) == is_within(*absolute)
    assert is_within_relative(f"{path}/" if path else "", directory) == is_within(*absolute)


@given(path=absolute_paths, cache_root=absolute_paths.filter(lambda path: path != "/"))
def test_what_lies_within_the_cache_root_lies_in_the_cache(path: str, cache_root: str) -> None:
    assert lies_in_cache(path, cache_root) == is_within(path, cache_root)


def test_a_cache_that_is_the_whole_file_system_does_not_own_what_lies_there() -> None:
    assert not lies_in_cache("/home/me/photos", "/")


def test_a_link_to_the_root_of_the_file_system_is_not_walked_through(tmp_path: Path) -> None:
    (tmp_path / "everything").symlink_to("/")
    scan = Scan(follow_symlinks=True, takes_part=lambda path: True, prunes=lambda path: False)
    [entry] = local_entries(str(tmp_path), scan)
    assert (entry.path, entry.unusable) == ("everything/", "a symbolic link to a directory above it")


@pytest.mark.parametrize(("claimed", "asked"), [("/", "/a/b"), ("/a/b", "/"), ("/a", "/a/b"), ("/a é", "/a é/b")])
def test_a_claim_is_found_from_above_and_from_below(claimed: str, asked: str, tmp_path: Path) -> None:
    claims = ClaimList(str(tmp_path))
    claim = Claim("1", "m", "g", "o", "upload", True, claimed, claimed, "s3://b/k", None, "/c", "/c/j", 1, "h", 0.0)
    with claims.locked():
        claims.change(claims.read(), begin=claim)
    assert claims.read().overlapping(asked) == [claim]
    assert claims.read().overlapping("/a é2") == ([claim] if claimed == "/" else [])


def test_where_the_root_of_the_file_system_is_pushed_a_leading_slash_is_not_taken_for_an_absolute_path() -> None:
    check_relative(["/var/log/"], "include", ["/"])
