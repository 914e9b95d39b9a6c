"""``pos3 runs``: what flow runs have left below an output root."""

from __future__ import annotations

import json
import time
import types
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from pos3.cli import main
from tests.support import S3Site
from tests.support.program import Ran, run_program

OLD, NEW = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
OF_NO_RUN = ("outputs/learn/latest/model", "outputs/readme.txt", f"outputs/{OLD}", f"outputs-too/learn/{OLD}/model")


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    """An output root with an old run, a younger one, and what belongs to no run."""
    rclone_site.put_all({f"outputs/learn/{OLD}/model/a.pt": b"1234", f"outputs/learn/{OLD}/log/x": b"x"})
    rclone_site.put_all(dict.fromkeys(OF_NO_RUN, b"mine"))
    # Some servers round times to seconds.
    time.sleep(2.1)
    rclone_site.put(f"outputs/other flow/{NEW}/model/b", b"12")
    return rclone_site


def runs(command: str, *options: str) -> Ran:
    return run_program("runs", command, *options)


def listed(site: S3Site) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in runs("ls", site.url("outputs"), "--json").lines]
    return {each["run_id"]: each for each in found}


def test_ls_shows_what_each_run_has_left_the_oldest_first(site: S3Site) -> None:
    found = listed(site)
    assert list(found) == [OLD, NEW]
    assert found[OLD]["url"] == site.url(f"outputs/learn/{OLD}/")
    assert found[NEW]["url"] == site.url(f"outputs/other flow/{NEW}/")
    assert (found[OLD]["flow"], found[OLD]["files"], found[OLD]["size_bytes"]) == ("learn", 2, 5)
    assert abs(found[OLD]["changed_at"] - time.time()) < 120
    ran = runs("ls", f"{site.url('outputs')}/")
    assert ran.lines[0].split() == ["SIZE", "FILES", "CHANGED", "URL"]
    assert [line.split()[-1] for line in ran.lines[1:]] == [found[OLD]["url"], f"flow/{NEW}/"]
    assert ran.stderr == "pos3 runs ls: 2 runs, 7 B\n"


def test_where_no_run_has_left_anything_the_list_is_empty(site: S3Site) -> None:
    ran = runs("ls", site.url("nothing"))
    assert (ran.status, ran.lines) == (0, [])


@pytest.mark.parametrize("options", [[], ["-n", "--yes"]], ids=["by default", "despite --yes"])
def test_prune_only_prints_what_it_would_remove(options: list[str], site: S3Site) -> None:
    before = set(site.keys())
    ran = runs("prune", site.url("outputs"), "--older-than", "0s", *options)
    assert ran.status == 0
    assert [line.split("  (")[0] for line in ran.lines] == [f"delete: {each['url']}" for each in listed(site).values()]
    assert "would remove 7 B; --yes removes it" in ran.stderr
    assert set(site.keys()) == before


def test_prune_removes_old_runs_and_nothing_else(site: S3Site, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    changed_at = listed(site)[OLD]["changed_at"]
    in_an_hour = types.SimpleNamespace(time=lambda: changed_at + 3601, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr("pos3.cli.runs.time", in_an_hour)
    assert main(["runs", "prune", site.url("outputs"), "--older-than", "1h", "--yes"]) == 0
    out, error = capsys.readouterr()
    assert out.startswith(f"delete: {site.url(f'outputs/learn/{OLD}/')}  (5 B, last changed ")
    assert "removed 5 B" in error
    assert set(site.keys()) == {*OF_NO_RUN, f"outputs/other flow/{NEW}/model/b"}


def test_a_run_that_writes_meanwhile_is_kept_as_a_whole(
    site: S3Site, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from pos3.cli import runs as command

    really: Callable[..., bool] = command.remove_run

    def write_and_remove(store: Any, root: Any, run: Any) -> bool:
        site.put(f"outputs/{run.flow}/{run.run_id}/log/late", b"x")
        return really(store, root, run)

    monkeypatch.setattr(command, "remove_run", write_and_remove)
    time.sleep(1.1)
    assert main(["runs", "prune", site.url("outputs"), "--older-than", "0s", "--yes"]) == 0
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("has changed meanwhile, so it is kept") == 2
    assert len(site.keys(f"outputs/learn/{OLD}/")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "outputs"], "expected the output root as a URL such as s3://bucket/outputs, got 'outputs'"),
        (["prune", "s3://bucket/outputs"], "--older-than"),
        (["prune", "s3://bucket/outputs", "--older-than", "soon"], "'soon' is not an age"),
    ],
    ids=["no URL", "no age", "no such age"],
)
def test_wrong_usage_is_one_clear_error(arguments: list[str], message: str) -> None:
    ran = run_program("runs", *arguments)
    assert ran.status != 0
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
