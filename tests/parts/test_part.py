"""A part is a value: it is checked when it is made, and it travels as a pickle and as a short text."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pos3
from pos3 import Part

PATHS = st.text(st.characters(codec="utf-8"), max_size=30)
GLOBS = st.lists(st.sampled_from(["*.csv", "/logs", "a & b?", "ü/**", "x=y"]), max_size=3).map(tuple)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    after, until = sorted((draw(PATHS), draw(PATHS)))
    count = draw(st.integers(1, 1000))
    return Part(
        draw(st.sampled_from(["s3://bucket", "s3://lab@bucket/a b/ü?x=1&y#z%41/", "s3://bucket/one.bin", "gs://b/k/"])),
        after=after,
        until=draw(st.sampled_from([until, ""])),
        include=draw(GLOBS),
        exclude=draw(GLOBS),
        index=draw(st.integers(0, count - 1)),
        count=count,
        files=draw(st.integers(0, 10**9)),
        size_bytes=draw(st.integers(0, 10**18)),
    )


@given(parts())
def test_a_part_is_the_same_after_its_text_json_a_pickle_and_a_copy(part: Part) -> None:
    text = json.loads(json.dumps(str(part)))
    assert text.isascii()
    assert not set(text) & set(" \"'\n<>\\")
    assert Part.parse(text) == part
    assert pickle.loads(pickle.dumps(part)) == copy.deepcopy(part) == part
    assert hash(Part.parse(text)) == hash(part)


def test_a_part_says_which_paths_belong_to_it() -> None:
    part = Part("s3://bucket/data", after="a/1.csv", until="b", exclude=("*.tmp",))
    paths = ["a/1.csv", "a/10.csv", "a/2.csv", "a/2.tmp", PurePosixPath("b"), "b/1.csv", ""]
    assert [path in part for path in paths] == [False, True, True, False, True, False, False]


def test_a_text_is_short_and_can_be_read() -> None:
    part = Part("s3://lab@bucket/data", after="a/1.csv", until="b/7.csv", index=2, count=16, files=120, size_bytes=5000)
    told = "part=3/16&after=a/1.csv&until=b/7.csv&files=120&bytes=5000"
    assert str(part) == f"part+s3://lab@bucket/data?{told}"
    assert Part.parse("part+s3://bucket/data") == Part("s3://bucket/data")


def test_a_part_never_holds_a_password_of_its_url() -> None:
    part = Part("s3://me:hunter2@bucket/data")
    assert part.url == "s3://me@bucket/data"
    assert "hunter2" not in repr(part) + str(part)


def test_a_part_cannot_be_changed() -> None:
    part = Part("s3://bucket/data")
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.after = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("s3://bucket/data", id="url"),
        pytest.param("part+s3://", id="no-bucket"),
        pytest.param("part+./data?part=1/2", id="local-path"),
        pytest.param("part+s3://bucket/data?part=3", id="no-count"),
        pytest.param("part+s3://bucket/data?part=3/2", id="beyond-the-count"),
        pytest.param("part+s3://bucket/data?part=0/2", id="counted-from-zero"),
        pytest.param("part+s3://bucket/data?after=b&until=a", id="wrong-way-round"),
        pytest.param("part+s3://bucket/data?after=a&after=b", id="twice"),
        pytest.param("part+s3://bucket/data?colour=red", id="unknown"),
        pytest.param("part+s3://bucket/data?after", id="no-value"),
        pytest.param("part+s3://bucket/data?files=-1", id="negative"),
        pytest.param("part+s3://bucket/data?after=%ff", id="not-utf8"),
        pytest.param("part+s3://bucket/%ff", id="url-not-utf8"),
        pytest.param("part+s3://bucket/data?bytes=many", id="no-number"),
        pytest.param("part+s3://bucket/data?include=", id="empty-glob"),
        pytest.param(None, id="none"),
    ],
)
def test_what_is_no_text_of_a_part_is_refused_in_one_error(text: Any) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match=r"is not the text of a part.*expected what str"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"after": None}, "after", id="after-none"),
        pytest.param({"until": b"x"}, "until", id="until-bytes"),
        pytest.param({"after": "\udc80"}, "after", id="after-not-utf8"),
        pytest.param({"after": "b", "until": "a"}, "until", id="wrong-way-round"),
        pytest.param({"index": 1}, "index", id="beyond-the-count"),
        pytest.param({"count": 0}, "index", id="no-parts"),
        pytest.param({"index": True, "count": 2}, "index", id="bool"),
        pytest.param({"size_bytes": -1}, "size_bytes", id="negative"),
        pytest.param({"files": 1.5}, "files", id="float"),
        pytest.param({"include": [""]}, "include", id="empty-glob"),
    ],
)
def test_a_value_that_cannot_be_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(pos3.InvalidArgumentError) as failure:
        Part("s3://bucket/data", **values)
    assert failure.value.argument == named
