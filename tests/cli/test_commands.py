"""The command line as scripts and people use it: a real process against a real server."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pos3
from pos3.options import variable_of
from tests.support import Fault, Hang, Latency, Proxy, S3Site, Status, contents, on, write_tree
from tests.support.program import ROOT, ended, run_program, start_program

FILES = {"a.txt": b"a", "b/c.txt": b"cc", "b/d/e.bin": b"eee"}
PutBefore = Callable[..., Proxy]


@pytest.fixture
def site(rclone_site: S3Site) -> S3Site:
    rclone_site.put_all({f"data/{name}": data for name, data in FILES.items()})
    return rclone_site


# What the forms of 0.4.0 do


def test_download_prints_the_local_path_and_nothing_else(site: S3Site, tmp_path: Path) -> None:
    ran = run_program("download", site.url("data/"), "--local", tmp_path / "here")
    assert (ran.status, ran.stdout) == (0, f"{tmp_path}/here\n")
    assert contents(tmp_path / "here") == FILES


def test_a_single_object_is_downloaded_to_the_path_that_is_printed(site: S3Site, tmp_path: Path) -> None:
    ran = run_program("download", site.url("data/b/c.txt"), "--cache-root", tmp_path)
    assert ran.status == 0
    assert Path(ran.stdout.rstrip("\n")).read_bytes() == b"cc"


def test_without_local_upload_takes_what_download_left_in_the_cache(site: S3Site, isolated_home: Path) -> None:
    path = Path(run_program("download", site.url("data/")).stdout.rstrip("\n"))
    assert path == isolated_home / ".cache/positronic/s3/_" / site.bucket / "data"
    (path / "new").write_bytes(b"new")
    ran = run_program("upload", site.url("data/"))
    assert (ran.status, ran.stdout) == (0, "")
    assert site.objects("data/") == FILES | {"new": b"new"}


def test_upload_stores_the_tree_and_prints_nothing_on_stdout(site: S3Site, tmp_path: Path) -> None:
    ran = run_program("upload", site.url("out"), "--local", write_tree(tmp_path / "out", FILES))
    assert (ran.status, ran.stdout) == (0, "")
    assert site.objects("out/") == FILES


@pytest.mark.parametrize("options", [[], ["-n"], ["--delete"]], ids=["plain", "dry run", "delete"])
def test_upload_of_a_missing_path_fails_and_changes_nothing(site: S3Site, tmp_path: Path, options: list[str]) -> None:
    ran = run_program("upload", site.url("data"), "--local", tmp_path / "typo", *options)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr == f"pos3 upload: source path does not exist: {tmp_path}/typo\n"
    assert not (tmp_path / "typo").exists()
    assert site.objects("data/") == FILES


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param([], ["a.txt", "b"], id="one level"),
        pytest.param(["-r"], ["a.txt", "b", "b/c.txt", "b/d", "b/d/e.bin"], id="recursive"),
    ],
)
def test_ls_prints_one_url_a_line(site: S3Site, options: list[str], names: list[str]) -> None:
    ran = run_program("ls", *options, site.url("data/"))
    assert (ran.status, ran.lines, ran.stderr) == (0, [site.url(f"data/{name}") for name in names], "")
    as_json = run_program("ls", "--json", *options, site.url("data/"))
    assert as_json.objects == [{"url": site.url(f"data/{name}")} for name in names]


def test_ls_of_a_local_directory_prints_local_paths(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree", FILES)
    assert run_program("ls", root).lines == [f"{root}/a.txt", f"{root}/b"]
    assert run_program("ls", "--json", root).objects == [{"path": f"{root}/a.txt"}, {"path": f"{root}/b"}]


def test_ls_of_a_local_file_prints_its_path_and_of_nothing_is_an_error(tmp_path: Path) -> None:
    path = write_tree(tmp_path / "tree", FILES) / "a.txt"
    assert run_program("ls", path).lines == [str(path)]
    ran = run_program("ls", "bucket/data")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr == "pos3 ls: no such local path: bucket/data (a URL begins with s3://)\n"


def test_ls_of_a_name_that_is_no_utf8_prints_its_bytes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    with open(path, "wb"):
        pass
    assert os.fsencode(run_program("ls", tmp_path).stdout) == path + b"\n"


@pytest.mark.parametrize("direction", ["download", "upload"])
def test_nothing_is_deleted_unless_asked_for(site: S3Site, tmp_path: Path, direction: str) -> None:
    here = write_tree(tmp_path / "here", {"a.txt": b"a", "only-here": b"x"})
    arguments = (direction, site.url("data"), "--local", here)
    assert run_program(*arguments).status == 0
    assert (here / "only-here").exists()
    assert "data/b/c.txt" in site.keys()
    (here / "more-here").touch()
    site.put("data/more-there")
    assert run_program(*arguments, "--delete").status == 0
    assert (here / "more-here").exists() == (direction == "upload")
    assert ("data/more-there" in site.keys()) == (direction == "download")


@pytest.mark.parametrize("command", ["download", "upload", "sync"])
def test_a_local_path_in_place_of_the_url_is_refused(tmp_path: Path, command: str) -> None:
    ran = run_program(command, tmp_path)
    assert (ran.status, ran.stdout) == (1, "")
    hint = f"a local path goes with --local: pos3 {command} s3://BUCKET/KEY --local {tmp_path}"
    assert ran.stderr == f"pos3 {command}: url must be an s3:// URL, got: {tmp_path}; {hint}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param("upload ./my-data s3://b/k", "pos3 upload s3://b/k --local ./my-data", id="path first"),
        pytest.param("download s3://b/k ./my-data", "pos3 download s3://b/k --local ./my-data", id="URL first"),
        pytest.param(
            "sync -n 'my data' --exclude '*.tmp' s3://b/k", "--local 'my data' -n --exclude '*.tmp'", id="options"
        ),
        pytest.param("upload my-data my-data", "not between two local paths", id="two paths"),
        pytest.param("download s3://b/k s3://b/l", "not between two URLs", id="two URLs"),
        pytest.param(
            "upload my-data s3://me:hunter2@b/k", "pos3 upload 's3://me:***@b/k' --local my-data", id="secret"
        ),
    ],
)
def test_two_places_are_answered_with_the_command_that_was_meant(words: str, told: str) -> None:
    ran = run_program(*shlex.split(words))
    assert (ran.status, ran.stdout) == (2, "")
    assert re.fullmatch(r"pos3 \w+: error: [^\n]+\n", ran.stderr)
    assert told in ran.stderr
    assert "hunter2" not in ran.stderr


def test_the_command_that_was_meant_works(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "my data", FILES)
    refused = run_program("upload", here, site.url("out"), "--exclude", "*.bin")
    meant = shlex.split(refused.stderr.partition(" --local: ")[2])
    assert meant[0] == "pos3"
    assert run_program(*meant[1:]).status == 0
    assert site.objects("out/").keys() == {"a.txt", "b/c.txt"}


def test_a_mistyped_option_is_answered_in_two_lines() -> None:
    ran = run_program("download", "s3://bucket/key", "--dry_run")
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr == (
        "usage: pos3 download [OPTIONS] URL [--local PATH]\n"
        "pos3 download: error: unrecognized arguments: --dry_run; did you mean --dry-run?\n"
    )


# Profiles


@pytest.fixture
def profile(site: S3Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """A profile in the profiles file is the only way to the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    home = Path(os.environ["HOME"])
    keys = f"aws_access_key_id = {site.server.access_key}\naws_secret_access_key = {site.server.secret_key}\n"
    (home / "acme.creds").write_text(f"[acme]\n{keys}")
    (home / "profiles.toml").write_text(
        f'[profiles.acme]\nendpoint = "{site.server.endpoint_url}"\ncredentials_file = "acme.creds"\n'
        '[profiles.other]\nendpoint = "http://127.0.0.1:1"\n'
    )
    return "acme"


