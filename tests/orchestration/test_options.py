"""The options of a flow's mirror: who may say them, and who has the last word."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

import pos3
from pos3.orchestration import pos3_flow
from pos3.orchestration.runtime.flow_function import mirror_options_of
from tests.orchestration.conftest import Mirrors
from tests.support import S3Site


def test_each_option_is_that_of_the_last_one_who_said_it(
    rclone_site: S3Site, tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MAX_WORKERS", "CACHE_LIMIT", "SHUTDOWN_TIMEOUT", "CACHE_ROOT"):
        monkeypatch.setenv(f"POS3_{name}", {"CACHE_ROOT": str(tmp_path / "environment")}.get(name, "2"))

    @pos3_flow(
        mirror=pos3.MirrorOptions(max_workers=3, cache_limit=3, cache_root=tmp_path / "choice"),
        cache_limit=4,
        retries=1,
    )
    def learn() -> None:
        (pos3.upload(rclone_site.url("out")) / "file").write_text("x")

    runner = ThreadPoolTaskRunner(max_workers=1)
    changed = learn.with_options(mirror={"cache_root": tmp_path / "run"}, task_runner=runner, name="changed")
    assert (changed.name, changed.retries, changed.task_runner) == ("changed", 1, runner)
    changed()
    learn.with_options(description="the same mirror")()
    used = [(m.options.max_workers, m.options.cache_limit, m.options.shutdown_timeout) for m in mirrors.opened]
    assert used == [(3, 4, 2.0)] * 2
    assert [Path(m.cache_root).name for m in mirrors.opened] == ["run", "choice"]
    assert set(rclone_site.keys()) == {"out/file"}


CHOICES: dict[str, Any] = {
    "a dict": {"max_workers": 10, "show_progress": False},
    "MirrorOptions": pos3.MirrorOptions(max_workers=7, show_progress=False),
    "MirrorOptions that say the defaults": pos3.MirrorOptions(max_workers=10, show_progress=False),
    "MirrorOptions at their defaults": pos3.MirrorOptions(),
}


@pytest.mark.parametrize(
    ("choice", "workers", "shows"),
    [
        ("a dict", 10, False),
        ("MirrorOptions", 7, False),
        ("MirrorOptions that say the defaults", 10, False),
        ("MirrorOptions at their defaults", 2, True),
    ],
)
def test_the_environment_is_asked_for_what_nobody_said(
    choice: str, workers: int, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POS3_MAX_WORKERS", "2")
    monkeypatch.setenv("POS3_SHOW_PROGRESS", "true")
    for chosen in (pos3_flow(mirror=CHOICES[choice])(print), pos3_flow(print).with_options(mirror=CHOICES[choice])):
        options = mirror_options_of(chosen)
        assert (options.max_workers, options.show_progress) == (workers, shows)


def test_an_argument_of_the_decorator_wins_over_the_environment_though_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POS3_MAX_WORKERS", "2")
    monkeypatch.setenv("POS3_SHOW_PROGRESS", "true")
    said = mirror_options_of(pos3_flow(max_workers=10, show_progress=False)(print))
    assert (said.max_workers, said.show_progress) == (10, False)
    over = mirror_options_of(pos3_flow(mirror={"max_workers": 5}, max_workers=10)(print))
    assert (over.max_workers, over.given_workers, over.show_progress) == (10, 10, True)
    shown = inspect.signature(pos3_flow).parameters
    assert (repr(shown["max_workers"].default), repr(shown["show_progress"].default)) == ("10", "False")


def test_a_flow_without_options_is_silent_and_else_like_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mirror_options_of(pos3_flow(print)) == pos3.MirrorOptions(show_progress=False)
    assert mirror_options_of(flow(print)) == pos3.MirrorOptions(show_progress=False)
    assert mirror_options_of(pos3_flow(print)).given_workers is None


def test_a_flow_that_is_mirrored_twice_has_the_options_of_both() -> None:
    inner = pos3_flow(max_workers=3, cache_root="inner")(print)
    outer = mirror_options_of(pos3_flow(cache_root="outer")(inner))
    assert (outer.max_workers, outer.cache_root) == (3, "outer")


def test_a_pickled_flow_has_its_options() -> None:
    chosen = pos3_flow(max_workers=3)(lambda: None).with_options(name="x", mirror={"cache_limit": "1GB"})
    options = mirror_options_of(cloudpickle.loads(cloudpickle.dumps(chosen)))
    assert (options.max_workers, options.cache_limit) == (3, "1GB")


@pytest.mark.parametrize(
    ("choice", "said"),
    [({"cache": "x", "max_workers": 3}, "no option cache; the options are cache_root, "), (3, "mirror=3: expected")],
    ids=["an unknown option", "no options at all"],
)
def test_a_choice_that_cannot_be_meant_is_an_error_at_once(choice: Any, said: str) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match=said):
        pos3_flow(mirror=choice)
    with pytest.raises(pos3.InvalidArgumentError, match=said):
        pos3_flow(print).with_options(mirror=choice)


@pytest.mark.parametrize("choice", [{"max_workers": 0}, {"default_profile": "nobody"}], ids=str)
def test_a_value_that_cannot_work_fails_the_run(choice: dict[str, Any], mirrors: Mirrors) -> None:
    with pytest.raises(pos3.Pos3Error, match=r"max_workers=0|nobody"):
        pos3_flow(print).with_options(mirror=choice, name="unwilling")()
    assert not mirrors.still_open
