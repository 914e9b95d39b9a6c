"""Which paths take part, and which keys can be files: laws, and the same meaning on both sides."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import pos3
from pos3.filters.matching import Filter, as_patterns, entry_matcher, matcher
from pos3.plan.path_rules import PathChecker, segment_problem
from tests.support import S3Site, contents, write_tree

segments = st.text("ab.-\n", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
globs = st.text("ab.-!^[]*?\\&~|\n", min_size=1, max_size=6).filter(lambda text: text != "." and "**" not in text)
patterns = st.lists(globs, min_size=1, max_size=3).map("/".join)


def hidden_in_0_4_0(path: str, pattern: str) -> bool:
    """The path or a directory above it matches from the right, segment by segment."""
    whole = PurePosixPath(path)
    return any(part.match(pattern) for part in (whole, *whole.parents) if part != PurePosixPath())


@given(path=paths, pattern=patterns)
@example(path="a\n", pattern="a")
@example(path="^", pattern="[^a]")
@example(path="b", pattern="[^a]")
@example(path="!", pattern="[!]")
@example(path="[a/b]", pattern="[a/b]")
@example(path="a", pattern="[b-a]")
@example(path="[a", pattern="[a")
@example(path="]", pattern="[]]")
@example(path="b", pattern="[a&&b]")
@example(path="-", pattern="[a--b]")
@example(path="\\", pattern="[\\]")
@example(path="a/b/c", pattern="b")
@example(path="a/b/c", pattern="a/*")
def test_a_pattern_hides_what_it_hid_in_0_4_0(path: str, pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = hidden_in_0_4_0(path, pattern)
    assert matcher((pattern,))(path) == expected


@given(path=paths, pattern=patterns, dots=st.lists(st.integers(0, 3), min_size=1, max_size=3))
@example(path="d/x.log", pattern="*.log", dots=[0])
@example(path="a/b", pattern="a/b", dots=[1])
def test_a_pattern_means_the_same_with_dots_between_its_slashes_as_in_0_4_0(
    path: str, pattern: str, dots: list[int]
) -> None:
    segments = pattern.split("/")
    # A pattern that begins with "~" is most likely a home directory, and is refused.
    assume(".." not in segments and segments[0] != "~")
    for at in dots:
        segments.insert(at, ".")
    dotted = "/".join(segments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = hidden_in_0_4_0(path, dotted)
    assert as_patterns(dotted, "exclude") == (pattern,)
    assert matcher(as_patterns(dotted, "exclude"))(path) == expected


@pytest.mark.parametrize(
    ("pattern", "normal"),
    [
        ("./logs/", "logs/"),
        ("/./logs", "/logs"),
        ("././a", "a"),
        ("a/.", "a"),
        ("/logs/./x", "/logs/x"),
        (".git", ".git"),
    ],
)
def test_dots_between_slashes_are_dropped(pattern: str, normal: str) -> None:
    assert as_patterns([pattern], "exclude") == (normal,)


NOTHING = [
    "../x",
    "a/../b",
    "/../x",
    "a//b",
    "//x",
    "x//",
    ".",
    "./",
    "/.",
    "~",
    "~/x",
    "~/",
    "s3://bucket/data/*.log",
]


@pytest.mark.parametrize("pattern", NOTHING)
def test_a_pattern_that_can_match_nothing_is_refused_by_the_name_of_its_argument(tmp_path: Path, pattern: str) -> None:
    url = "s3://pos3-test-nobody/data"
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        for call, names in (
            (pos3.download, ("exclude", "include")),
            (pos3.upload, ("exclude", "include", "upload_last", "overwrite")),
            (pos3.sync, ("exclude", "include", "upload_last", "overwrite", "upload_exclude")),
            (pos3.plan_download, ("exclude", "include")),
            (pos3.plan_upload, ("exclude", "include", "overwrite")),
            (pos3.fingerprint, ("exclude", "include")),
        ):
            for name in names:
                with pytest.raises(pos3.InvalidArgumentError, match=re.escape(f"{name}={pattern!r}")):
                    call(url, **{name: ["*.tmp", pattern]})  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "pattern", ["{root}/a.log", "{root}", "{root}/*.log", "{root}/", "{parent}/*.log", "{root}/d/**"]
)
@pytest.mark.parametrize("given_as", ["as-it-is", "through-a-link", "in-the-cache"])
def test_an_absolute_path_of_this_machine_is_no_pattern(tmp_path: Path, pattern: str, given_as: str) -> None:
    root = write_tree(tmp_path / "out", {"a.log": b"1"})
    (tmp_path / "link").symlink_to(root)
    named = {"as-it-is": root, "through-a-link": tmp_path / "link", "in-the-cache": None}[given_as]
    cached = tmp_path / "cache" / "_" / "pos3-test-nobody" / "data"
    written = pattern.format(root=named or cached, parent=(named or cached).parent)
    with (
        pos3.mirror(tmp_path / "cache", show_progress=False),
        pytest.raises(pos3.InvalidArgumentError, match=re.escape(f"exclude={written!r}")),
    ):
        pos3.upload("s3://pos3-test-nobody/data", named, exclude=[written])


def test_a_pattern_of_the_old_form_protects_what_it_names(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({"data/a.log": b"1", "data/d/b.log": b"2", "data/old": b"3"})
    here = write_tree(tmp_path / "here", {"new": b"4"})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        pos3.upload(s3.url("data"), here, interval=None, exclude=["./*.log"])
    assert s3.objects("data/") == {"a.log": b"1", "d/b.log": b"2", "new": b"4"}


def test_keys_with_dots_and_empty_names_can_be_left_out_with_classes_and_stars() -> None:
    assert matcher(as_patterns("..", "exclude"))("a/../x")
    assert matcher(as_patterns("[.][.]/x", "exclude"))("a/../x")
    assert matcher(as_patterns("a/**/b", "exclude"))("a//b")


@given(path=paths, pattern=patterns)
def test_overwrite_names_an_entry_itself_as_in_0_5_0(path: str, pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = PurePosixPath(path).match(pattern)
    names = entry_matcher((pattern,))
    assert names(path) == expected
    assert not names("")


@given(path=paths, pattern=patterns)
def test_what_is_below_a_hidden_directory_is_hidden(path: str, pattern: str) -> None:
    hides = matcher((pattern,))
    if hides(path):
        assert hides(f"{path}/x")
        assert hides(f"{path}/x/y")


@given(path=paths, exclude=st.lists(patterns, max_size=3), include=st.lists(patterns, max_size=2))
def test_a_pruned_directory_holds_nothing_that_takes_part(path: str, exclude: list[str], include: list[str]) -> None:
    chosen = Filter(tuple(include), tuple(exclude))
    prunes, takes_part = chosen.prunes(), chosen.predicate()
    parts = path.split("/")
    for depth in range(1, len(parts)):
        if prunes("/".join(parts[:depth]) + "/"):
            assert not takes_part(path)


@given(path=paths, first=patterns, second=patterns)
def test_several_patterns_hide_what_any_of_them_hides(path: str, first: str, second: str) -> None:
    assert matcher((first, second))(path) == (matcher((first,))(path) or matcher((second,))(path))


@pytest.mark.parametrize(
    ("pattern", "path", "hidden"),
    [
        pytest.param("*.tmp", "a/b.tmp", True, id="any-depth"),
        pytest.param("*.tmp", "b.tmpx", False, id="whole-name"),
        pytest.param("*.TMP", "b.tmp", False, id="case-counts"),
        pytest.param("/top", "top", True, id="anchored"),
        pytest.param("/top", "a/top", False, id="anchored-not-deeper"),
        pytest.param("logs/", "logs/x", True, id="directory"),
        pytest.param("logs/", "a/logs/b/c", True, id="directory-any-depth"),
        pytest.param("**/x", "x", True, id="stars-match-no-directory"),
        pytest.param("**/x", "a/b/x", True, id="stars-match-directories"),
        pytest.param("a/**", "a/b/c", True, id="all-below"),
        pytest.param("a/**", "b/a.x", False, id="all-below-only"),
        pytest.param("a/**/z", "a/z", True, id="stars-between-none"),
        pytest.param("a/**/z", "a/b/c/z", True, id="stars-between"),
        pytest.param("a?c", "abc", True, id="question-mark"),
        pytest.param("a?c", "a/c", False, id="question-mark-is-no-slash"),
        pytest.param("a*c", "a/c", False, id="star-is-no-slash"),
        pytest.param("x[0-9]", "x7", True, id="range"),
        pytest.param("x[!0-9]", "x7", False, id="negated-range"),
        pytest.param("ünï*", "a/ünïcode", True, id="unicode"),
    ],
)
def test_patterns_mean_what_the_documentation_says(pattern: str, path: str, hidden: bool) -> None:
    assert matcher((pattern,))(path) is hidden


def test_a_lone_string_is_one_pattern_and_not_its_letters() -> None:
    assert as_patterns("*.tmp", "exclude") == ("*.tmp",)
    assert as_patterns(["a", "b"], "exclude") == ("a", "b")
    assert as_patterns(None, "exclude") == ()


raw_keys = st.text(st.sampled_from("ab./\\\x00é\n"), min_size=1, max_size=12)


@given(key=raw_keys)
@example(key="..")
@example(key="a/../../b")
@example(key="/etc/passwd")
@example(key="a//b")
@example(key="./a")
@example(key="a/.")
def test_a_key_without_a_problem_never_leaves_the_root(key: str) -> None:
    if segment_problem(key):
        return
    root = "/some/root"
    joined = os.path.join(root, key)
    assert os.path.normpath(joined) == joined.rstrip("/")
    assert joined.startswith(f"{root}/")
    assert PurePosixPath(joined).relative_to(root).as_posix() == key.rstrip("/")


@given(keys=st.sets(st.text("ab-./", min_size=1, max_size=6), max_size=12))
def test_the_keys_that_pass_can_all_be_written_to_one_directory(
    keys: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    checker = PathChecker()
    passed = [key for key in sorted(keys) if checker.check(key)]
    assert len(passed) + len(checker.problems) == len(keys)
    root = tmp_path_factory.mktemp("keys")
    write_tree(root, {key: key.encode() for key in passed})
    assert contents(root) == {key: key.encode() for key in passed if not key.endswith("/")}


@pytest.mark.parametrize("size", [255, 256], ids=["fits", "too-long"])
def test_names_longer_than_a_disk_allows_are_found_beforehand(size: int) -> None:
    assert bool(segment_problem("d/" + "é" * (size // 2) + "x" * (size % 2))) == (size > 255)


def test_names_that_differ_in_case_clash_on_a_disk_that_ignores_case() -> None:
    checker = PathChecker(fold_names=True)
    assert checker.check("README")
    assert not checker.check("Readme")
    assert "README" in checker.problems[0]
    assert "Readme" in checker.problems[0]


EXCLUDES = [
    pytest.param(["*.tmp"], {"keep", "logs/a", "logs/deep/b", "x/logs.txt"}, id="suffix"),
    pytest.param(["logs"], {"keep", "a.tmp", "x/logs.txt", "x/b.tmp"}, id="directory-name"),
    pytest.param(["logs/"], {"keep", "a.tmp", "x/logs.txt", "x/b.tmp"}, id="directory-slash"),
    pytest.param(["/logs/*"], {"keep", "a.tmp", "x/logs.txt", "x/b.tmp"}, id="anchored"),
    pytest.param(["deep/*"], {"keep", "a.tmp", "logs/a", "x/logs.txt", "x/b.tmp"}, id="two-segments"),
    pytest.param(["x/**"], {"keep", "a.tmp", "logs/a", "logs/deep/b"}, id="all-below"),
    pytest.param("*.tmp", {"keep", "logs/a", "logs/deep/b", "x/logs.txt"}, id="lone-string"),
]
TREE = ("keep", "a.tmp", "logs/a", "logs/deep/b", "x/logs.txt", "x/b.tmp")


@pytest.mark.parametrize(("exclude", "moved"), EXCLUDES)
def test_exclude_means_the_same_on_both_sides(
    rclone_site: S3Site, tmp_path: Path, exclude: list[str] | str, moved: set[str]
) -> None:
    rclone_site.put_all({f"down/{name}": name.encode() for name in TREE})
    here = write_tree(tmp_path / "out", {name: name.encode() for name in TREE})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(rclone_site.url("down"), exclude=exclude)
        pos3.upload(rclone_site.url("up"), here, exclude=exclude)
    assert set(contents(path)) == moved
    assert set(rclone_site.keys("up/")) == {f"up/{name}" for name in moved}


def test_include_takes_only_what_matches_and_exclude_wins(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"data/{name}": b"1" for name in ("a.bin", "b.bin", "c.txt", "d/e.bin")})
    with pos3.mirror(tmp_path / "cache", show_progress=False):
        path = pos3.download(s3.url("data"), include="*.bin", exclude="b*")
    assert set(contents(path)) == {"a.bin", "d/e.bin"}