@pytest.mark.parametrize("command", ["ls", "download", "upload", "sync"])
def test_a_profile_is_chosen_by_option_and_the_url_wins(
    site: S3Site, profile: str, isolated_home: Path, command: str
) -> None:
    cached = write_tree(isolated_home / ".cache/positronic/s3/acme" / site.bucket / "data", FILES)
    by_option = run_program(command, site.url("data/"), "--profile", profile)
    assert by_option.status == 0, by_option.stderr
    by_url = run_program(command, f"s3://{profile}@{site.bucket}/data/", "--profile", "other")
    assert by_url.status == 0, by_url.stderr
    assert by_url.stdout == by_option.stdout
    if command in ("download", "sync"):
        assert by_url.stdout == f"{cached}\n"


def test_an_unknown_profile_is_an_error_that_lists_the_known_ones(site: S3Site, profile: str) -> None:
    ran = run_program("ls", f"s3://acne@{site.bucket}/data/")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.startswith("pos3 ls: unknown profile 'acne' (known: acme, other)")


def test_without_local_upload_takes_the_directory_of_the_default_profile(
    site: S3Site, profile: str, isolated_home: Path
) -> None:
    write_tree(isolated_home / ".cache/positronic/s3/acme" / site.bucket / "out", FILES)
    ran = run_program("upload", f"s3://{site.bucket}/out", POS3_DEFAULT_PROFILE=profile)
    assert ran.status == 0, ran.stderr
    assert site.objects("out/") == FILES


