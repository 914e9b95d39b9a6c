"""Options of a mirror that the environment gives."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pos3
from pos3.cli import main
from tests.support import S3Site, contents
from tests.support.program import run_program

VALUES = {
    "POS3_CACHE_ROOT": "/data/cache",
    "POS3_SHOW_PROGRESS": "false",
    "POS3_MAX_WORKERS": "3",
    "POS3_DEFAULT_PROFILE": "lab",
    "POS3_MAX_UPLOAD_BYTES_PER_SECOND": "1e6",
    "POS3_CACHE_LIMIT": "50GB",
    "POS3_SHUTDOWN_TIMEOUT": "7.5",
    "POS3_MAX_DOWNLOAD_BYTES_PER_SECOND": "2e6",
}
ALL = pos3.MirrorOptions("/data/cache", False, 3, "lab", 1e6, "50GB", 7.5, max_download_bytes_per_second=2e6)


def test_every_option_has_its_variable() -> None:
    assert pos3.MirrorOptions().or_environment(VALUES) == ALL


def test_what_is_given_wins_over_the_environment() -> None:
    given = pos3.MirrorOptions(cache_root="here", max_workers=5)
    assert (given.or_environment(VALUES).cache_root, given.or_environment(VALUES).max_workers) == ("here", 5)


DEFAULTS = {item.name: getattr(pos3.MirrorOptions(), item.name) for item in dataclasses.fields(pos3.MirrorOptions)}


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_argument_that_equals_the_default_wins_over_the_environment(
    name: str, isolated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (isolated_home / "profiles.toml").write_text('[profiles.lab]\nendpoint = "http://127.0.0.1:9"\npublic = true\n')
    for variable, value in {**VALUES, "POS3_CACHE_ROOT": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    with pos3.mirror(**{name: DEFAULTS[name]}) as opened:
        options = opened.options
        assert getattr(options, name) == DEFAULTS[name]
        others = [other for other in DEFAULTS if other not in (name, "cache_root")]
        assert [getattr(options, other) for other in others] == [getattr(ALL, other) for other in others]

    @pos3.with_mirror(**{name: DEFAULTS[name]})
    def decorated() -> Any:
        mirror = pos3.current_mirror()
        assert isinstance(mirror, pos3.Mirror)
        return getattr(mirror.options, name)

    assert decorated() == DEFAULTS[name]


def test_recover_takes_the_cache_that_it_is_given_though_it_is_the_default(
    isolated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POS3_CACHE_ROOT", str(tmp_path / "elsewhere"))
    journals = isolated_home / ".cache/positronic/s3/.pos3/journal"
    journals.mkdir(parents=True)
    (journals / "left.jsonl").write_text("no journal\n")
    assert pos3.recover(show_progress=False) == []
    assert (journals / "left.jsonl").exists()
    assert pos3.recover(cache_root="~/.cache/positronic/s3/", show_progress=False) == []
    assert not (journals / "left.jsonl").exists()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda options: pickle.loads(pickle.dumps(options))])
def test_a_copy_of_options_knows_what_was_given(again: Callable[[pos3.MirrorOptions], pos3.MirrorOptions]) -> None:
    given = again(pos3.MirrorOptions(max_workers=10))
    assert given == pos3.MirrorOptions()
    assert hash(given) == hash(pos3.MirrorOptions())
    assert (given.given_workers, again(pos3.MirrorOptions()).given_workers) == (10, None)
    asked = given.or_environment(VALUES)
    assert (asked.max_workers, asked.cache_limit) == (10, "50GB")


def test_options_that_are_replaced_leave_the_others_to_the_environment() -> None:
    given = dataclasses.replace(pos3.MirrorOptions(max_workers=10), cache_root="here").or_environment(VALUES)
    assert (given.max_workers, given.cache_root, given.cache_limit) == (10, "here", "50GB")


def test_workers_that_are_given_are_told_from_those_that_are_not_even_where_they_equal_the_default() -> None:
    unset = pos3.MirrorOptions()
    assert unset.given_workers is None
    assert pos3.MirrorOptions(cache_root="here").giving(show_progress=False).given_workers is None
    assert unset.or_environment({"POS3_MAX_WORKERS": "10"}).given_workers == 10
    assert unset.giving(max_workers=10).given_workers == 10
    assert (unset.max_workers, unset) == (10, pos3.MirrorOptions(max_workers=10))


def test_options_are_plain_values_whether_they_were_given_or_not() -> None:
    options = pos3.MirrorOptions(max_workers=10)
    assert options.show_progress is True
    assert options.default_profile is None
    assert (type(options.max_workers), type(options.cache_root), type(options.shutdown_timeout)) == (int, str, float)
    assert repr(options) == (
        "MirrorOptions(cache_root='~/.cache/positronic/s3/', show_progress=True, max_workers=10, default_profile=None, "
        "max_upload_bytes_per_second=None, cache_limit=None, shutdown_timeout=25.0, output_root=None, "
        "max_download_bytes_per_second=None, offline=False)"
    )


@pytest.mark.parametrize("call", [pos3.mirror, pos3.with_mirror, pos3.open_mirror, pos3.recover])
def test_the_signature_shows_the_defaults_and_a_default_that_is_passed_on_says_nothing(
    call: Callable[..., Any],
) -> None:
    parameters = inspect.signature(call).parameters
    for name in parameters.keys() & DEFAULTS.keys():
        assert parameters[name].default == DEFAULTS[name]
        assert repr(parameters[name].default) == repr(DEFAULTS[name])
    shown = parameters["max_workers"].default
    assert pos3.MirrorOptions(max_workers=shown).or_environment(VALUES).max_workers == 3


def test_a_command_leaves_the_environment_as_it_is(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone_site.put("data/file", b"x")
    monkeypatch.setenv("POS3_MAX_WORKERS", "1")
    before = dict(os.environ)
    options = ["--max-workers", "10", "--cache-root", str(tmp_path / "cache")]
    assert main(["download", "-q", *options, rclone_site.url("data")]) == 0
    assert dict(os.environ) == before
    assert contents(tmp_path / "cache" / "_" / rclone_site.bucket / "data") == {"file": b"x"}


def test_an_empty_variable_counts_as_none() -> None:
    assert pos3.MirrorOptions().or_environment(dict.fromkeys(VALUES, "")) == pos3.MirrorOptions()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POS3_MAX_WORKERS", "many"),
        ("POS3_MAX_WORKERS", "1.5"),
        ("POS3_MAX_WORKERS", "0"),
        ("POS3_SHOW_PROGRESS", "perhaps"),
        ("POS3_SHUTDOWN_TIMEOUT", "1 min"),
        ("POS3_SHUTDOWN_TIMEOUT", "-1"),
        ("POS3_CACHE_LIMIT", "much"),
        ("POS3_MAX_UPLOAD_BYTES_PER_SECOND", "0"),
        ("POS3_MAX_DOWNLOAD_BYTES_PER_SECOND", "fast"),
        ("POS3_CACHE_ROOT", "s3://bucket/cache"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_its_variable(variable: str, value: str) -> None:
    with pytest.raises(pos3.InvalidArgumentError, match=f"^{variable}='{value}': (?!invalid literal|could not)"):
        pos3.MirrorOptions().or_environment({variable: value})


@pytest.mark.parametrize("options", [{"max_workers": 0}, {"shutdown_timeout": -1}, {"cache_limit": "much"}])
def test_a_limit_from_the_environment_is_checked_like_an_argument(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in options.items():
        monkeypatch.setenv(f"POS3_{name.upper()}", str(value))
    with pytest.raises(pos3.InvalidArgumentError, match=next(iter(options))), pos3.mirror():
        pass


def test_scripts_and_commands_use_the_cache_that_the_environment_names(
    rclone_site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone_site.put_all({"data/file": b"x"})
    monkeypatch.setenv("POS3_CACHE_ROOT", str(tmp_path / "cache"))
    with pos3.mirror(show_progress=False):
        path = pos3.download(rclone_site.url("data"))
    assert path.is_relative_to(tmp_path / "cache")
    assert str(path) in run_program("cache", "ls").stdout
