"""Which registered places a task has to do with, told from the paths and URLs among its values."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pos3.orchestration.storing.task_data import TaskData

PLACES = (("s3://b/out", "/data/out"), ("s3://b/other", "/data/other"), ("s3://b/out-2", "/data/out-2"))
Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - an untyped one


@dataclass
class Config:
    inner: Any


class Model(BaseModel):
    inner: Any


@pytest.mark.parametrize(
    "value",
    [
        Path("/data/out"),
        Path("/data/out/a/b"),
        "/data/out",
        "/data/./out/",
        "s3://b/out",
        "s3://b/out/",
        "s3://lab@b/out/x",
        [("x", {"k": {"/data/out/x"}})],
        {Path("/data/out"): 1},
        Config(Model(inner=[Config(Path("/data/out"))])),
        Pair(1, "/data/out"),
        deque([OrderedDict(a="/data/out")]),
    ],
    ids=repr,
)
def test_a_place_is_named_by_a_path_in_it_at_any_depth(value: Any) -> None:
    assert TaskData((value, 3, None, "text", b"/data/other")).used_urls(PLACES) == {"s3://b/out"}


def test_a_directory_above_names_all_below_it() -> None:
    assert TaskData(("/data",)).used_urls([*PLACES, ("s3://b/away", "/away")]) == {url for url, _ in PLACES}


@pytest.mark.parametrize("value", [None, "out", "/", "", "/data-2", "s3://b/ou", "\0", "x" * 10_000, ["/elsewhere"]])
def test_who_names_none_means_all(value: Any) -> None:
    assert TaskData((value,)).used_urls(PLACES) == {url for url, _ in PLACES}


def test_relative_paths_and_links_lead_where_they_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [("s3://b/out", str(tmp_path / "out")), ("s3://b/other", str(tmp_path / "other"))]
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    for value in ("out", Path("out"), "./out/x", tmp_path / "link" / "x", "../" + tmp_path.name + "/out"):
        assert TaskData((value,)).used_urls(places) == {"s3://b/out"}
    monkeypatch.chdir("/")
    assert TaskData((Path(os.path.relpath(tmp_path / "out")),)).used_urls(places) == {"s3://b/out"}


def test_what_holds_itself_is_looked_at_once() -> None:
    value: list[Any] = ["/data/out"]
    value.append(value)
    assert TaskData((value,)).used_urls(PLACES) == {"s3://b/out"}


def test_a_million_values_take_seconds_at_most() -> None:
    began = time.perf_counter()
    TaskData(([float(number) for number in range(500_000)], [str(number) for number in range(500_000)])).used_urls(
        PLACES
    )
    assert time.perf_counter() - began < 5