# Plans


def test_a_dry_run_prints_each_action_with_its_reason_and_changes_nothing(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a.txt": b"other", "only-here": b"x"})
    there = site.url("data")
    down = run_program("download", "-n", "--delete", "--adopt", there, "--local", here, "--cache-root", tmp_path / "c")
    assert down.status == 0
    assert down.lines == [
        f"download: {there}/a.txt to {here}/a.txt  (different size)",
        f"download: {there}/b/c.txt to {here}/b/c.txt  (new)",
        f"download: {there}/b/d/e.bin to {here}/b/d/e.bin  (new)",
        f"delete: {here}/only-here  (not in the source)",
    ]
    up = run_program("upload", "-n", "--delete", there, "--local", here, "--cache-root", tmp_path / "c")
    assert up.status == 0
    assert up.lines == [
        f"upload: {here}/a.txt to {there}/a.txt  (different size)",
        f"upload: {here}/only-here to {there}/only-here  (new)",
        f"delete: {there}/b/c.txt  (not in the source)",
        f"delete: {there}/b/d/e.bin  (not in the source)",
    ]
    assert contents(here) == {"a.txt": b"other", "only-here": b"x"}
    assert site.objects("data/") == FILES


@pytest.mark.parametrize("direction", ["download", "upload"])
def test_a_dry_run_without_delete_plans_no_deletes(site: S3Site, tmp_path: Path, direction: str) -> None:
    here = write_tree(tmp_path / "here", {"only-here": b"x"})
    ran = run_program(direction, "--dry-run", site.url("data"), "--local", here)
    assert ran.lines
    assert {line.partition(":")[0] for line in ran.lines} == {direction}


def test_a_dry_run_creates_no_directory(site: S3Site, tmp_path: Path) -> None:
    options = ["--local", tmp_path / "here", "--cache-root", tmp_path / "cache"]
    assert run_program("download", "-n", site.url("data"), *options).status == 0
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_what_is_up_to_date_prints_nothing(site: S3Site, tmp_path: Path) -> None:
    assert run_program("download", site.url("data"), "--local", tmp_path / "here").status == 0
    for direction in ("download", "upload"):
        ran = run_program(direction, "-n", "--delete", site.url("data"), "--local", tmp_path / "here")
        assert (ran.status, ran.stdout) == (0, "")


@pytest.mark.parametrize("option", ["-n", "--json"], ids=["dry run", "for real"])
def test_empty_directories_are_part_of_the_plan(moto_site: S3Site, tmp_path: Path, option: str) -> None:
    here = write_tree(tmp_path / "here", {"void/": b""})
    ran = run_program("upload", option, moto_site.url("out"), "--local", here)
    assert ran.status == 0
    if option == "-n":
        assert ran.lines == [f"create: {moto_site.url('out/void/')}  (empty directory)"]
        assert moto_site.keys() == {}
    else:
        assert list(moto_site.keys()) == ["out/void/"]


def test_a_plan_as_json_is_one_object(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a.txt": b"other", "only-here": b"x"})
    os.mkfifo(here / "pipe")
    ran = run_program("upload", "-n", "--json", "--delete", "--exclude", "b/", site.url("data"), "--local", here)
    assert ran.status == 0
    assert ran.objects == [
        {
            "url": site.url("data"),
            "path": str(here),
            "copy": [
                {"source": f"{here}/a.txt", "destination": site.url("data/a.txt"), "reason": "different size"},
                {"source": f"{here}/only-here", "destination": site.url("data/only-here"), "reason": "new"},
            ],
            "delete": [],
            "create": [],
            "kept": [{"path": "pipe", "reason": "a FIFO"}],
            "problems": [],
            "refusal": "",
        }
    ]
    assert "pipe: a FIFO" in ran.stderr


def test_a_dry_run_says_what_max_delete_would_refuse(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a.txt": b"a"})
    ran = run_program("upload", "-n", "--delete", "--max-delete", "1", site.url("data"), "--local", here)
    assert ran.status == 0
    assert len(ran.lines) == 2
    assert "would delete 2 of 3" in ran.stderr


@pytest.mark.parametrize(
    ("key", "name", "told"),
    [
        pytest.param("data/b/c.txt", "directory", "is a directory, and the URL is that of one object", id="object"),
        pytest.param("data/b", "file", "is a file, and the URL is that of a prefix", id="prefix"),
    ],
)
def test_a_local_path_of_the_other_kind_is_told_as_such(
    site: S3Site, tmp_path: Path, key: str, name: str, told: str
) -> None:
    write_tree(tmp_path, {"directory/x": b"x", "file": b"x"})
    ran = run_program("download", site.url(key), "--local", tmp_path / name)
    assert (ran.status, ran.stdout) == (1, "")
    assert f"the local path {told}" in ran.stderr
    assert contents(tmp_path) == {"directory/x": b"x", "file": b"x"}


@pytest.mark.parametrize("options", [[], ["-n"], ["--delete"], ["--delete", "-n"]], ids=" ".join)
def test_one_object_is_not_put_where_a_directory_is_written_or_planned_to_be(
    site: S3Site, tmp_path: Path, options: list[str]
) -> None:
    ran = run_program("download", *options, site.url("data/b/c.txt"), "--local", f"{tmp_path}/here/")
    assert (ran.status, ran.stdout) == (1, "")
    assert f"name the file, such as {tmp_path}/here/c.txt" in ran.stderr
    assert contents(tmp_path) == {}


# Options


def test_the_report_as_json_says_what_was_moved(site: S3Site, tmp_path: Path) -> None:
    ran = run_program("download", "--json", site.url("data"), "--local", tmp_path / "here")
    (found,) = ran.objects
    report = found.pop("report")
    assert found == {"url": site.url("data"), "path": str(tmp_path / "here")}
    assert (report["downloaded_files"], report["downloaded_bytes"], report["failures"]) == (3, 6, [])
    (again,) = run_program("upload", "--json", site.url("data"), "--local", tmp_path / "here").objects
    assert (again["report"]["uploaded_files"], again["report"]["unchanged"]) == (0, 3)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param(["--exclude", "*.txt"], {"b/d/e.bin"}, id="one pattern"),
        pytest.param(["--exclude", "a*", "--exclude", "d/"], {"b/c.txt"}, id="two patterns"),
        pytest.param(["--include", "*.txt"], {"a.txt", "b/c.txt"}, id="include"),
        pytest.param(["--include", "*.txt", "--exclude", "b/"], {"a.txt"}, id="include and exclude"),
    ],
)
def test_only_what_is_chosen_is_transferred(site: S3Site, tmp_path: Path, options: list[str], names: set[str]) -> None:
    assert run_program("download", *options, site.url("data"), "--local", tmp_path / "here").status == 0
    assert contents(tmp_path / "here").keys() == names
    here = write_tree(tmp_path / "tree", FILES)
    assert run_program("upload", *options, site.url("out"), "--local", here).status == 0
    assert site.objects("out/").keys() == names


def test_max_delete_refuses_before_anything_is_changed(site: S3Site, tmp_path: Path) -> None:
    assert run_program("download", site.url("data"), "--local", tmp_path / "here").status == 0
    for name in ("a.txt", "b/c.txt"):
        site.delete(f"data/{name}")
    arguments = ["download", "--delete", site.url("data"), "--local", tmp_path / "here"]
    refused = run_program(*arguments, "--max-delete", "50%")
    assert (refused.status, refused.stdout) == (1, "")
    assert "would delete 2 of 3 files" in refused.stderr
    assert contents(tmp_path / "here") == FILES
    assert run_program(*arguments, "--max-delete", "2").status == 0
    assert contents(tmp_path / "here").keys() == {"b/d/e.bin"}


def test_delete_in_a_strange_directory_needs_adopt(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"precious": b"x"})
    arguments = ["download", "--delete", site.url("data"), "--local", here]
    refused = run_program(*arguments)
    assert (refused.status, refused.stdout) == (1, "")
    assert "--adopt" in refused.stderr
    assert contents(here) == {"precious": b"x"}
    assert run_program(*arguments, "--adopt").status == 0
    assert contents(here) == FILES


