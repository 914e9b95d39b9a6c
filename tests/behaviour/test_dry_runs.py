"""A plan that would be refused is shown all the same, with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from tests.support import S3Site, contents, write_tree
from tests.support.program import run_program

FILES = {"a.txt": b"a", "b/c.txt": b"cc", "b/d/e.bin": b"eee"}


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({f"data/{name}": data for name, data in FILES.items()})
    return rclone_site


def opened(tmp_path: Path) -> pos3.mirror:
    return pos3.mirror(tmp_path / "cache", show_progress=False)


# -- in Python


def test_the_plan_of_a_download_into_a_foreign_directory_says_why_it_would_be_refused(
    s3: S3Site, tmp_path: Path
) -> None:
    s3.put("data/a", b"1")
    here = write_tree(tmp_path / "here", {"thesis": b"precious"})
    with opened(tmp_path):
        plan = pos3.plan_download(s3.url("data"), here)
        assert plan.to_copy == [(s3.url("data/a"), f"{here}/a")]
        assert plan.to_delete == [f"{here}/thesis"]
        with pytest.raises(pos3.PlanRefusedError) as refused:
            pos3.download(s3.url("data"), here)
        assert plan.refusal == str(refused.value)
        assert pos3.plan_download(s3.url("data"), here, adopt=True).refusal == ""
        kept = pos3.plan_download(s3.url("data"), here, delete=False)
        assert (kept.to_delete, kept.refusal) == ([], "")
    assert contents(here) == {"thesis": b"precious"}


def test_plans_obey_max_delete_both_ways(s3: S3Site, tmp_path: Path) -> None:
    s3.put_all({f"data/{name}": b"1" for name in "abc"})
    with opened(tmp_path):
        here = pos3.download(s3.url("data"), tmp_path / "here")
    write_tree(here, {"x": b"", "y": b""})
    with opened(tmp_path):
        down = pos3.plan_download(s3.url("data"), here, max_delete=1)
        assert len(down.to_delete) == 2
        assert "would delete 2 of 5 files" in down.refusal
        assert pos3.plan_download(s3.url("data"), here, max_delete="50%").refusal == ""
    for name in "abc":
        (here / name).unlink()
    with opened(tmp_path):
        up = pos3.plan_upload(s3.url("data"), here, max_delete=2)
        assert (len(up.to_copy), len(up.to_delete)) == (2, 3)
        assert "would delete 3 of 3 files" in up.refusal
        kept = pos3.plan_upload(s3.url("data"), here, max_delete=2, delete=False)
        assert (kept.to_delete, kept.refusal) == ([], "")
    assert set(s3.objects("data/")) == set("abc")


def test_all_that_would_be_refused_is_told_at_once(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"x": b""})
    with opened(tmp_path):
        refusal = pos3.plan_download(site.url("data"), here, max_delete=0).refusal
    assert "adopt=True" in refusal
    assert "max_delete=0" in refusal


def test_a_plan_with_a_limit_that_cannot_be_is_an_error(site: S3Site, tmp_path: Path) -> None:
    for plan in (pos3.plan_download, pos3.plan_upload):
        with opened(tmp_path), pytest.raises(pos3.InvalidArgumentError, match="max_delete"):
            plan(site.url("data"), max_delete="half")


@pytest.mark.parametrize(
    ("plan", "call", "others"),
    [
        pytest.param(pos3.plan_download, pos3.download, set(), id="download"),
        pytest.param(pos3.plan_upload, pos3.upload, {"interval", "watch", "sync_on_error", "fresh"}, id="upload"),
    ],
)
def test_plans_take_the_arguments_of_what_they_plan(
    plan: Callable[..., object], call: Callable[..., object], others: set[str]
) -> None:
    planned, real = (inspect.signature(function).parameters for function in (plan, call))
    assert set(planned) == set(real) - others
    assert {name: planned[name].default for name in planned} == {name: real[name].default for name in planned}


def test_what_is_an_error_and_no_refusal_is_raised_by_a_plan_too(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"odd//key": b"", **{f"data/{name}": data for name, data in FILES.items()}})
    write_tree(tmp_path, {"here/x": b""})
    with opened(tmp_path):
        with pytest.raises(pos3.UnsafeKeysError):
            pos3.plan_download(moto_site.url("odd"))
        with pytest.raises(pos3.ConflictError, match="is one object"):
            pos3.plan_download(moto_site.url("data/a.txt"), tmp_path / "here")
        with pytest.raises(pos3.RemoteNotFoundError):
            pos3.plan_download(moto_site.url("nothing"))
        with pytest.raises(pos3.IncompleteSetError, match="_SUCCESS: the marker does not exist"):
            pos3.plan_download(moto_site.url("data"), require_marker="_SUCCESS")
        assert pos3.plan_download(moto_site.url("nothing"), missing_ok=True) == pos3.TransferPlan([], [])
        with pytest.raises(pos3.BucketNotFoundError):
            pos3.plan_download("s3://no-such-bucket-of-pos3/x", missing_ok=True)
    moto_site.put("data/_SUCCESS", b"")
    with opened(tmp_path):
        assert len(pos3.plan_download(moto_site.url("data"), require_marker="_SUCCESS").to_copy) == 4


# -- on the command line


@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_a_dry_run_into_a_foreign_directory_shows_the_plan_and_what_would_be_refused(
    site: S3Site, tmp_path: Path, as_json: bool
) -> None:
    here = write_tree(tmp_path / "here", {"thesis": b"precious"})
    arguments = ["download", "-n", "-q", "--delete", site.url("data"), "--local", here]
    ran = run_program(*arguments, *(["--json"] if as_json else []))
    assert ran.status == 0
    told, *reason = ran.stderr.splitlines()
    assert told == "pos3 download: the real run would be refused:"
    assert "--adopt" in "".join(reason)
    if as_json:
        [plan] = ran.objects
        assert len(plan["copy"]) == 3
        assert [item["target"] for item in plan["delete"]] == [f"{here}/thesis"]
        assert "adopt=True" in plan["refusal"]
    else:
        assert len(ran.lines) == 4
        assert ran.lines[-1] == f"delete: {here}/thesis  (not in the source)"
    assert contents(here) == {"thesis": b"precious"}
    real = run_program("download", "--delete", site.url("data"), "--local", here)
    assert (real.status, real.stdout) == (1, "")


def test_a_dry_run_that_would_be_carried_out_says_nothing_of_a_refusal(site: S3Site, tmp_path: Path) -> None:
    ran = run_program("download", "-n", "--delete", site.url("data"), "--local", tmp_path / "here", "--json")
    assert ran.status == 0
    assert ran.stderr == ""
    assert (ran.objects[0]["refusal"], ran.objects[0]["problems"]) == ("", [])


@pytest.mark.parametrize("command", ["download", "upload"])
def test_a_dry_run_shows_what_max_delete_would_refuse(site: S3Site, tmp_path: Path, command: str) -> None:
    here = write_tree(tmp_path / "here", {"x": b"", "y": b""})
    options = ["--delete", "--max-delete", "1", *(["--adopt"] if command == "download" else [])]
    ran = run_program(command, "-n", *options, site.url("data"), "--local", here)
    assert ran.status == 0
    assert len([line for line in ran.lines if line.startswith("delete: ")]) == (2 if command == "download" else 3)
    assert "would delete" in ran.stderr
    assert "--max-delete" in ran.stderr
    assert run_program(command, *options, site.url("data"), "--local", here).status == 1


def test_a_dry_run_of_a_sync_shows_conflicts_and_too_many_deletes(site: S3Site, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with pos3.mirror(show_progress=False):
        pos3.sync(site.url("data"), here, interval=None)
    (here / "b" / "c.txt").unlink()
    options = ["sync", site.url("data"), "--local", here, "--delete-remote", "--max-delete", "0"]
    ran = run_program(*options, "-n")
    assert (ran.status, len(ran.lines)) == (0, 1)
    assert "would delete 1 of 3 files" in ran.stderr
    assert run_program(*options).status == 1

    site.put("data/a.txt", b"theirs")
    (here / "a.txt").write_bytes(b"ours")
    ran = run_program(*options, "-n", "--json")
    assert ran.status == 0
    assert "a.txt" in ran.objects[0]["refusal"]
    assert "would delete 1 of 3 files" in ran.objects[0]["refusal"]
    assert "changed on both sides" in ran.stderr
    refused = run_program(*options)
    assert (refused.status, refused.stdout) == (1, "")
    assert "changed on both sides" in refused.stderr
    assert site.objects("data/") == FILES | {"a.txt": b"theirs"}
