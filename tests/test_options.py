"""Options of a mirror that the environment gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pos3
from tests.support import S3Site
from tests.support.program import run_program

VALUES = {
    "POS3_CACHE_ROOT": "/data/cache",
    "POS3_SHOW_PROGRESS": "false",
    "POS3_MAX_WORKERS": "3",
    "POS3_DEFAULT_PROFILE": "lab",
    "POS3_MAX_UPLOAD_BYTES_PER_SECOND": "1e6",
    "POS3_CACHE_LIMIT": "50GB",
    "POS3_SHUTDOWN_TIMEOUT": "7.5",
}
ALL = pos3.MirrorOptions("/data/cache", False, 3, "lab", 1e6, "50GB", 7.5)


def test_every_option_has_its_variable() -> None:
    assert pos3.MirrorOptions().or_environment(VALUES) == ALL


def test_what_is_given_wins_over_the_environment() -> None:
    given = pos3.MirrorOptions(cache_root="here", max_workers=5)
    assert (given.or_environment(VALUES).cache_root, given.or_environment(VALUES).max_workers) == ("here", 5)


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