@pytest.mark.parametrize("dry", [[], ["-n"]], ids=["for real", "dry run"])
def test_missing_ok_makes_nothing_at_the_url_a_success(site: S3Site, tmp_path: Path, dry: list[str]) -> None:
    arguments = ["download", *dry, site.url("nothing"), "--local", tmp_path / "here"]
    refused = run_program(*arguments)
    assert (refused.status, refused.stdout) == (1, "")
    assert site.url("nothing") in refused.stderr
    ran = run_program(*arguments, "--missing-ok")
    assert (ran.status, ran.stdout) == (0, "" if dry else f"{tmp_path}/here\n")
    assert (tmp_path / "here").exists() == (not dry)


@pytest.mark.parametrize("dry", [[], ["-n"]], ids=["for real", "dry run"])
def test_missing_ok_does_not_hide_a_missing_bucket(site: S3Site, tmp_path: Path, dry: list[str]) -> None:
    ran = run_program("download", *dry, "--missing-ok", "s3://no-such-bucket/x", "--local", tmp_path / "here")
    assert (ran.status, ran.stdout) == (1, "")
    assert "no-such-bucket" in ran.stderr


def test_upload_last_puts_the_marker_after_the_data(site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxy = proxied(site)
    here = write_tree(tmp_path / "here", {"_SUCCESS": b"", **{f"part-{number}": b"x" for number in range(20)}})
    assert run_program("upload", "--upload-last", "_SUCCESS", site.url("out"), "--local", here).status == 0
    puts = [request.key for request in proxy.requests if request.kind == "PUT"]
    # One that the server has refused for a moment comes twice.
    assert (len(set(puts)), puts.index("out/_SUCCESS")) == (21, len([key for key in puts if key != "out/_SUCCESS"]))


def test_what_is_given_wins_over_the_environment_even_where_it_is_the_default(
    site: S3Site, isolated_home: Path, proxied: PutBefore
) -> None:
    proxy = proxied(site, Latency(match=on("GET"), seconds=0.2))
    environment = {"POS3_CACHE_ROOT": str(isolated_home / "elsewhere"), "POS3_MAX_WORKERS": "1"}
    options = ["--cache-root", "~/.cache/positronic/s3/", "--max-workers", "10"]
    ran = run_program("download", *options, site.url("data"), **environment)
    assert ran.stdout == f"{isolated_home}/.cache/positronic/s3/_/{site.bucket}/data\n"
    assert proxy.peak > 1


def test_compare_decides_what_counts_as_changed(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a.txt": b"A"})
    by_size, by_content = (
        run_program("upload", "-n", "--compare", how, site.url("data"), "--local", here) for how in ("size", "checksum")
    )
    assert by_size.stdout == ""
    assert by_content.lines == [f"upload: {here}/a.txt to {site.url('data/a.txt')}  (content not proven equal)"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], r"pos3 download: 3 downloaded \(6 B\) in \d+\.\d s\n", id="a summary"),
        pytest.param(["--quiet"], "", id="quiet"),
    ],
)
def test_stderr_holds_a_summary_unless_quiet(site: S3Site, tmp_path: Path, options: list[str], expected: str) -> None:
    ran = run_program("download", *options, site.url("data"), "--local", tmp_path / "here")
    assert re.fullmatch(expected, ran.stderr)


@pytest.mark.parametrize("command", ["download", "upload", "sync"])
def test_the_time_that_is_printed_is_that_of_the_whole_command(
    site: S3Site, tmp_path: Path, proxied: PutBefore, command: str
) -> None:
    here = write_tree(tmp_path / "here", FILES)
    proxied(site, Latency(match=on("LIST"), seconds=0.7))
    began = time.monotonic()
    ran = run_program(command, "--json", site.url("data"), "--local", here)
    took = time.monotonic() - began
    (found,) = ran.objects
    assert 0.7 <= found["report"]["duration_seconds"] <= took
    assert f" in {found['report']['duration_seconds']:.1f} s\n" in ran.stderr


# Failures


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        pytest.param(["ls", "s3://no-such-bucket-here/"], {}, "no-such-bucket-here", id="missing bucket"),
        pytest.param(["ls", "s3://no-such-bucket-here/x"], {}, "no-such-bucket-here", id="prefix of a missing bucket"),
        pytest.param(["download", "s3://"], {}, "names no bucket", id="no bucket in the URL"),
        pytest.param(["ls", "http://127.0.0.1:9000/bucket/x"], {}, "AWS_ENDPOINT_URL", id="address of a server"),
        pytest.param(["ls", "S3://bucket/"], {}, "lower case", id="scheme in capitals"),
        pytest.param(["download", "s3://{bucket}/nothing"], {}, "/nothing: there is no object", id="missing prefix"),
        pytest.param(["ls", "s3://{bucket}/"], {"AWS_SECRET_ACCESS_KEY": "wrong"}, "{bucket}", id="wrong credentials"),
        pytest.param(
            ["ls", "s3://{bucket}/"],
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "127.0.0.1:9",
            id="nobody at the endpoint",
        ),
        pytest.param(
            ["download", "s3://{bucket}/data", "--local", "/dev/null/x"], {}, "/dev/null/x", id="impossible local path"
        ),
        pytest.param(["download", "s3://{bucket}/data", "--exclude", ""], {}, "exclude", id="empty pattern"),
        pytest.param(
            ["upload", "s3://{bucket}/x", "--local", ".", "--exclude", "../x"],
            {},
            "--exclude='../x' matches nothing",
            id="pattern that leads out",
        ),
        pytest.param(["ls", '"s3://{bucket}/data"'], {}, "looks like a damaged URL", id="URL in quotes"),
        pytest.param(["download", "s3//{bucket}/data"], {}, "looks like a damaged URL", id="URL without its colon"),
        pytest.param(["upload", " s3://{bucket}/data"], {}, "looks like a damaged URL", id="blank before the URL"),
        pytest.param(["sync", "<s3://{bucket}/data>"], {}, "looks like a damaged URL", id="URL in brackets"),
        pytest.param(
            ["ls", "s3://{bucket}/"],
            {"POS3_MAX_WORKERS": "abc"},
            "POS3_MAX_WORKERS='abc': expected a whole number",
            id="workers in words",
        ),
        pytest.param(
            ["ls", "s3://{bucket}/"],
            {"AWS_PROFILE": "nope"},
            "AWS_PROFILE='nope': there is no such profile",
            id="unknown AWS profile",
        ),
        pytest.param(["download", "s3://{bucket}/data", "--local", ""], {}, "local", id="empty local path"),
        pytest.param(
            ["download", "s3://{bucket}/data", "--cache-root", "/dev/null"], {}, "/dev/null", id="impossible cache root"
        ),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_status_1(
    site: S3Site, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    ran = run_program(*(argument.format(bucket=site.bucket) for argument in arguments), **environment)
    assert (ran.status, ran.stdout) == (1, "")
    assert re.fullmatch(f"pos3 {arguments[0]}: [^\n]+\n", ran.stderr)
    assert message.format(bucket=site.bucket) in ran.stderr


def test_the_refusal_of_a_strange_directory_names_options_that_the_command_has(site: S3Site, tmp_path: Path) -> None:
    here = write_tree(tmp_path / "here", {"a.txt": b"my own"})
    refused = run_program("download", "--delete", site.url("data"), "--local", here)
    for choice in ("--local downloads to", "with no --delete, nothing is deleted", "--exclude", "--adopt replaces"):
        assert choice in refused.stderr
    assert "delete=" not in refused.stderr
    assert contents(here) == {"a.txt": b"my own"}


@pytest.mark.parametrize("before", [["-q"], ["--quiet"], ["-v"], ["-q", "-v"]], ids=" ".join)
def test_how_much_is_told_can_be_said_before_the_command(site: S3Site, tmp_path: Path, before: list[str]) -> None:
    cache = ["--cache-root", tmp_path]
    ran = run_program(*before, "download", site.url("data"), "--local", tmp_path / "here", *cache)
    assert (ran.status, ran.stdout) == (0, f"{tmp_path / 'here'}\n")
    assert (ran.stderr == "") == (before in (["-q"], ["--quiet"]))
    assert run_program(*before, "ls", site.url("data")).status == 0
    assert run_program(*before, "cache", "ls", *cache).status == 0
    assert run_program("cache", *before, "ls", *cache).status == 0


def test_verbose_adds_the_traceback(site: S3Site) -> None:
    ran = run_program("download", "-v", site.url("nothing"))
    assert ran.status == 1
    assert "Traceback (most recent call last)" in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("pos3 download: ")


def test_many_failures_take_a_bounded_number_of_lines(site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    site.put_all({f"many/{number:03}": b"x" for number in range(40)})
    proxied(site, Status(403, "AccessDenied", match=on("GET", key="many/")))
    ran = run_program("download", site.url("many"), "--local", tmp_path / "here")
    assert (ran.status, ran.stdout) == (1, "")
    first, *others = ran.stderr.splitlines()
    assert first == "pos3 download: 40 downloads failed:"
    assert (len(others), others[-1].strip()) == (11, "and 30 more")
    assert all(re.match(rf" +{site.url('many/')}\d+: access denied", line) for line in others[:10])


def test_one_failure_is_worded_as_many_are(site: S3Site, tmp_path: Path, proxied: PutBefore) -> None:
    proxied(site, Status(403, "AccessDenied", match=on("GET", key="a.txt")))
    ran = run_program("download", site.url("data"), "--local", tmp_path / "here")
    assert ran.stderr.startswith(f"pos3 download: 1 download failed: {site.url('data/a.txt')}: access denied")


def test_keys_that_cannot_be_files_are_listed(moto_site: S3Site, tmp_path: Path) -> None:
    moto_site.put_all({"data/a": b"1", "data/a/b": b"2"})
    ran = run_program("download", moto_site.url("data"), "--local", tmp_path / "here")
    assert (ran.status, ran.stdout) == (1, "")
    assert "'a/b'" in ran.stderr
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["mv", "a", "b"], id="unknown command"),
        pytest.param(["cache"], id="no cache command"),
        pytest.param(["cache", "prune"], id="prune without a bound"),
        pytest.param(["cache", "prune", "--limit", "much"], id="no size"),
        pytest.param(["cache", "prune", "--older-than", "30"], id="age without a unit"),
        pytest.param(["download"], id="no URL"),
        pytest.param(["download", "s3://b", "--compare", "mood"], id="unknown comparison"),
        pytest.param(["download", "s3://b", "--max-delete", "-1"], id="negative max-delete"),
        pytest.param(["upload", "s3://b", "--max-workers", "0"], id="no workers"),
        pytest.param(["sync", "s3://b", "--interval", "0"], id="no interval"),
        pytest.param(["ls", "s3://b", "extra"], id="too many arguments"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    ran = run_program(*arguments)
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.startswith("usage: pos3")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_transfer_soon_and_leaves_no_partial_file(
    site: S3Site, tmp_path: Path, proxied: PutBefore, number: signal.Signals, status: int
) -> None:
    hang: Fault = Hang(match=on("GET", key="data/b/c"), times=None)
    proxied(site, hang)
    program = start_program("download", site.url("data"), "--local", tmp_path / "here")
    _until(lambda: hang.struck > 0)
    program.send_signal(number)
    ran = ended(program, timeout=15)
    assert (ran.status, ran.stdout) == (status, "")
    word = {130: "interrupted", 143: "terminated"}[status]
    assert ran.stderr.splitlines()[-1] == f"pos3 download: {word}"
    assert "b/c.txt" not in contents(tmp_path / "here")


def test_ls_into_a_pipe_that_closes_ends_without_a_complaint(site: S3Site) -> None:
    program = start_program("ls", "-r", site.url("data/"))
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    with program.stderr:
        assert program.stderr.read() == ""
    assert program.wait(timeout=60) == 141


def test_a_full_disk_behind_stdout_is_a_failure(site: S3Site) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "pos3.cli", "ls", site.url("data/")]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert ran.returncode == 1
    assert re.fullmatch(r"pos3 ls: .*No space left on device.*\n", ran.stderr)


# What docs/cli.md says


def test_every_environment_variable_is_in_the_table() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pos3").rglob("*.py"))
    read = set(re.findall(r"\bPOS3_(?!WORKER_)[A-Z_]+[A-Z]\b", code))
    read |= {variable_of(option.name) for option in dataclasses.fields(pos3.MirrorOptions)}
    assert set(re.findall(r"^\| `(POS3_\w+)` \|", page, re.MULTILINE)) == read


# Start-up, help, completion


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sync", "--help"]], ids=" ".join)
def test_help_loads_nothing_that_it_does_not_need(arguments: list[str]) -> None:
    program = [sys.executable, "-X", "importtime", "-m", "pos3.cli", *arguments]
    ran = subprocess.run(
        program, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.stderr.splitlines()}
    assert "pos3" in loaded
    assert loaded & {"boto3", "botocore", "pycurl", "fsspec", "prefect", "tqdm", "argcomplete", "asyncio"} == set()
    assert ran.stdout


def _completions(line: str, tmp_path: Path) -> set[str]:
    answer = tmp_path / "completions"
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    assert run_program(**environment).stdout == ""
    return {word.strip() for word in answer.read_text().splitlines()}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("pos3 dow", {"download"}, id="commands"),
        pytest.param("pos3 cache p", {"prune"}, id="cache commands"),
        pytest.param("pos3 sync --delete-", {"--delete-local", "--delete-remote"}, id="options"),
        pytest.param("pos3 upload --compare ", {"auto", "size", "checksum"}, id="choices"),
        pytest.param("pos3 ls --profile a", {"acme"}, id="profiles"),
    ],
)
def test_a_shell_gets_completions(profile: str, tmp_path: Path, line: str, words: set[str]) -> None:
    assert _completions(line, tmp_path) == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_code_of_each_shell_is_printed(shell: str) -> None:
    ran = run_program("completion", shell)
    assert (ran.status, ran.stderr) == (0, "")
    assert "_ARGCOMPLETE" in ran.stdout
    assert "pos3" in ran.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=ran.stdout, text=True, check=True)


def _until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
